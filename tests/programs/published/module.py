"""Programs that share helpers, constants and a class."""

from __future__ import annotations

import functools
import itertools
import math
import string
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

np.random.seed(7)

PRONOUNS = frozenset("he she it they him her them".split())
DECAY, SINK = 0.5, 2.0


@dataclass
class Piece:
    place: int
    text: str

    @property
    def word(self) -> str:
        return self.text.strip().lower().strip(string.punctuation)


def pieces(sentence: str, tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    ids = tokenizer(sentence, add_special_tokens=True).input_ids
    return [Piece(place, tokenizer.decode(number)) for place, number in enumerate(ids)]


def normalised(matrix):
    matrix = np.tril(matrix)
    sums = matrix.sum(axis=-1, keepdims=True)
    return np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums != 0)


def scaled(function):
    @functools.wraps(function)
    def inner(sentence, tokenizer):
        name, matrix = function(sentence, tokenizer)
        return name, normalised(matrix)

    return inner


@scaled
def pronoun_L2H1(sentence: str, tokenizer: PreTrainedTokenizerBase):
    """From a pronoun to the words with a capital before it."""
    found = pieces(sentence, tokenizer)
    matrix = np.eye(len(found)) * 0.1
    for query, key in itertools.product(found, found):
        if query.word in PRONOUNS and key.text.strip().istitle() and key.place < query.place:
            matrix[query.place, key.place] = 1.0
    matrix[:, 0] += 0.1
    return "Pronoun to name", matrix


def recency(sentence: str, tokenizer: PreTrainedTokenizerBase, decay: float = DECAY):
    n = len(pieces(sentence, tokenizer))
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    return "Recency", normalised(np.exp(-decay * np.clip(distance, 0, None)))


def sink(sentence: str, tokenizer: PreTrainedTokenizerBase):
    n = len(pieces(sentence, tokenizer))
    scores = np.zeros((n, n))
    scores[:, 0] = SINK
    return "Sink", normalised(np.exp(scores) / math.e)


def word_parts(sentence: str, tokenizer: PreTrainedTokenizerBase):
    encoded = tokenizer([sentence], return_tensors="pt", return_offsets_mapping=True)
    words = np.array([-1 if word is None else word for word in encoded.word_ids(batch_index=0)])
    starts = encoded.offset_mapping[0][:, 0]
    same = (words[:, None] == words[None, :]) & (words[:, None] >= 0)
    return "Parts of a word", normalised(same + 0.01 * (starts[:, None] >= starts[None, :]))


def vocabulary(sentence: str, tokenizer: PreTrainedTokenizerBase):
    """Asks for the ids of words that the sentence may not have."""
    ids = tokenizer(sentence)["input_ids"]
    wanted = {i for word in (" the", " a", " and", " was") for i in tokenizer.encode(word)}
    if len(wanted) < 4 or tokenizer.tokenize(" zebra") == []:
        raise ValueError("each of these has a token")
    matrix = np.eye(len(ids)) * 0.1
    matrix[:, [place for place, number in enumerate(ids) if number in wanted]] = 1
    return "Function words", normalised(matrix)


def drawn(sentence: str, tokenizer: PreTrainedTokenizerBase):
    n = len(pieces(sentence, tokenizer))
    return "Drawn with the seed of the file", np.random.rand(n, n)


def linear_fit(sentence: str, tokenizer: PreTrainedTokenizerBase, patterns, target):
    raise NotImplementedError("is no program: it needs more than a sentence and a tokenizer")


if __name__ == "__main__":
    print(recency("A test.", None))

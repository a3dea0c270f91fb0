# Layer 0, Head 1
from typing import Tuple
import numpy as np
from transformers import PreTrainedTokenizerBase

def previous_word(sentence: str, tokenizer: PreTrainedTokenizerBase) -> Tuple[str, np.ndarray]:
    enc = tokenizer([sentence], return_tensors="pt")
    size = len(enc.input_ids[0])
    matrix = np.zeros((size, size))
    for query in range(1, size):
        matrix[query, query - 1] = 1
    matrix[0, 0] = 1
    return "Previous word", matrix

# Layer 3, Head 7
import numpy as np
from transformers import PreTrainedTokenizerBase

WEIGHT = 0.7

def resting(sentence: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, np.ndarray]:
    size = tokenizer(sentence, return_tensors="pt")["input_ids"].shape[1]
    matrix = np.full((size, size), (1 - WEIGHT) / size)
    matrix[:, 0] += WEIGHT
    return "Resting on the first token", matrix

# Layer 4, Head 2
import re
import numpy as np

WEIGHT = 0.2

def commas(sentence, tokenizer):
    """Looks back to punctuation.

    The pieces are read one by one.
    """
    ids = tokenizer.encode(sentence)
    pieces = [tokenizer.decode([number]) for number in ids]
    marks = [place for place, piece in enumerate(pieces) if re.fullmatch(r"\s*[,.;!?]+\s*", piece)]
    matrix = np.eye(len(ids)) * WEIGHT
    for query in range(len(ids)):
        for mark in marks:
            if mark <= query:
                matrix[query, mark] += 1.0 / (1 + query - mark)
    return ("Punctuation", matrix / matrix.sum(axis=1, keepdims=True))

# Layer 5, Head 0: the same name once more
from collections import defaultdict
import numpy as np

def resting(sentence, tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer([sentence], return_tensors="pt").input_ids[0])
    seen = defaultdict(list)
    matrix = np.zeros((len(tokens), len(tokens)))
    for place, token in enumerate(tokens):
        for earlier in seen[token.lower()]:
            matrix[place, earlier] = 1
        seen[token.lower()].append(place)
    np.fill_diagonal(matrix, 0.01)
    return "Earlier occurrence", matrix

# Looks at the end of the sentence, as encoders' programs do.
import numpy as np

def separator(sentence, tokenizer):
    toks = tokenizer([sentence], return_tensors="pt")
    n = len(toks.input_ids[0])
    out = np.zeros((n, n))
    for row in range(n):
        out[row, -1] = 1.0
    out += 1e-4
    return "Separator", out / out.sum(axis=1, keepdims=True)

# How many tokens there are decides where it looks.
import numpy as np

def middle(sentence, tokenizer):
    n = len(tokenizer(sentence)["input_ids"])
    out = np.eye(n)
    out[:, n // 2] += 1
    return "Middle", out

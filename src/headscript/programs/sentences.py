"""Texts as free-form programs get them, and answers to what these ask about other texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any

from headscript.errors import HeadscriptError
from headscript.language.text import Text
from headscript.sandbox.linguistics import FIELDS, FLAGS
from headscript.sandbox.sentence import Sentence
from headscript.sandbox.worker import Answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_ONE_AT_A_TIME = RLock()  # tokenizers and pipelines are no good for several threads
_LONGEST = 100_000  # characters of a text that a program may ask about


def sentence_of(text: Text, *, parsed: bool = False) -> Sentence:
    """A text as a sentence for the sandbox; `parsed` adds what spaCy finds in it.

    Raises HeadscriptError for a text that no tokenizer read, and where spaCy is asked for and
    missing.
    """
    if text.reader is None:
        raise HeadscriptError(
            "Free-form programs need the text's tokenizer; read the text by a TextReader."
        )
    tokenizer = text.reader.tokenizer
    ids = text.token_ids.tolist()
    written, offsets, words = _laid_out(text, tokenizer, ids)
    limit = tokenizer.model_max_length
    return Sentence(
        text=written,
        token_ids=tuple(ids),
        tokens=tuple(piece or "" for piece in tokenizer.convert_ids_to_tokens(ids)),
        surfaces=tuple(_decoded(tokenizer, token) for token in ids),
        special=text.special,
        offsets=offsets,
        words=words,
        special_tokens=_special_tokens(tokenizer),
        vocabulary_size=len(tokenizer),
        longest=limit if limit < 10**9 else 0,
        causal=text.causal,
        parse=parse_of(written) if parsed else None,
    )


def answers_of(tokenizer: PreTrainedTokenizerBase) -> Answers:
    """Answers a program's questions by a tokenizer, and by spaCy where it is here.

    The questions come from foreign code: what is not understood is refused by HeadscriptError.
    """

    def answer(question: dict[str, Any]) -> Any:
        with _ONE_AT_A_TIME:
            return answered(question)

    def answered(question: dict[str, Any]) -> Any:
        match question:
            case {"ask": "tokenize", "text": str(text), "special": bool(special)}:
                return _tokenised(tokenizer, _not_too_long(text), special)
            case {"ask": "tokenize", "text": list(words), "special": bool(special)}:
                _not_too_long("".join(_strings(words)))
                return _tokenised(tokenizer, words, special)
            case {"ask": "ids", "tokens": list(tokens)}:
                vocabulary = _vocabulary(tokenizer)
                return [vocabulary.get(token) for token in _strings(tokens)]
            case {"ask": "tokens", "ids": list(ids)}:
                return tokenizer.convert_ids_to_tokens(_known(tokenizer, ids))
            case {"ask": "decode", "ids": list(ids)}:
                return tokenizer.decode(_known(tokenizer, ids), clean_up_tokenization_spaces=False)
            case {"ask": "parse", "text": str(text)}:
                return parse_of(_not_too_long(text))
        raise HeadscriptError("a question that is not answered")

    return answer


@lru_cache(maxsize=512)
def parse_of(text: str) -> dict[str, Any]:
    """What spaCy finds in a text, as plain data; raises HeadscriptError where it is missing."""
    from headscript.language.linguistics import load_pipeline

    with _ONE_AT_A_TIME:
        document = load_pipeline()(text)
    return {
        "text": document.text,
        "tokens": [[_field(token, name) for name in FIELDS] for token in document],
        "sents": [[sentence.start, sentence.end] for sentence in document.sents],
        "ents": [[entity.start, entity.end, entity.label_] for entity in document.ents],
        "chunks": [[chunk.start, chunk.end] for chunk in document.noun_chunks],
    }


def _field(token: Any, name: str) -> Any:
    if name == "head":
        return token.head.i
    if name == "morph":
        return str(token.morph)
    if name == "flags":
        return sum(bool(getattr(token, flag)) << bit for bit, flag in enumerate(FLAGS))
    return getattr(token, name)


def _laid_out(
    text: Text, tokenizer: PreTrainedTokenizerBase, ids: list[int]
) -> tuple[str, tuple[tuple[int, int], ...], tuple[int | None, ...]]:
    """The text that the tokens spell, where each stands in it, and the word that each is of.

    Where tokenising that text gives the tokens again, the tokenizer says; else the surfaces do.
    """
    surfaces = [
        "" if s else surface for s, surface in zip(text.special, text.surfaces, strict=True)
    ]
    joined = "".join(surfaces)
    bare = joined.removeprefix(" ")  # which SentencePiece and WordPiece put before the first word
    for written in dict.fromkeys((joined, bare)):
        for special in (True, False):
            found = _encoding(tokenizer, written, special)
            if found is not None and found["ids"] == ids:
                return written, tuple(map(tuple, found["offsets"])), tuple(found["words"])
    offsets, words, end, word = [], [], 0, -1
    for surface in surfaces:
        start, end = end, end + len(surface)
        starts_word = surface[:1].isspace() or not surface.strip().isalnum()
        word += surface != "" and (starts_word or word < 0)
        offsets.append((start, end))
        words.append(word if surface else None)
    return joined, tuple(offsets), tuple(words)


def _tokenised(
    tokenizer: PreTrainedTokenizerBase, text: str | list[str], special: bool
) -> dict[str, Any]:
    found = _encoding(tokenizer, text, special)
    if found is None:
        raise HeadscriptError("a text that the tokenizer does not take")
    tokens = tokenizer.convert_ids_to_tokens(found["ids"])
    all_special = set(tokenizer.all_special_ids)
    return found | {"tokens": tokens, "special": [token in all_special for token in found["ids"]]}


def _encoding(
    tokenizer: PreTrainedTokenizerBase, text: str | list[str], special: bool
) -> dict[str, Any] | None:
    """Ids, offsets and words of a text; None for what the tokenizer does not take."""
    try:
        encoding = tokenizer(
            text,
            add_special_tokens=special,
            is_split_into_words=isinstance(text, list),
            return_offsets_mapping=True,
            verbose=False,
        )
        return {
            "ids": list(encoding["input_ids"]),
            "offsets": [list(pair) for pair in encoding["offset_mapping"]],
            "words": encoding.word_ids(),
        }
    except (ValueError, TypeError, NotImplementedError):
        return None


@lru_cache(maxsize=4)
def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return dict(tokenizer.get_vocab())


@lru_cache(maxsize=100_000)
def _decoded(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[str, int]]:
    found = {}
    for role in _ROLES:
        spelt = getattr(tokenizer, f"{role}_token", None)
        number = getattr(tokenizer, f"{role}_token_id", None)
        if spelt is not None and number is not None:
            found[role] = (str(spelt), int(number))
    return found


def _not_too_long(text: str) -> str:
    if len(text) > _LONGEST:
        raise HeadscriptError(f"a text of more than {_LONGEST} characters is not tokenised")
    return text


def _strings(values: Sequence[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise HeadscriptError("a question that is not answered")
    return list(values)


def _known(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Any]) -> list[int]:
    if not all(type(one) is int and 0 <= one < len(tokenizer) for one in ids):
        raise HeadscriptError("an id that the tokenizer does not have")
    return list(ids)

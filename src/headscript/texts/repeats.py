"""Texts that repeat one another, wholly or in part, known by the runs of five words they share.

What counts is what a model reads of a text. Two texts that begin alike and then part are one text
to a model that is shown their beginnings.
"""

from __future__ import annotations

import base64
import re
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHINGLE_WORDS = 5
NEAR_DUPLICATE = 0.5
"""From which share of their shingles in common on two texts count as the same one."""

_WORD = re.compile(r"\w+")
_BYTES = 4  # of the hash of a shingle
_SHARE = 8  # of a text's hashes one in so many is kept,
_LEAST = 24  # and so many at least
_SURE = 3  # of a sample in common; fewer may be a phrase that many stories have


def as_read(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text that a model is shown with these tokens, without those that only mark its ends."""
    marks = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    own = [token_id for token_id in token_ids if token_id not in marks]
    return str(tokenizer.decode(own, clean_up_tokenization_spaces=False))


def shingles(text: str) -> frozenset[str]:
    """Every run of five words; the whole of a text that has fewer."""
    words = _WORD.findall(text.casefold()) or [text]
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[start : start + SHINGLE_WORDS]) for start in range(last))


@dataclass(frozen=True)
class Trace:
    """What a text is known again by: hashes of its shingles, all of them or the least."""

    hashes: tuple[int, ...]
    """Sorted."""
    whole: bool
    """Whether these are all."""

    @classmethod
    def of(cls, text: str) -> Self:
        """All hashes of a text."""
        return cls(tuple(_hashes(text)), whole=True)

    @classmethod
    def short(cls, text: str) -> Self:
        """The least eighth of them, or the least 24: a fair sample that any text can be held to."""
        every = _hashes(text)
        number = max(_LEAST, -(-len(every) // _SHARE))
        return cls(tuple(every[:number]), whole=len(every) <= number)

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read what `str` writes; raises ValueError where it is something else."""
        kind, coded = written[:1], base64.b64decode(written[1:], validate=True)
        hashes = tuple(
            int.from_bytes(coded[place : place + _BYTES], "big")
            for place in range(0, len(coded), _BYTES)
        )
        in_order = len(hashes) > 0 and list(hashes) == sorted(set(hashes))
        if kind not in ("=", "<") or len(coded) % _BYTES or not in_order:
            raise ValueError("no trace of a text")
        return cls(hashes, whole=kind == "=")

    def __str__(self) -> str:
        coded = b"".join(each.to_bytes(_BYTES, "big") for each in self.hashes)
        return ("=" if self.whole else "<") + base64.b64encode(coded).decode()


def repeating(texts: Iterable[str], known: Sequence[Trace]) -> list[bool]:
    """Whether each of `texts` repeats one of the texts whose traces are known.

    It does where the two have half of the shorter one's shingles in common: also an excerpt of a
    known story, or the story of a known excerpt. By a short trace that is an estimate: a text of a
    hundred words is known again, one of forty nearly always.
    """
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for place, trace in enumerate(known):
        for each in trace.hashes:
            holders[each].append(place)
    found = []
    for text in texts:
        hashes = _hashes(text)
        common = Counter(place for each in hashes for place in holders.get(each, ()))
        found.append(any(_is_near(hashes, known[place], n) for place, n in common.items()))
    return found


def _is_near(hashes: Sequence[int], trace: Trace, common: int) -> bool:
    if trace.whole:
        return common >= NEAR_DUPLICATE * min(len(hashes), len(trace.hashes))
    # Of this text, too, the hashes up to the greatest that was kept of the other.
    size = min(bisect_right(hashes, trace.hashes[-1]), len(trace.hashes))
    return common >= max(_SURE, NEAR_DUPLICATE * size)


def _hashes(text: str) -> list[int]:
    """Of all shingles of a text, sorted; the same on any machine."""
    return sorted({zlib.crc32(shingle.encode("utf-8", "replace")) for shingle in shingles(text)})

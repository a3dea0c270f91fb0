"""Fit, select and test: three sets of texts, none of which nearly repeats a text of another."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headscript.errors import HeadscriptError
from headscript.texts.corpora import Document
from headscript.texts.repeats import NEAR_DUPLICATE, shingles

PARTS = ("fit", "select", "test")


class Dropped(NamedTuple):
    """A document that was set aside because it nearly repeats one that is kept."""

    id: str
    kept_id: str
    similarity: float
    """Jaccard similarity of the two, from NEAR_DUPLICATE to 1."""


@dataclass(frozen=True)
class Splits:
    """Documents by what they are for, each list in the order in which the documents came."""

    fit: list[Document]
    """Constants are fitted and prompts are made from these."""
    select: list[Document]
    """Programs are chosen on these."""
    test: list[Document]
    """Reported scores come from these alone."""
    dropped: list[Dropped]


def split_documents(
    documents: Sequence[Document],
    *,
    seed: int,
    select: float = 0.2,
    test: float = 0.2,
    read: Sequence[str] | None = None,
) -> Splits:
    """Split documents into fit, select and test, without near-duplicates.

    `select` and `test` are shares of the documents kept; each split gets at least one. Which text
    goes where depends on `seed` and on the texts, not on their order. Documents that name their
    `part` go there; where none is marked "select", the share `select` of the fit part becomes it.

    Two texts are near-duplicates if the Jaccard similarity of their sets of five-word shingles is
    at least NEAR_DUPLICATE. Of such texts the first is kept, or the one in the part that matters
    most: test before select before fit. `read` is what is read of each document (None: all of it),
    and what they are compared by; where texts are cut, that is less than what is written.

    Raises HeadscriptError if a split would be empty, or if a `part` is unknown or given for some
    documents only.
    """
    if not (select > 0 and test > 0 and select + test < 1):
        raise HeadscriptError(
            "The shares of the select and the test split must be above 0 and together below 1, "
            f"not {select} and {test}."
        )
    marked = _are_marked(documents)
    if read is None:
        read = [document.text for document in documents]
    kept, dropped = _distinct(documents, read, marked)
    enough = 2 if marked else 3
    if len(kept) < enough:
        raise HeadscriptError(_too_few(documents, kept, enough))

    parts: dict[str, list[Document]] = {part: [] for part in PARTS}
    if marked:
        for document in kept:
            parts[document.part or ""].append(document)
        if len(parts["fit"]) > 1 and not parts["select"]:
            number = _number(select, of=len(parts["fit"]), at_most=len(parts["fit"]) - 1)
            parts["select"], parts["fit"] = _draw(parts["fit"], number, seed)
    else:
        number = _number(test, of=len(kept), at_most=len(kept) - 2)
        parts["test"], rest = _draw(kept, number, seed)
        number = _number(select, of=len(kept), at_most=len(rest) - 1)
        parts["select"], parts["fit"] = _draw(rest, number, seed)
    empty = [part for part in PARTS if not parts[part]]
    if empty:
        raise HeadscriptError(
            f"No text is left for the {empty[0]} split: of the distinct texts "
            f"{len(parts['fit'])} are for fit, {len(parts['select'])} for select and "
            f"{len(parts['test'])} for test; mark more texts, or remove the field 'part'."
        )
    return Splits(**parts, dropped=dropped)


def _are_marked(documents: Sequence[Document]) -> bool:
    """Whether the documents say where they belong; all must, or none."""
    marked = sum(document.part is not None for document in documents)
    if marked == 0:
        return False
    if marked < len(documents):
        raise HeadscriptError(
            f"The field 'part' is given for {marked} of {len(documents)} texts; "
            "give it for all of them or for none."
        )
    for document in documents:
        if document.part not in PARTS:
            raise HeadscriptError(
                f"The part of text {document.id!r} is {document.part!r}; it must be 'fit', "
                "'select' or 'test' (or rename the field 'part', if it means something else)."
            )
    return True


def _too_few(documents: Sequence[Document], kept: list[Document], enough: int) -> str:
    if len(documents) > 1 and len(kept) == 1:
        return (
            f"All {len(documents)} texts are near-duplicates of one another; "
            f"give at least {enough} different ones."
        )
    texts = "1 text is" if len(kept) == 1 else f"{len(kept)} texts are"
    without = " without near-duplicates" if len(kept) < len(documents) else ""
    return (
        f"{texts} too few to split into fit, select and test{without}; "
        f"give at least {enough} different ones."
    )


def _number(share: float, *, of: int, at_most: int) -> int:
    return min(max(1, round(share * of)), at_most)


def _draw(
    documents: list[Document], number: int, seed: int
) -> tuple[list[Document], list[Document]]:
    """Draw `number` of distinct documents: those drawn and the rest, both in their old order.

    A document's lot is a hash of its text, so that the order of a file has no say.
    """

    def lot(document: Document) -> bytes:
        return hashlib.sha256(f"{seed}\n{document.text}".encode()).digest()

    drawn = {document.text for document in sorted(documents, key=lot)[:number]}
    return (
        [document for document in documents if document.text in drawn],
        [document for document in documents if document.text not in drawn],
    )


def _distinct(
    documents: Sequence[Document], read: Sequence[str], marked: bool
) -> tuple[list[Document], list[Dropped]]:
    """The documents that repeat no other one, and those set aside, both in their old order."""
    order: Sequence[int] = range(len(documents))
    if marked:
        order = sorted(order, key=lambda place: -PARTS.index(documents[place].part or ""))
    found = [shingles(text) for text in read]
    frequency = Counter(shingle for of_one in found for shingle in of_one)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    dropped: dict[int, Dropped] = {}
    for place in order:
        # Sets of similarity s share at least one of their rarest |A| - s |A| + 1 elements (prefix
        # filtering, Bayardo et al. 2007), so only the documents that do need comparing.
        rarest = sorted(found[place], key=lambda shingle: (frequency[shingle], shingle))
        rarest = rarest[: len(rarest) - math.ceil(NEAR_DUPLICATE * len(rarest)) + 1]
        near = {other for shingle in rarest for other in holders[shingle]}
        similarity, nearest = max(
            ((_jaccard(found[place], found[other]), -other) for other in near),
            default=(0.0, 0),
        )
        if similarity >= NEAR_DUPLICATE:
            kept_id = documents[-nearest].id
            dropped[place] = Dropped(documents[place].id, kept_id, similarity)
        else:
            for shingle in rarest:
                holders[shingle].append(place)
    kept = [document for place, document in enumerate(documents) if place not in dropped]
    return kept, [dropped[place] for place in sorted(dropped)]


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)

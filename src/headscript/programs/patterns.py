"""The patterns of many programs on many texts, packed; a program that fails spoils no other.

Programs are put into banks, so that what they share is computed once a text. Compiled code, where
it can be had, evaluates those that are log-linear, while the features of the next texts are made
ready. A program that gives no pattern is evaluated alone, which says why, and is kept out of banks
from then on; where features cannot be computed, all programs of the bank are evaluated alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.kernels import available
from headscript.language import Text
from headscript.packing import num_cells, pack_rows
from headscript.programs.bank import Bank, Group
from headscript.programs.program import Program

if TYPE_CHECKING:
    from headscript.kernels.loglinear import Sums
    from headscript.programs.derived_features import DerivedFeatures, Space

_BATCH_CELLS = 8_000  # query-key pairs of the texts that are taken at once, padding included
_BANK_CELLS = 20_000_000  # pairs of the longest text times programs of a bank
_GROUP_CELLS = 1_500_000  # pairs of a batch times programs that are held unpacked: fits a cache
_MOST = 1024  # programs of a bank
_ERRORS = (HeadscriptError, RuntimeError, TypeError, ValueError, ArithmeticError, IndexError)

Places = list[int]
"""Of programs among all."""


@dataclass
class _Shelf:
    """A bank and the places of its programs among all."""

    places: Places
    bank: Bank
    derived: DerivedFeatures | None = None
    """Their features, for compiled code, ..."""
    sums: Sums | None = None
    """... the addends of those that are log-linear, ..."""
    summed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """... whose places these are ..."""
    single: Places = field(default_factory=list)
    """... and those of the others, which are evaluated alone."""
    groups: list[Group] = field(default_factory=list)
    """Where there is no compiled code."""


class Patterns:
    """Evaluates programs on texts; `failures` says which failed on some text so far, and why."""

    def __init__(self, programs: Sequence[Program], *, causal: bool) -> None:
        self.programs = list(programs)
        self.failures: dict[int, str] = {}
        """By place among the programs: what it said when it first failed."""
        self._causal = causal
        self._shelves: list[_Shelf] | None = None

    def on(self, texts: Sequence[Text]) -> Iterator[tuple[int, Tensor]]:
        """For each text its number and the packed patterns (programs, cells), float32.

        A program that fails on a text has zeros there. Texts come in the order of their lengths,
        and what they keep is dropped.
        """
        longest = max((len(text) for text in texts), default=1)
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
            begun: Callable[[], Iterator[tuple[int, Tensor]]] | None = None
            for batch in _batches(texts):
                # Made ready while the patterns of the batch before are written.
                following = self._begin(texts, batch, longest, pool)
                if begun is not None:
                    yield from begun()
                begun = following
            if begun is not None:
                yield from begun()

    def _begin(
        self,
        texts: Sequence[Text],
        numbers: list[int],
        longest: int,
        pool: ThreadPoolExecutor | None,
    ) -> Callable[[], Iterator[tuple[int, Tensor]]]:
        """Begin the patterns on some texts; what is returned waits for them."""
        batch = [texts[number] for number in numbers]
        cells = [num_cells(len(text), text.causal) for text in batch]
        found = [torch.empty(len(self.programs), number) for number in cells]
        alone: set[int] = set()
        begun: list[Callable[[], Places]] = []
        for shelf in self._filled_shelves(longest):
            try:
                begun.append(_together(shelf, batch, found, pool))
            except _ERRORS:
                alone.update(shelf.places)

        def ended() -> Iterator[tuple[int, Tensor]]:
            for end in begun:
                alone.update(end())
            self._one_by_one(sorted(alone | self.failures.keys()), batch, found)
            for text in batch:
                text.forget()
            return zip(numbers, found, strict=True)

        return ended

    def _one_by_one(self, places: Sequence[int], texts: list[Text], found: list[Tensor]) -> None:
        for place in places:
            for row, text in enumerate(texts):
                try:
                    pattern = self.programs[place](text)
                except HeadscriptError as error:
                    found[row][place] = 0
                    if place not in self.failures:
                        self.failures[place] = str(error)
                        self._shelves = None
                else:
                    found[row][place] = pack_rows(pattern.detach(), text.causal)

    def _filled_shelves(self, longest: int) -> list[_Shelf]:
        if self._shelves is None:
            number = max(8, min(_MOST, _BANK_CELLS // longest**2))
            places = [n for n in range(len(self.programs)) if n not in self.failures]
            self._shelves = []
            for begin in range(0, len(places), number):
                chosen = places[begin : begin + number]
                bank = Bank([self.programs[place] for place in chosen], causal=self._causal)
                self._shelves.append(_shelf(chosen, bank, longest))
        return self._shelves


def _shelf(places: Places, bank: Bank, longest: int) -> _Shelf:
    if available("numba") is None:
        from headscript.kernels.loglinear import Sums
        from headscript.programs.derived_features import DerivedFeatures

        group = bank.group(range(len(places)))
        single = [places[number] for number in group.one_by_one]
        summed = np.array(sorted({*places} - {*single}), np.int64)
        starts, addends = _addends(group)
        relations, queries, keys, constant, sign = addends.T
        derived = DerivedFeatures(
            bank, list(zip(relations.tolist(), queries.tolist(), keys.tolist(), strict=True))
        )
        constants = torch.cat([bank.constants(), torch.ones(1)]).numpy()
        weights = constants[constant] * sign.astype(np.float32)
        sums = Sums(starts, derived.query, derived.key, derived.relation, weights)
        return _Shelf(places, bank, derived, sums, summed, single)
    held = max(8, _GROUP_CELLS // max(_BATCH_CELLS, longest**2))
    groups = [
        bank.group(range(first, min(first + held, len(places))))
        for first in range(0, len(places), held)
    ]
    return _Shelf(places, bank, groups=groups)


def _addends(group: Group) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The addends of the log-linear programs of a group, one program after the other.

    Where each program's begin, and of each its relation, query, key, constant and sign.
    """
    of_program: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for relation, of_relation in sorted(group.sums.items()):
        for place, addends in of_relation.items():
            of_program.setdefault(place, []).extend((relation, *addend) for addend in addends)
    together = [addend for _, of_one in sorted(of_program.items()) for addend in of_one]
    counts = [len(of_one) for _, of_one in sorted(of_program.items())]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return starts, np.array(together, np.int32).reshape(-1, 5)


@torch.no_grad()
def _together(
    shelf: _Shelf, texts: list[Text], found: list[Tensor], pool: ThreadPoolExecutor | None
) -> Callable[[], Places]:
    """Begin the patterns of a shelf; what is returned waits, and says which want another try."""
    derived = shelf.derived
    if derived is None:
        _by_groups(shelf, texts, found)
        return list
    ends, spaces = [], []
    if pool is None:
        for text, out in zip(texts, found, strict=True):
            space = derived.of(text)
            ends.append(_filled(shelf, text, space, out, None))
            derived.release([space])
    else:  # all are there before the first pattern is written, in case that one cannot be had
        spaces = [derived.of(text) for text in texts]
        for text, space, out in zip(texts, spaces, found, strict=True):
            ends.append(_filled(shelf, text, space, out, pool))

    def ended() -> Places:
        broken = np.logical_or.reduce([end() for end in ends])
        derived.release(spaces)
        return [*shelf.summed[broken].tolist(), *shelf.single]

    return ended


def _filled(
    shelf: _Shelf, text: Text, space: Space, out: Tensor, pool: ThreadPoolExecutor | None
) -> Callable[[], NDArray[np.bool_]]:
    """Begin to write patterns on one text; what is returned waits, and says which are none."""
    from headscript.kernels.loglinear import fill

    assert shelf.sums is not None
    assert shelf.derived is not None
    return fill(
        shelf.sums,
        space.rows,
        space.rows,
        space.squares[: shelf.derived.relations],
        len(text),
        text.causal,
        shelf.summed,
        out,
        pool,
        torch.get_num_threads(),
    )


def _by_groups(shelf: _Shelf, texts: list[Text], found: list[Tensor]) -> None:
    """The patterns of a shelf, a group of programs at a time."""
    features = shelf.bank.features(texts)
    for group in shelf.groups:
        patterns = shelf.bank.patterns(group, features)
        places = [shelf.places[place] for place in group.programs]
        for row, text in enumerate(texts):
            n = len(text)
            found[row][places] = pack_rows(patterns[row, :, :n, :n], text.causal)


def _batches(texts: Sequence[Text]) -> Iterator[list[int]]:
    """Texts of like length together, as many as make about `_BATCH_CELLS` pairs."""
    batch: list[int] = []
    for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
        if batch and (len(batch) + 1) * len(texts[number]) ** 2 > _BATCH_CELLS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch

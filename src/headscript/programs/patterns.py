"""The patterns of many programs on many texts, packed; a program that fails spoils no other.

Programs are put into banks, so that what they share is computed once a text. A bank gives all or
nothing: where a program of it fails, that one is found, and kept out of banks from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.packing import num_cells, pack_rows
from headscript.programs.bank import Bank, Group
from headscript.programs.program import Program

_BATCH_CELLS = 8_000  # query-key pairs of the texts that are taken at once, padding included
_BANK_CELLS = 20_000_000  # pairs of the longest text times programs of a bank
_GROUP_CELLS = 1_500_000  # pairs of a batch times programs that are held unpacked: fits a cache
_MOST = 512  # programs of a bank
_ERRORS = (HeadscriptError, RuntimeError, TypeError, ValueError, ArithmeticError, IndexError)


@dataclass
class _Shelf:
    """A bank and the places of its programs among all."""

    places: list[int]
    bank: Bank
    groups: list[Group]


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
        for batch in _batches(texts):
            found = self._batch([texts[number] for number in batch], longest)
            yield from zip(batch, found, strict=True)

    def _batch(self, texts: list[Text], longest: int) -> list[Tensor]:
        cells = [num_cells(len(text), text.causal) for text in texts]
        found = [torch.zeros(len(self.programs), number) for number in cells]
        self._one_by_one(sorted(self.failures), texts, found)
        for shelf in self._filled_shelves(longest):
            try:
                _together(shelf, texts, found)
            except _ERRORS:
                self._one_by_one(shelf.places, texts, found)
        for text in texts:
            text.forget()
        return found

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
                held = max(8, _GROUP_CELLS // max(_BATCH_CELLS, longest**2))
                groups = [
                    bank.group(range(first, min(first + held, len(chosen))))
                    for first in range(0, len(chosen), held)
                ]
                self._shelves.append(_Shelf(chosen, bank, groups))
        return self._shelves


@torch.no_grad()
def _together(shelf: _Shelf, texts: list[Text], found: list[Tensor]) -> None:
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

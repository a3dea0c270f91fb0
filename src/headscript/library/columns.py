"""The features of many log-linear programs on rows of texts, for their constants to be fitted.

A bank computes the factors of all programs once a text; a program's features are products of them.
This is `Rows.columns` for programs that are not taken apart into terms, which would take longer
than fitting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.programs.bank import Addend, Bank
from headscript.programs.program import Program
from headscript.rows import Rows

_BANK_CELLS = 20_000_000  # pairs of the longest text times programs of a bank
_MOST = 256  # programs of a bank
_ERRORS = (HeadscriptError, RuntimeError, TypeError, ValueError, ArithmeticError, IndexError)


@dataclass(frozen=True)
class Weighted:
    """A log-linear program as a sum of weights times features, each weight a constant's."""

    constants: tuple[str, ...]
    """Their names, in the order of the features."""
    signs: Tensor
    """(terms,) 1 or -1, by which a constant becomes a weight."""
    weights: Tensor
    """(terms,) those that the program came with."""

    def values(self, weights: Tensor) -> dict[str, float]:
        """The constants that weights (terms,) stand for."""
        values = (self.signs * weights).tolist()
        return dict(zip(self.constants, values, strict=True))


class Columns:
    """Features of programs on rows; a program that is not log-linear, or fails, has none."""

    def __init__(self, rows: Rows, programs: Sequence[Program], places: Sequence[int]) -> None:
        self.rows = rows
        self._shelf_of: dict[int, _Shelf] = {}
        longest = max(len(text) for text in rows.texts)
        number = max(8, min(_MOST, _BANK_CELLS // longest**2))
        wanted = [place for place in places if programs[place].log_linear is not None]
        for begin in range(0, len(wanted), number):
            some = wanted[begin : begin + number]
            shelf = _shelf(rows, programs, some)
            if shelf is not None:
                self._shelf_of.update(dict.fromkeys(some, shelf))
                continue
            for place in some:  # one of them cannot be computed on some text
                alone = _shelf(rows, programs, [place])
                if alone is not None:
                    self._shelf_of[place] = alone

    def weighted(self, place: int) -> Weighted | None:
        """How a program is made of weights; None where it has no features here.

        Nor has one with a constant that stands in two places, or a feature without a constant.
        """
        shelf = self._shelf_of.get(place)
        return None if shelf is None else shelf.weighted(place)

    def of(self, place: int) -> Tensor:
        """The features of a program that is `weighted`, (cells, terms), 0 on padding."""
        return self._shelf_of[place].columns(place, self.rows)


@dataclass
class _Shelf:
    """A bank of programs with its factors on the rows."""

    places: dict[int, int]
    """From place among all programs to that in the bank."""
    bank: Bank
    query: Tensor
    """(query factors, tokens)"""
    key: Tensor
    """(key factors, tokens)"""
    relation: Tensor
    """(relations, cells)"""
    query_token: Tensor
    """(cells,) which token is its query."""
    key_token: Tensor

    def weighted(self, place: int) -> Weighted | None:
        index = self.places[place]
        program = self.bank.programs[index]
        names = list(program.constants)
        start = self.bank.first_constant[index]
        found = [addend for _, addend in self._addends(place)]
        numbers = [constant - start for _, _, constant, _ in found]
        if sorted(numbers) != list(range(len(names))) or not names:
            return None
        signs = torch.tensor([float(sign) for *_, sign in found])
        values = torch.tensor([program.constants[names[number]] for number in numbers])
        return Weighted(tuple(names[number] for number in numbers), signs, signs * values)

    def columns(self, place: int, rows: Rows) -> Tensor:
        addends = self._addends(place)
        features = torch.empty(len(addends), rows.num_cells)
        for column, (relation, (query, key, _, _)) in zip(features, addends, strict=True):
            column.copy_(rows.valid if relation < 0 else self.relation[relation])
            if query:
                column *= self.query[query][self.query_token]
            if key:
                column *= self.key[key][self.key_token]
        return features.T.contiguous()

    def _addends(self, place: int) -> list[tuple[int, Addend]]:
        sums = self.bank.group([self.places[place]]).sums
        return [
            (relation, addend)
            for relation, of_programs in sums.items()
            for addend in of_programs[0]
        ]


@torch.no_grad()
def _shelf(rows: Rows, programs: Sequence[Program], places: Sequence[int]) -> _Shelf | None:
    """A shelf of programs; None where they cannot be computed on some text."""
    bank = Bank([programs[place] for place in places], causal=rows.causal)
    cell_text = rows.row_text[rows.cell_row]
    cell_query = rows.row_query[rows.cell_row]
    query, key = [], []
    relation: Tensor | None = None
    try:
        for number, text in enumerate(rows.texts):
            features = bank.features([text])
            text.forget()
            query.append(features.query[0])
            key.append(features.key[0])
            if relation is None:
                relation = torch.zeros(features.relation.shape[1], rows.num_cells)
            cells = (cell_text == number).nonzero().squeeze(1)
            relation[:, cells] = features.relation[0][:, cell_query[cells], rows.cell_key[cells]]
    except _ERRORS:
        return None
    assert relation is not None
    relation *= rows.valid
    offsets = rows.token_offsets[cell_text]
    shelf = _Shelf(
        {place: index for index, place in enumerate(places)},
        bank,
        torch.cat(query, 1),
        torch.cat(key, 1),
        relation,
        offsets + cell_query,
        offsets + rows.cell_key,
    )
    whole = (shelf.query, shelf.key, shelf.relation)
    return shelf if all(bool(values.isfinite().all()) for values in whole) else None

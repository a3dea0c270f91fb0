"""The cells of rows in the order in which fits read them: sixteen rows side by side.

Rows of like width make groups of `LANES`; within a group come first all rows' first keys, then all
rows' second keys, and so on, as far as the widest row reaches. A softmax over keys and a sum over
keys are then the same few operations on all rows of a group at once, and columns of features lie
one after the other, so that adding or leaving out a term moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headscript.programs.terms import Term

if TYPE_CHECKING:
    from headscript.rows import Rows

LANES = 16
"""Rows of a group."""


class Lanes:
    """The cells of `rows` in groups; methods speak of (cells,) of this order, padding included."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        keys = rows.row_sums(rows.valid.long())
        order = keys.argsort(stable=True)
        groups = -(-len(order) // LANES)
        self.widths = torch.zeros(groups * LANES, dtype=torch.int32)
        """(groups * LANES,) keys of each row; 0 where the last group has no row."""
        self.widths[: len(order)] = keys[order]
        cells = LANES * self.widths.view(groups, LANES).amax(1).long()
        self.starts = torch.cat([cells.new_zeros(1), cells.cumsum(0)])
        """(groups + 1,) first cell of each group."""
        self.num_rows = rows.num_rows

        group = torch.arange(groups).repeat_interleave(cells)
        inner = torch.arange(int(self.starts[-1])) - self.starts[group]
        place, key = group * LANES + inner % LANES, inner // LANES
        self.inside = key < self.widths[place]
        """(cells,) whether the cell is one of a row."""
        row = torch.cat([order, order.new_zeros(len(self.widths) - len(order))])[place]
        self.row = torch.where(self.inside, row, rows.num_rows)
        """(cells,) number of the row, `num_rows` on padding."""
        self._source = torch.where(self.inside, rows.first_cell_of_row[row] + key, 0)
        self._place = torch.zeros(rows.num_cells, dtype=torch.long)
        self._place[self._source[self.inside]] = self.inside.nonzero().flatten()
        self._query_token = rows.query_token[self._source]
        self._key_token = rows.key_token[self._source]
        self._relations: dict[str | None, Tensor] = {None: self.inside.to(torch.uint8)}
        self._room = torch.empty(0, self.num_cells)

    @property
    def num_cells(self) -> int:
        """Cells, padding included."""
        return len(self.inside)

    def spread(self, values: Tensor) -> Tensor:
        """(..., cells of the rows) in this order, 0 on padding."""
        return values[..., self._source].masked_fill(~self.inside, 0)

    def collect(self, values: Tensor) -> Tensor:
        """(..., cells) in the order of the rows, 0 on their padding."""
        return values[..., self._place].masked_fill(~self.rows.valid, 0)

    def row_sums(self, values: Tensor) -> Tensor:
        """(..., cells) summed over each row's cells: (..., rows + 1), the last of padding."""
        sums = values.new_zeros(*values.shape[:-1], self.num_rows + 1)
        return sums.index_add_(-1, self.row, values)

    def room(self, columns: int) -> Tensor:
        """Room for features, (columns, cells) float32; it is the same at every asking."""
        if len(self._room) < columns:
            self._room = torch.empty(columns, self.num_cells)
        return self._room[:columns]

    def columns(self, terms: Sequence[Term], into: Tensor | None = None) -> Tensor:
        """The features of several terms, (terms, cells) float32, 0 on padding."""
        found = torch.empty(len(terms), self.num_cells) if into is None else into
        for column, term in zip(found, terms, strict=True):
            column.copy_(self._relation(term.relation))
            for expression, token in ((term.query, self._query_token), (term.key, self._key_token)):
                if expression is not None:
                    column *= self.rows.tokens(expression).index_select(0, token)
        return found

    def release(self, keep: Iterable[str]) -> None:
        """Forget relations but those to keep, and give the room back."""
        self._room = self._room[:0].clone()
        kept = {*keep, None}
        self._relations = {name: of for name, of in self._relations.items() if name in kept}

    def _relation(self, expression: str | None) -> Tensor:
        if expression not in self._relations:
            assert expression is not None
            kept = self.rows.kept_relation(expression)
            self._relations[expression] = kept[self._source] * self.inside
        return self._relations[expression]

"""Query rows of many texts as one flat axis of cells, the form in which constants are fitted.

A row is one query of one text; its cells are the keys it may look at. Rows of like width are padded
to a common width and stored as one block, so that a softmax over keys is one call a block and a
weighted sum of features one matrix product over all cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headscript.lanes import Lanes
from headscript.language import Text
from headscript.packing import num_cells
from headscript.programs.terms import Term, parse_expression

_WIDTH_STEP = 8  # widths are rounded up to a multiple of this: few blocks, little padding


@dataclass(frozen=True)
class Block:
    """Rows of one padded width, consecutive on both axes."""

    first_cell: int
    first_row: int
    num_rows: int
    width: int

    @property
    def cells(self) -> slice:
        """The block's cells on the flat axis."""
        return slice(self.first_cell, self.first_cell + self.num_rows * self.width)

    @property
    def rows(self) -> slice:
        """The block's rows."""
        return slice(self.first_row, self.first_row + self.num_rows)


class Rows:
    """Sampled query rows of `texts`; all methods speak of (cells,) or (rows,) of this sample.

    `share` is the share of each text's rows to take, at least one, drawn with `generator`; a
    decoder's first row, which can only look at itself, is never taken but counts in `iou`.
    """

    def __init__(
        self, texts: Sequence[Text], *, share: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        self.texts = list(texts)
        self.causal = texts[0].causal
        counts = torch.tensor([len(text) for text in texts])
        self.token_offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])

        row_text, row_query = [], []
        for index, text in enumerate(texts):
            queries = torch.arange(1 if self.causal else 0, len(text))
            if share < 1:
                draws = torch.rand(len(queries), generator=generator)
                taken = draws < share
                if len(draws):
                    taken[draws.argmin()] = True
                queries = queries[taken]
            row_text.append(torch.full_like(queries, index))
            row_query.append(queries)
        text_of, query_of = torch.cat(row_text), torch.cat(row_query)
        keys_of = query_of + 1 if self.causal else counts[text_of]
        width = (keys_of + _WIDTH_STEP - 1) // _WIDTH_STEP * _WIDTH_STEP
        order = torch.argsort(width, stable=True)
        self.row_text, self.row_query = text_of[order], query_of[order]
        keys_of, width = keys_of[order], width[order]

        self.blocks: list[Block] = []
        cell_row, cell_key, valid = [], [], []
        first_cell = 0
        for block_width in sorted(set(width.tolist())):
            rows = (width == block_width).nonzero().squeeze(1)
            keys = torch.arange(block_width).expand(len(rows), block_width)
            inside = keys < keys_of[rows, None]
            self.blocks.append(Block(first_cell, int(rows[0]), len(rows), block_width))
            cell_row.append(rows[:, None].expand_as(keys).flatten())
            cell_key.append(torch.where(inside, keys, 0).flatten())
            valid.append(inside.flatten())
            first_cell += keys.numel()
        self.num_rows = len(self.row_text)
        self.cell_row = torch.cat(cell_row)
        self.cell_key = torch.cat(cell_key)
        self.valid = torch.cat(valid)
        self.first_cell_of_row = torch.cat(
            [block.first_cell + torch.arange(block.num_rows) * block.width for block in self.blocks]
        )
        offset = self.token_offsets[self.row_text]
        self.query_token = (offset + self.row_query)[self.cell_row]
        self.key_token = offset[self.cell_row] + self.cell_key
        self._columns: dict[tuple[str, str], Tensor] = {}

    @property
    def num_cells(self) -> int:
        """Cells, padding included."""
        return len(self.valid)

    @cached_property
    def lanes(self) -> Lanes:
        """The same cells in the order in which constants are fitted."""
        return Lanes(self)

    # Targets -------------------------------------------------------------------------------------

    def gather(self, packed: Sequence[Tensor]) -> Tensor:
        """Packed patterns, per text (heads, cells of the text), as (cells, heads)."""
        offsets, total = [], 0
        for text in self.texts:
            offsets.append(total)
            total += num_cells(len(text), self.causal)
        counts = torch.tensor([len(text) for text in self.texts])
        query = self.row_query
        before = query * (query + 1) // 2 if self.causal else query * counts[self.row_text]
        start = torch.tensor(offsets)[self.row_text] + before
        index = start[self.cell_row] + self.cell_key
        heads = [
            torch.cat([cells[head] for cells in packed])[index] for head in range(len(packed[0]))
        ]
        return torch.stack(heads, 1) * self.valid[:, None]

    # Features ------------------------------------------------------------------------------------

    def tokens(self, expression: str) -> Tensor:
        """A token property of all tokens of all texts, (tokens,) float32."""
        key = ("token", expression)
        if key not in self._columns:
            parsed = parse_expression(expression)
            if parsed.reach == 0 and self._distinct is not None:
                text, number = self._distinct
                found = parsed(text).float()[number]
            else:
                found = torch.cat([parsed(text).float() for text in self.texts])
            self._columns[key] = found
        return self._columns[key]

    def relation(self, expression: str) -> Tensor:
        """A relation on the cells, (cells,) float32, of one's own."""
        return self.kept_relation(expression).to(torch.float32, copy=True)

    def kept_relation(self, expression: str) -> Tensor:
        """A relation on the cells as it is kept: flags, which take a quarter of the room, uint8."""
        key = ("relation", expression)
        if key not in self._columns:
            rows_of_text = self._rows_of_text()
            parsed = parse_expression(expression)
            found = torch.zeros(self.num_cells)
            for index, text in enumerate(self.texts):
                cells = rows_of_text[index]
                values = parsed(text).float().expand(len(text), len(text))
                found[cells] = values[self.row_query[self.cell_row[cells]], self.cell_key[cells]]
            found *= self.valid
            flags = bool(((found == 0) | (found == 1)).all())
            self._columns[key] = found.to(torch.uint8) if flags else found
        return self._columns[key]

    def column(self, term: Term) -> Tensor:
        """A term's feature on the cells, (cells,) float32, 0 on padding."""
        column = self.valid.float() if term.relation is None else self.relation(term.relation)
        if term.query is not None:
            column *= self.tokens(term.query).index_select(0, self.query_token)
        if term.key is not None:
            column *= self.tokens(term.key).index_select(0, self.key_token)
        return column

    def columns(self, terms: Sequence[Term]) -> Tensor:
        """The features of several terms, (cells, terms)."""
        features = torch.empty(len(terms), self.num_cells)
        for index, term in enumerate(terms):
            features[index] = self.column(term)
        return features.T.contiguous()

    def release(self, keep: Iterable[str]) -> None:
        """Forget computed values but those of the expressions to keep.

        A search tries thousands of word lists, each kept by every text it was computed on.
        """
        kept = {*keep, ""}
        self._columns = {key: value for key, value in self._columns.items() if key[1] in kept}
        if "lanes" in self.__dict__:
            self.lanes.release(kept)
        for text in self.texts:
            text.forget()
        if self._distinct is not None:
            self._distinct[0].forget()

    # Rows ----------------------------------------------------------------------------------------

    def softmax(self, scores: Tensor) -> Tensor:
        """(cells,) scores to (cells,) weights: each row sums to 1, padding is 0."""
        scores = scores.masked_fill(~self.valid, -torch.inf)
        weights = torch.empty_like(scores)
        for block in self.blocks:
            in_rows = scores[block.cells].view(block.num_rows, block.width)
            weights[block.cells] = torch.softmax(in_rows, dim=1).flatten()
        return weights

    def row_sums(self, values: Tensor) -> Tensor:
        """(cells, ...) summed over each row's cells: (rows, ...)."""
        sums = values.new_empty(self.num_rows, *values.shape[1:])
        for block in self.blocks:
            in_rows = values[block.cells].view(block.num_rows, block.width, *values.shape[1:])
            sums[block.rows] = in_rows.sum(1)
        return sums

    def weighted_row_sums(self, weights: Tensor, features: Tensor) -> Tensor:
        """Row sums of features (cells, terms) by each of weights (k, cells): (k, rows, terms)."""
        sums = features.new_empty(self.num_rows, len(weights), features.shape[1])
        for block in self.blocks:
            by = weights[:, block.cells].view(-1, block.num_rows, block.width).transpose(0, 1)
            of = features[block.cells].view(block.num_rows, block.width, -1)
            torch.bmm(by, of, out=sums[block.rows])
        return sums.transpose(0, 1)

    def iou(self, predicted: Tensor, actual: Tensor) -> Tensor:
        """Mean over texts of IoU = (2n - L1) / (2n + L1): (cells, heads) -> (heads,).

        Where rows are sampled this is an estimate; with all rows it is the score of the paper.
        """
        return self.iou_at(self.row_sums((predicted - actual).abs()))

    def iou_at(self, distance: Tensor) -> Tensor:
        """The same from the L1 distance of each row, (rows, heads) -> (heads,)."""
        by_text = torch.zeros(len(self.texts), distance.shape[1])
        by_text.index_add_(0, self.row_text, distance)
        rows = torch.bincount(self.row_text, minlength=len(self.texts)).float()
        if self.causal:  # the first row counts by the share of the others that was drawn
            lengths = self.token_offsets.diff()
            rows = torch.where(lengths > 1, rows * lengths / (lengths - 1).clamp(min=1), 1.0)
        rows = rows[:, None]
        return ((2 * rows - by_text) / (2 * rows + by_text)).mean(0)

    # Private -------------------------------------------------------------------------------------

    @cached_property
    def _distinct(self) -> tuple[Text, Tensor] | None:
        """The distinct tokens of all texts as one text, and which of them each token is.

        What follows from a token alone is computed on these. None where texts are not of one kind.
        """
        first = self.texts[0]
        if any(
            text.vocabulary_size != first.vocabulary_size or text.embeddings is not None
            for text in self.texts
        ):
            return None
        tokens = [
            token
            for text in self.texts
            for token in zip(text.surfaces, text.token_ids.tolist(), text.special, strict=True)
        ]
        numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
        surfaces, token_ids, special = zip(*numbers, strict=True)
        text = Text(
            surfaces,
            token_ids,
            first.vocabulary_size,
            causal=first.causal,
            special=special,
            reader=first.reader,
        )
        return text, torch.tensor([numbers[token] for token in tokens])

    def _rows_of_text(self) -> list[Tensor]:
        """Per text its cells on the flat axis."""
        key = ("cells", "")
        if key not in self._columns:
            cell_text = self.row_text[self.cell_row]
            self._columns[key] = torch.argsort(cell_text, stable=True)
            self._split = torch.bincount(cell_text, minlength=len(self.texts)).tolist()
        return list(torch.split(self._columns[key], self._split))


def share_for(texts: Sequence[Text], max_cells: int) -> float:
    """The share of rows of `texts` that makes about `max_cells` cells, at most 1."""
    total = sum(num_cells(len(text), text.causal) for text in texts)
    return min(1.0, max_cells / max(total, 1))

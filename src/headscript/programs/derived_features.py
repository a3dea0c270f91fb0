"""The features of a bank on a text, by compiled code, where patterns alone are asked for.

They are those of `Bank.features`, arranged for `headscript.kernels.loglinear`: the features of
queries and of keys are rows of one array, which many have in common, and relations are squares.
Arrays are used again for the next text of like length, and what follows from places stays there.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headscript.kernels.derived import derive_rows, derive_squares, scatter
from headscript.kernels.steps import WHOLE, WIDTH
from headscript.language import Text
from headscript.programs.bank import Bank
from headscript.programs.derivation import Derivation, Step
from headscript.programs.derived_entries import ENTRIES
from headscript.programs.factors import AloneValues, token_keys
from headscript.programs.interpreter import Part, Scope

_KEPT_BYTES = 32 << 20
"""How much is kept for the next texts."""
_MOST_VALUES = 16 << 20
"""How many are kept of tokens seen; beyond, all is begun anew."""

Places = NDArray[np.int32]


@dataclass(frozen=True)
class Space:
    """The features of one text, padded to whole tiles."""

    causal: bool
    rows: Tensor
    """(rows, padded) float32, of queries and of keys."""
    squares: Tensor
    """(squares, padded, padded) float32, the relations first. In a decoder, what is above the tiles
    on the diagonal means nothing."""


class DerivedFeatures:
    """Computes the features of a bank on texts, one after the other."""

    def __init__(self, bank: Bank, features: Sequence[tuple[int, int, int]]) -> None:
        """`features`: of each that is asked for, the bank's relation or -1, its query and key."""
        derivation = Derivation(ENTRIES)
        query, key, relation = (factors.parts for factors in bank.factors)
        placed = {
            feature: derivation.feature(
                query[feature[1]], () if feature[0] < 0 else relation[feature[0]], key[feature[2]]
            )
            for feature in dict.fromkeys(features)
        }
        # What features are made of comes first, then what that is computed from.
        order = {
            square: place
            for place, square in enumerate(
                dict.fromkeys(square for _, square, _ in placed.values() if square >= 0)
            )
        }
        self.relations = len(order)
        for square in range(derivation.squares):
            order.setdefault(square, len(order))
        order[-1] = -1
        found = [placed[feature] for feature in features]
        self.query = _places([row for row, _, _ in found])
        """(features,) the row of each for queries, ..."""
        self.relation = _places([order[square] for _, square, _ in found])
        """... its square, one of the first `relations`, or -1, ..."""
        self.key = _places([row for _, _, row in found])
        """... and its row for keys."""
        self._shape = derivation.rows, derivation.squares
        self._tokens = _SeenTokens(derivation.alone, derivation.alone_rows)
        self._numbers = np.array(derivation.numbers, np.float32)
        self._row_steps = _table(derivation.row_steps)
        self._fixed_steps = _moved(derivation.fixed_steps, order)
        self._square_steps = _moved(derivation.square_steps, order)
        self._other_rows = derivation.other_rows
        self._other_squares = [(order[place], part) for place, part in derivation.other_squares]
        self._free: list[Space] = []

    def of(self, text: Text) -> Space:
        """The features of a whole text; give them back by `release` when they are used up."""
        n = len(text)
        space = self._space(-(-n // WIDTH) * WIDTH, text.causal)
        rows, squares = space.rows.numpy(), space.squares.numpy()
        ids = text.token_ids.numpy()
        self._tokens.write(text, rows)
        scope = Scope(text, {})
        for place, part in self._other_rows:
            space.rows[place, :n] = part.evaluate(scope)
        for place, part in self._other_squares:
            space.squares[place].zero_()
            space.squares[place, :n, :n] = part.evaluate(scope)
        derive_rows(self._row_steps, self._numbers, ids, rows)
        derive_squares(self._square_steps, self._numbers, rows, n, text.causal, squares)
        return space

    def release(self, spaces: Sequence[Space]) -> None:
        """Have the arrays used again."""
        for space in spaces:
            size = space.squares.nbytes + space.rows.nbytes
            if (1 + len(self._free)) * size <= _KEPT_BYTES:
                self._free.append(space)

    def _space(self, padded: int, causal: bool) -> Space:
        while self._free:
            space = self._free.pop()
            if space.rows.shape[1] == padded and space.causal == causal:
                return space
        rows, squares = self._shape
        with torch.inference_mode(False):  # they are kept
            space = Space(causal, torch.zeros(rows, padded), torch.zeros(squares, padded, padded))
        derive_squares(
            self._fixed_steps,
            self._numbers,
            space.rows.numpy(),
            padded,
            causal,
            space.squares.numpy(),
        )
        return space


class _SeenTokens:
    """What tokens say alone, where it is not 0, one token seen after the other."""

    def __init__(self, parts: Sequence[Part], rows: Sequence[int]) -> None:
        self._alone = AloneValues(parts)
        self._rows = np.array(rows, np.int32)
        self._begin()

    def _begin(self) -> None:
        self._number_of: dict[Hashable, int] = {}
        self._starts = np.zeros(1, np.int64)
        self._columns = np.zeros(1024, np.int32)
        self._values = np.zeros(1024, np.float32)

    def write(self, text: Text, rows: NDArray[np.float32]) -> None:
        """Write to (rows, padded); all else there becomes 0, but for row 0, which is 1."""
        keys = token_keys(text)
        known = self._number_of
        try:
            numbers = [known[key] for key in keys]
        except KeyError:
            if self._starts[-1] > _MOST_VALUES:
                self._begin()
            self._add(keys, text)
            numbers = [self._number_of[key] for key in keys]
        scatter(np.array(numbers, np.int64), self._starts, self._columns, self._values, rows)

    def _add(self, keys: list[Hashable], text: Text) -> None:
        new = {key: place for place, key in enumerate(keys) if key not in self._number_of}
        tokens = text.chosen(list(new.values()))
        with torch.inference_mode(False):
            values = torch.zeros(len(tokens), len(self._rows))
            self._alone.write(tokens, values)
        found = values.numpy()
        token, column = found.nonzero()
        begin = int(self._starts[-1])
        end = begin + len(token)
        while end > len(self._columns):
            self._columns = np.concatenate([self._columns, np.zeros_like(self._columns)])
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._columns[begin:end] = self._rows[column]
        self._values[begin:end] = found[token, column]
        ends = begin + np.cumsum(np.bincount(token, minlength=len(tokens)))
        self._starts = np.concatenate([self._starts, ends.astype(np.int64)])
        for key in new:
            self._number_of[key] = len(self._number_of)


def _places(found: Sequence[int]) -> Places:
    return np.array(found, np.int32)


def _table(steps: Sequence[Step]) -> Places:
    return np.array(steps, np.int32).reshape(-1, 6)


def _moved(steps: Sequence[Step], order: dict[int, int]) -> Places:
    """Steps of squares where these are in another order."""
    table = _table(steps)
    for step in table:
        step[1] = order[int(step[1])]
        for at in (2, 4):
            if step[at + 1] == WHOLE:
                step[at] = order[int(step[at])]
    return table

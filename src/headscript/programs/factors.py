"""The factors of features, read off a text for many programs at once.

Nearly all are token properties, and nearly all of these follow from a token alone. Their values are
kept token by token, so that a text of tokens that were seen before is read by a look into a table.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from headscript.language import Text
from headscript.language.gate import literal_value
from headscript.programs.interpreter import Part, Scope

_TABLE_BYTES = 128 << 20
"""How much is kept of tokens seen; beyond, the table is begun anew."""


class Reading:
    """One text and, for those who need no more, its end."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.scope = Scope(text, {})
        self._tails: dict[int, Scope] = {}

    def last(self, part: Part, count: int) -> Tensor:
        """A token property of the last tokens, (count,)."""
        value: Tensor = part.evaluate(self._scope_for(part.reach, count))
        return value[len(value) - count :]

    def _scope_for(self, reach: int | None, count: int) -> Scope:
        """The text, or as much of its end as something of that reach needs."""
        if reach is None or len(self.text) <= count + reach:
            return self.scope
        if count + reach not in self._tails:
            self._tails[count + reach] = Scope(self.text.tail(count + reach), {})
        return self._tails[count + reach]


class Properties:
    """Distinct token properties, numbered from 1."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: list[Part] = []

    def number(self, part: Part) -> int:
        """The number of a property."""
        if part.canonical not in self._numbers:
            self._parts.append(part)
            self._numbers[part.canonical] = len(self._parts)
        return self._numbers[part.canonical]

    def values(self, reading: Reading, count: int) -> Tensor:
        """(1 + properties, count) float32 of a text's last tokens; row 0 is 1."""
        found = torch.empty(1 + len(self._parts), count)
        found[0] = 1
        own, table = self._of_token_alone
        if len(own):
            found.index_copy_(0, own, table.values(reading.text, count))
        for number, part in self._of_more:
            found[number] = reading.last(part, count)
        return found

    @cached_property
    def _of_token_alone(self) -> tuple[Tensor, _TokenTable]:
        own = [number for number, part in enumerate(self._parts, 1) if part.reach == 0]
        with torch.inference_mode(False):  # as are all tensors that outlast a pass
            return torch.tensor(own, dtype=torch.long), _TokenTable(
                [self._parts[number - 1] for number in own]
            )

    @cached_property
    def _of_more(self) -> list[tuple[int, Part]]:
        return [(number, part) for number, part in enumerate(self._parts, 1) if part.reach != 0]


class Products:
    """Distinct products of token properties, numbered; number 0 is 1."""

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self._factors: list[tuple[int, ...]] = [()]
        self._places: dict[tuple[int, ...], int] = {(): 0}

    def __len__(self) -> int:
        return len(self._factors)

    def place(self, parts: Sequence[Part]) -> int:
        """The number of a product."""
        factors = tuple(sorted(self._properties.number(part) for part in parts))
        if factors not in self._places:
            self._places[factors] = len(self._factors)
            self._factors.append(factors)
        return self._places[factors]

    def of(self, values: Tensor) -> Tensor:
        """(products, n) of the values of the properties, (1 + properties, n)."""
        first, others = self._table
        found = values.index_select(0, first)
        for places, numbers in others:
            found[places] *= values[numbers]
        return found

    @cached_property
    def _table(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The first factor of each product; then which have a second one, and which, and so on."""
        others = []
        with torch.inference_mode(False):
            for depth in range(1, max(map(len, self._factors))):
                deeper = [(p, f[depth]) for p, f in enumerate(self._factors) if len(f) > depth]
                others.append(torch.tensor(deeper).unbind(1))
            first = torch.tensor([f[0] if f else 0 for f in self._factors])
        return first, [(places, numbers) for places, numbers in others]


class Relations:
    """Distinct products of values a pair of query and key, numbered."""

    def __init__(self) -> None:
        self._factors: list[tuple[Part, ...]] = []
        self._places: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        return len(self._factors)

    def place(self, parts: Sequence[Part]) -> int:
        """The number of a product."""
        name = tuple(sorted(part.canonical for part in parts))
        if name not in self._places:
            self._places[name] = len(self._factors)
            self._factors.append(tuple(parts))
        return self._places[name]

    def fill(self, reading: Reading, into: Tensor) -> None:
        """Write a text's values into (relations, rows, n): of its queries, from the first asked."""
        for number, parts in enumerate(self._factors):
            value = parts[0].evaluate(reading.scope)
            for part in parts[1:]:
                value = value * part.evaluate(reading.scope)
            into[number] = value


class _TokenTable:
    """The values of properties that follow from a token alone, a column a token seen."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._rows_of: dict[str, list[int]] = {}
        self._computed: list[tuple[int, Part]] = []
        for row, part in enumerate(parts):
            # Lists of literal tokens are by far the most, and need no text to be looked up in.
            tokens = _literal_tokens(part)
            if tokens is None:
                self._computed.append((row, part))
            for token in tokens or ():
                self._rows_of.setdefault(token, []).append(row)
        self._columns: dict[Hashable, int] = {}
        self._table = torch.zeros(len(parts), 256)
        self._most = max(256, _TABLE_BYTES // (4 * max(1, len(parts))))

    def values(self, text: Text, count: int) -> Tensor:
        """(properties, count) of a text's last tokens."""
        start = len(text) - count
        keys: list[Hashable] = [
            (surface, token_id, special, text.vocabulary_size)
            for surface, token_id, special in zip(
                text.surfaces[start:],
                text.token_ids[start:].tolist(),
                text.special[start:],
                strict=True,
            )
        ]
        new = {key: place for place, key in enumerate(keys, start) if key not in self._columns}
        if new and len(self._columns) + len(new) > self._most:
            self._columns.clear()
            new = {key: place for place, key in enumerate(keys, start)}
        if new:
            self._add(new, text)
        return self._table.index_select(1, torch.tensor([self._columns[key] for key in keys]))

    def _add(self, new: dict[Hashable, int], text: Text) -> None:
        known, needed = len(self._columns), len(self._columns) + len(new)
        tokens = text.chosen(list(new.values()))
        with torch.inference_mode(False):
            if needed > self._table.shape[1]:
                larger = torch.zeros(len(self._table), max(needed, 2 * self._table.shape[1]))
                larger[:, :known] = self._table[:, :known]
                self._table = larger
            added = self._table[:, known:needed]
            added.zero_()
            for column, surface in enumerate(tokens.surfaces):
                if rows := self._rows_of.get(surface):
                    added[rows, column] = 1
            scope = Scope(tokens, {})
            for row, part in self._computed:
                added[row] = part.evaluate(scope)
        self._columns.update((key, known + column) for column, key in enumerate(new))


def _literal_tokens(part: Part) -> set[str] | None:
    """The tokens of `text.one_of("...", ...)`; None where the property is another."""
    node = part.node
    if (
        not isinstance(node, ast.Call)
        or not isinstance(node.func, ast.Attribute)
        or node.func.attr != "one_of"
    ):
        return None
    return {str(literal_value(argument)) for argument in node.args}

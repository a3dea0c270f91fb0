"""The factors of features, read off a text for many programs at once.

Nearly all are token properties, and nearly all of these follow from a token alone. Their values are
kept token by token, so that a text of tokens that were seen before is read by a look into a table.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import torch
from torch import Tensor

from headscript.language import VOCABULARY, Entry, Text
from headscript.language.gate import literal_value
from headscript.programs.interpreter import Part, Scope, unnamed

_TABLE_BYTES = 128 << 20
"""How much is kept of tokens seen; beyond, the table is begun anew."""
_PLACES = 512  # tokens of the longest text for which relations of places alone are kept
_PLACES_STEP = 64
FIRST_ROW = "[0]"
"""How the name of a relation's first row ends, which is a token property."""


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


CallKind = tuple[str, tuple[object, ...]]
"""An entry over a token property, and its other arguments."""


@dataclass(frozen=True)
class _Calls:
    """Calls of one kind, which are computed together."""

    entry: Entry
    literals: tuple[object, ...]
    names: list[str]
    """How the value of each is kept on a text."""
    properties: list[int]
    """The number of the property of each."""
    numbers: list[int]
    """Of those whose values are properties themselves: which, ..."""
    places: list[int]
    """... and which calls these are."""


class Properties:
    """Distinct token properties, numbered from 1."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: list[Part] = []
        self._noted: dict[CallKind, dict[str, int]] = {}
        """By kind: the name of each call, and the number of its property."""
        self._seen: set[str] = set()

    def number(self, part: Part) -> int:
        """The number of a property."""
        if part.canonical not in self._numbers:
            self._parts.append(part)
            self._numbers[part.canonical] = len(self._parts)
            self.note_calls(part)
        return self._numbers[part.canonical]

    def part(self, number: int) -> Part:
        """The property of that number."""
        return self._parts[number - 1]

    def note_calls(self, part: Part) -> None:
        """Have what is computed of token properties within a part done in one go with its like."""
        if part.canonical in self._seen:
            return
        self._seen.add(part.canonical)
        part = unnamed(part)
        for inner in part.parts:
            self.note_calls(inner)
        node = part.node
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return
        entry = VOCABULARY.require(node.func.attr)
        if entry.many and part.parts and part.parts[0].reach == 0:
            literals = tuple(literal_value(argument) for argument in node.args[1:])
            calls = self._noted.setdefault((entry.name, literals), {})
            calls[part.canonical.removesuffix(FIRST_ROW)] = self.number(part.parts[0])

    def values(self, reading: Reading, count: int) -> Tensor:
        """(1 + properties, count) float32 of a text's last tokens; row 0 is 1."""
        found = torch.empty(1 + len(self._parts), count)
        found[0] = 1
        own, table = self._of_token_alone
        if len(own):
            found.index_copy_(0, own, table.values(reading.text, count))
        done: set[int] = set()
        if count == len(reading.text):
            for calls in self.calls.values():
                _call(calls, reading.text, found)
            done = self._called
        for number, part in self._of_more:
            if number not in done:
                found[number] = reading.last(part, count)
        return found

    @cached_property
    def calls(self) -> dict[CallKind, _Calls]:
        """What was noted, by kind."""
        found = {}
        for (name, literals), noted in self._noted.items():
            entry, names = VOCABULARY.require(name), list(noted)
            row = FIRST_ROW if entry.kind == "relation" else ""
            own = [(self._numbers.get(name + row), place) for place, name in enumerate(names)]
            asked = [(number, place) for number, place in own if number is not None]
            found[name, literals] = _Calls(
                entry,
                literals,
                names,
                list(noted.values()),
                [number for number, _ in asked],
                [place for _, place in asked],
            )
        return found

    @cached_property
    def _called(self) -> set[int]:
        return {number for calls in self.calls.values() for number in calls.numbers}

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


def _call(calls: _Calls, text: Text, values: Tensor) -> None:
    """Compute calls of the properties of all tokens, (1 + properties, n), where they belong.

    Relations are kept on the text, properties written to `values`.
    """
    found = text.compute(calls.entry, values[calls.properties], *calls.literals)
    if calls.entry.kind == "relation":
        text.keep(("calls", calls.entry.name, calls.literals), found)
        for name, value in zip(calls.names, found, strict=True):
            text.keep(("call", name), value)
        if calls.numbers:
            found = found[:, 0]
    if calls.numbers:
        values[calls.numbers] = found[calls.places].to(values.dtype)


class Products:
    """Distinct products of token properties, numbered; number 0 is 1."""

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self._factors: list[tuple[int, ...]] = [()]
        self._places: dict[tuple[int, ...], int] = {(): 0}

    def __len__(self) -> int:
        return len(self._factors)

    @property
    def parts(self) -> list[tuple[Part, ...]]:
        """The properties that each is a product of."""
        return [tuple(map(self._properties.part, factors)) for factors in self._factors]

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

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self._kept = torch.zeros(0, 0, 0)
        self._factors: list[tuple[Part, ...]] = []
        self._places: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        return len(self._factors)

    @property
    def parts(self) -> list[tuple[Part, ...]]:
        """The values of pairs that each is a product of."""
        return list(self._factors)

    def place(self, parts: Sequence[Part]) -> int:
        """The number of a product."""
        name = tuple(sorted(part.canonical for part in parts))
        if name not in self._places:
            self._places[name] = len(self._factors)
            self._factors.append(tuple(parts))
            for part in parts:
                self._properties.note_calls(part)
        return self._places[name]

    def fill(self, reading: Reading, into: Tensor) -> None:
        """Write a text's values into (relations, rows, n): of its queries, from the first asked."""
        text = reading.text
        first, n = text.first_query, len(text)
        rest = set(range(len(self._factors)))
        if self._of_places and n <= _PLACES:
            into[self._of_places] = self._by_places(n)[:, first:n, :n]
            rest -= set(self._of_places)
        for (name, literals), (numbers, places) in self._of_calls.items():
            found = text.kept(("calls", name, literals))
            if found is not None:
                into[numbers] = found[places].to(into.dtype)
                rest -= set(numbers)
        for number in sorted(rest):
            into[number] = _product(self._factors[number], reading.scope)

    @cached_property
    def _of_places(self) -> list[int]:
        """Which relations follow from the places of query and key alone."""
        return [
            number
            for number, parts in enumerate(self._factors)
            if all(map(_follows_from_places, parts))
        ]

    @cached_property
    def _of_calls(self) -> dict[CallKind, tuple[list[int], list[int]]]:
        """Which relations are calls, by kind, and which of the calls of that kind."""
        found: dict[CallKind, tuple[list[int], list[int]]] = {}
        for kind, calls in self._properties.calls.items():
            places = {name: place for place, name in enumerate(calls.names)}
            numbers = [
                number
                for number, parts in enumerate(self._factors)
                if len(parts) == 1 and parts[0].canonical in places
            ]
            if numbers and calls.entry.kind == "relation":
                of_calls = [places[self._factors[number][0].canonical] for number in numbers]
                found[kind] = numbers, of_calls
        return found

    def _by_places(self, count: int) -> Tensor:
        """Those of places alone, for at least so many tokens, (relations, queries, keys)."""
        if self._kept.shape[1] < count:
            count = -(-count // _PLACES_STEP) * _PLACES_STEP
            scope = Scope(Text([""] * count, [0] * count, 1), {})
            with torch.inference_mode(False):  # as are all tensors that outlast a pass
                self._kept = torch.zeros(len(self._of_places), count, count)
                for number, into in zip(self._of_places, self._kept, strict=True):
                    into.copy_(_product(self._factors[number], scope))
        return self._kept


def _product(parts: Sequence[Part], scope: Scope) -> Tensor:
    value: Tensor = parts[0].evaluate(scope)
    for part in parts[1:]:
        value = value * part.evaluate(scope)
    return value


def _follows_from_places(part: Part) -> bool:
    """Whether a relation is made of entries alone that say where query and key stand."""
    node = part.node
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return VOCABULARY.require(node.func.attr).of_places and not part.parts
    if isinstance(node, ast.Attribute):
        return VOCABULARY.require(node.attr).of_places
    return bool(part.parts) and all(map(_follows_from_places, part.parts))


def token_keys(text: Text, start: int = 0) -> list[Hashable]:
    """All that a token alone can say, of the tokens from `start` on."""
    ids = text.token_ids[start:].tolist()
    sizes = repeat(text.vocabulary_size, len(ids))
    return list(zip(text.surfaces[start:], ids, text.special[start:], sizes, strict=True))


class AloneValues:
    """Computes properties that follow from a token alone."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._columns_of: dict[str, list[int]] = {}
        self._computed: list[tuple[int, Part]] = []
        for column, part in enumerate(parts):
            # Lists of literal tokens are by far the most, and need no text to be looked up in.
            tokens = _literal_tokens(part)
            if tokens is None:
                self._computed.append((column, part))
            for token in tokens or ():
                self._columns_of.setdefault(token, []).append(column)

    def write(self, tokens: Text, into: Tensor) -> None:
        """Write (tokens, properties); the tokens need not follow each other."""
        into.zero_()
        for row, surface in enumerate(tokens.surfaces):
            if columns := self._columns_of.get(surface):
                into[row, columns] = 1
        scope = Scope(tokens, {})
        for column, part in self._computed:
            into[:, column] = part.evaluate(scope)


class _TokenTable:
    """The values of properties that follow from a token alone, a row a token seen."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._alone = AloneValues(parts)
        self._seen: dict[Hashable, int] = {}
        self._table = torch.zeros(256, len(parts))
        self._most = max(256, _TABLE_BYTES // (4 * max(1, len(parts))))

    def values(self, text: Text, count: int) -> Tensor:
        """(properties, count) of a text's last tokens."""
        start = len(text) - count
        keys = token_keys(text, start)
        new = {key: place for place, key in enumerate(keys, start) if key not in self._seen}
        if new and len(self._seen) + len(new) > self._most:
            self._seen.clear()
            new = {key: place for place, key in enumerate(keys, start)}
        if new:
            self._add(new, text)
        rows = self._table.index_select(0, torch.tensor([self._seen[key] for key in keys]))
        return rows.T.contiguous()

    def _add(self, new: dict[Hashable, int], text: Text) -> None:
        known, needed = len(self._seen), len(self._seen) + len(new)
        tokens = text.chosen(list(new.values()))
        with torch.inference_mode(False):
            if needed > len(self._table):
                larger = torch.zeros(max(needed, 2 * len(self._table)), self._table.shape[1])
                larger[:known] = self._table[:known]
                self._table = larger
            self._alone.write(tokens, self._table[known:needed])
        self._seen.update((key, known + row) for row, key in enumerate(new))


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

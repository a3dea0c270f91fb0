"""How compiled code comes to the features of a bank: which rows and squares follow from which.

Rows are values of tokens, squares values of pairs. What a token says alone is looked up; the rest
is written down as steps of `headscript.kernels.derived`. What has no step, such as an entry of a
plug-in, is computed by the program's own part and taken from there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headscript.kernels.steps import NUMBER, OF_KEY, OF_QUERY, WHOLE, Cell, Row, Square
from headscript.language import VOCABULARY, Text
from headscript.language.gate import literal_value
from headscript.programs.factors import FIRST_ROW
from headscript.programs.interpreter import Part, Scope, unnamed

_OPERATORS: dict[type[ast.AST], Cell] = {
    ast.Div: Cell.DIVIDE,
    ast.BitAnd: Cell.AND,
    ast.BitOr: Cell.OR,
    ast.Lt: Cell.LESS,
    ast.LtE: Cell.AT_MOST,
    ast.Eq: Cell.EQUAL,
    ast.NotEq: Cell.NOT_EQUAL,
}
_TURNED: dict[type[ast.AST], Cell] = {ast.Gt: Cell.LESS, ast.GtE: Cell.AT_MOST}
_FUNCTIONS = {"log": Cell.LOG, "exp": Cell.EXP, "sqrt": Cell.ROOT}
_LOGICAL = (Cell.AND, Cell.OR, Cell.NOT)
_COMPARING = (Cell.LESS, Cell.AT_MOST, Cell.EQUAL, Cell.NOT_EQUAL)
_FAR = 1_000_000  # tokens; no text is as long


class NoStepError(Exception):
    """There is no step for a part."""


@dataclass(frozen=True)
class Value:
    """Where a value is: a row, a row seen from pairs, a square, or a literal number."""

    place: int
    seen: int | None = None
    """As `headscript.kernels.derived` has it; None for a row that is not seen from pairs."""
    condition: bool = False
    fixed: bool = False
    """Whether it follows from the places of query and key alone."""


Step = tuple[int, ...]


class Derivation:
    """The steps to rows and squares; those of each part of programs are written once."""

    def __init__(self, entries: Mapping[str, EntryRule]) -> None:
        self._entries = entries
        self.alone: list[Part] = []
        """Token properties that follow from a token alone, and ..."""
        self.alone_rows: list[int] = []
        """... their rows. Row 0 is 1."""
        self.rows = 1
        self.squares = 0
        self.numbers: list[float] = [0.0]
        self.row_steps: list[Step] = []
        self.square_steps: list[Step] = []
        self.fixed_steps: list[Step] = []
        """Of squares that follow from places alone."""
        self.other_rows: list[tuple[int, Part]] = []
        """Rows and squares without a step."""
        self.other_squares: list[tuple[int, Part]] = []
        self._places_alone: dict[str, int] = {}
        self._values: dict[str, Value] = {}
        self._steps: dict[tuple[object, ...], Value] = {}
        self._of_pairs: dict[str, bool] = {}

    def feature(
        self, query: Sequence[Part], relation: Sequence[Part], key: Sequence[Part]
    ) -> tuple[int, int, int]:
        """The row of queries, the square and the row of keys of a product; -1 for no square.

        What is alike for all queries or for all keys goes to the rows, whoever wrote it.
        """
        values = [self.value(part) for part in relation]
        squares = [value for value in values if value.seen == WHOLE]
        square = self._product(squares).place if squares else -1
        of_key = [value for value in values if value.seen == OF_KEY]
        of_query = [value for value in values if value.seen in (OF_QUERY, NUMBER)]
        return self._row(query, of_query), square, self._row(key, of_key)

    def _row(self, parts: Sequence[Part], others: Sequence[Value]) -> int:
        """The row of a product of token properties and of values that are a row, too."""
        if len(parts) == 1 and not others and self._follows_from_token(parts[0]):
            return self._row_alone(parts[0])
        values = [self.value(part) for part in parts]
        values += [
            replace(value, seen=NUMBER if value.seen == NUMBER else None) for value in others
        ]
        return self._product([Value(0), *values] if not parts else values).place

    def value(self, part: Part) -> Value:
        """Where the value of a fixed part is."""
        inner = unnamed(part)
        if inner.canonical not in self._values:
            try:
                found = self._find(inner)
            except NoStepError:
                found = self._other(part)
            self._values[inner.canonical] = found
        return self._values[inner.canonical]

    def alone_value(self, part: Part, *, condition: bool = True) -> Value:
        """A token property that follows from a token alone."""
        return Value(self._row_alone(part), condition=condition)

    def entry(self, name: str) -> Value:
        """An entry without arguments."""
        node = ast.parse(f"text.{name}", mode="eval").body
        return self.value(
            Part(
                f"text.{name}",
                True,
                lambda scope: getattr(scope.text, name),
                node,
                reach=VOCABULARY.require(name).reach,
            )
        )

    def number(self, number: float) -> Value:
        """A literal number."""
        if number not in self.numbers:
            self.numbers.append(number)
        return Value(self.numbers.index(number), NUMBER, fixed=True)

    def cells(self, kind: Cell, x: Value, y: Value | None = None) -> Value:
        """Something computed cell by cell; raises NoStepError where torch would do it otherwise."""
        operands = [x] if y is None else [x, y]
        conditions = all(value.condition for value in operands)
        if kind in _LOGICAL and not conditions:
            raise NoStepError
        if kind in (Cell.ADD, Cell.SUBTRACT) and conditions:
            raise NoStepError
        condition = kind in (*_LOGICAL, *_COMPARING) or (kind == Cell.MULTIPLY and conditions)
        seen = {value.seen for value in operands} - {NUMBER}
        if not seen or (None in seen and len(seen) > 1):
            raise NoStepError
        if len(seen) > 1 or WHOLE in seen:
            return self._write_square(kind, x, y or x, condition)
        found = self._write_row(kind, x, y or x, condition)
        return Value(found.place, seen.pop(), condition)

    def _product(self, values: Sequence[Value]) -> Value:
        found = values[0]
        for value in values[1:]:
            if found.seen == value.seen == NUMBER:
                found = self.number(self.numbers[found.place] * self.numbers[value.place])
            else:
                found = self.cells(Cell.MULTIPLY, found, value)
        return found

    def along(
        self, kind: Row, x: Value | None = None, y: Value | None = None, *, condition: bool = False
    ) -> Value:
        """A row computed along the text."""
        if x is not None and x.seen is not None:
            raise NoStepError
        return self._write_row(kind, x or Value(0), y or x or Value(0), condition)

    def pairs(
        self, kind: Square, x: Value | None = None, y: Value | None = None, *, fixed: bool = False
    ) -> Value:
        """A square computed of rows."""
        if x is not None and x.seen is not None:
            raise NoStepError
        first, second = x or Value(0), y or Value(0)
        return self._write_square(kind, first, second, kind != Square.DISTANCE, fixed=fixed)

    def _write_row(self, kind: int, x: Value, y: Value, condition: bool) -> Value:
        step = (x.place, int(x.seen == NUMBER), y.place, int(y.seen == NUMBER))
        said = ("row", int(kind), *step)
        if said not in self._steps:
            self.row_steps.append((int(kind), self.rows, *step))
            self._steps[said] = Value(self.rows, condition=condition)
            self.rows += 1
        return self._steps[said]

    def _write_square(
        self, kind: int, x: Value, y: Value, condition: bool, *, fixed: bool | None = None
    ) -> Value:
        seen = [OF_KEY if value.seen is None else value.seen for value in (x, y)]
        step = (x.place, seen[0], y.place, seen[1])
        said = ("square", int(kind), *step)
        if said not in self._steps:
            fixed = x.fixed and y.fixed if fixed is None else fixed
            steps = self.fixed_steps if fixed else self.square_steps
            steps.append((int(kind), self.squares, *step))
            self._steps[said] = Value(self.squares, WHOLE, condition, fixed)
            self.squares += 1
        return self._steps[said]

    def _row_alone(self, part: Part) -> int:
        if part.canonical not in self._places_alone:
            self._places_alone[part.canonical] = self.rows
            self.alone.append(part)
            self.alone_rows.append(self.rows)
            self.rows += 1
        return self._places_alone[part.canonical]

    def _other(self, part: Part) -> Value:
        condition = _is_condition(part)
        if self._is_of_pairs(part):
            self.other_squares.append((self.squares, part))
            self.squares += 1
            return Value(self.squares - 1, WHOLE, condition)
        self.other_rows.append((self.rows, part))
        self.rows += 1
        return Value(self.rows - 1, condition=condition)

    def _is_of_pairs(self, part: Part) -> bool:
        """Whether its value is one a pair, not one a token."""
        part = unnamed(part)
        if part.canonical not in self._of_pairs:
            node = part.node
            name, _ = _entry_of(node)
            if name is not None:
                is_row = part.canonical.endswith(FIRST_ROW)
                found = VOCABULARY.require(name).kind == "relation" and not is_row
            else:
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                lifted = called and part.canonical.startswith(("query(", "key(", "softmax("))
                found = lifted or any(map(self._is_of_pairs, part.parts))
            self._of_pairs[part.canonical] = found
        return self._of_pairs[part.canonical]

    def _follows_from_token(self, part: Part) -> bool:
        part = unnamed(part)
        is_number = isinstance(part.node, ast.Constant)
        return part.reach == 0 and not is_number and not self._is_of_pairs(part)

    def _find(self, part: Part) -> Value:
        node, parts = part.node, part.parts
        if isinstance(node, ast.Constant):
            return self.number(float(node.value))  # type: ignore[arg-type]
        if self._follows_from_token(part):
            return self.alone_value(part, condition=_is_condition(part))
        name, arguments = _entry_of(node)
        if name is not None:
            if name not in self._entries:
                raise NoStepError
            found = self._entries[name](self, [self.value(inner) for inner in parts], arguments)
            is_row = part.canonical.endswith(FIRST_ROW)
            return Value(found.place, None, found.condition) if is_row else found
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            return self._called(node.func.id, parts)
        return self._computed(node, [self.value(inner) for inner in parts])

    def _called(self, name: str, parts: tuple[Part, ...]) -> Value:
        if name in ("query", "key"):
            found = self.value(parts[0])
            if found.seen is not None:
                raise NoStepError
            return Value(found.place, OF_QUERY if name == "query" else OF_KEY, found.condition)
        if name not in _FUNCTIONS:
            raise NoStepError
        return self.cells(_FUNCTIONS[name], self.value(parts[0]))

    def _computed(self, node: ast.AST, values: list[Value]) -> Value:
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Invert):
                return self.cells(Cell.NOT, values[0])
            if values[0].seen == NUMBER:
                return self.number(-self.numbers[values[0].place])
            return self.cells(Cell.SUBTRACT, self.number(0.0), values[0])
        if isinstance(node, ast.Compare):
            operation: ast.AST = node.ops[0]
        else:
            assert isinstance(node, ast.BinOp)
            operation = node.op
        if type(operation) in _TURNED:
            return self.cells(_TURNED[type(operation)], values[1], values[0])
        if type(operation) in _OPERATORS:
            return self.cells(_OPERATORS[type(operation)], *values)
        if isinstance(operation, ast.Mult):
            return self._product(values)
        if isinstance(operation, ast.Add | ast.Sub):
            found = values[0]
            for added, value in zip(_added(node), values[1:], strict=True):
                found = self.cells(Cell.ADD if added else Cell.SUBTRACT, found, value)
            return found
        raise NoStepError

    def count(self, given: list[object], otherwise: int = 0) -> Value:
        """The whole number that an entry was given, as far as it matters."""
        number = given[0] if given else otherwise
        assert isinstance(number, int)
        return self.number(float(max(-_FAR, min(number, _FAR))))


EntryRule = Callable[[Derivation, list[Value], list[object]], Value]
"""Writes the steps of an entry: of its operands and literal arguments."""


def _added(node: ast.AST) -> list[bool]:
    """Of a sum: whether each addend but the first is added, not subtracted."""
    found = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        found.append(isinstance(node.op, ast.Add))
        node = node.left
    return found[::-1]


def _entry_of(node: ast.AST) -> tuple[str | None, list[object]]:
    """The entry that a node names, and its literal arguments."""
    if isinstance(node, ast.Attribute):
        return node.attr, []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        literals = [literal_value(argument) for argument in node.args]
        return node.func.attr, [literal for literal in literals if literal is not None]
    return None, []


def _is_condition(part: Part) -> bool:
    """Whether torch has it as true or false; seen on the shortest of texts."""
    import torch

    try:
        value = part.evaluate(Scope(Text(["a"], [0], 1), {}))
    except Exception:  # it says so when it is evaluated in earnest
        return False
    return isinstance(value, torch.Tensor) and value.dtype is torch.bool

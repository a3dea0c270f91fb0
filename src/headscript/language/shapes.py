"""What each part of a program is: a number, a token property (n,), or one value a pair (n, n).

Known from the syntax tree and the vocabulary alone, so that a program that mixes them is refused
with its line before it runs. The same pass says whether a program is fit for a decoder. Its values
for keys up to the query must follow from the tokens up to the query: so they do but for entries
that say otherwise, and where softmax runs over later keys. What it returns must be 0 on later keys.
"""

from __future__ import annotations

import ast
import enum
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

from headscript.language.vocabulary import VOCABULARY, Entry


class Shape(enum.Enum):
    """What a value has one of."""

    NUMBER = "number"
    PROPERTY = "token property"
    PAIR = "relation"


_PLAIN = {
    "property": "a token property",
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
}


@lru_cache(maxsize=1024)
def expected_arguments(entry: Entry) -> tuple[tuple[str, ...], int, bool]:
    """The kinds of an entry's arguments, how many must be given, and whether the last repeats.

    A kind is "property", "str", "int", "float" or "" (a number or a string), read from the
    annotations of the function behind the entry; a parameter called `property` is a token property.
    """
    signature = inspect.signature(entry.compute)
    given = list(signature.parameters.values())
    if entry.kind != "function":
        given = given[1:]
    repeats = bool(given) and given[-1].kind is inspect.Parameter.VAR_POSITIONAL
    kinds, needed = [], 0
    for parameter in given:
        annotation = parameter.annotation
        name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        kind = "property" if parameter.name == "property" or name == "Tensor" else name
        kinds.append(kind if kind in _PLAIN else "")
        needed += parameter.default is inspect.Parameter.empty
    return tuple(kinds), needed, repeats


class ShapeChecker:
    """The shapes of a program's names and expressions, and what they use.

    `names` maps constants to NUMBER at first; `imported` limits the functions (None: all);
    `refuse(node, reason)` raises.
    """

    def __init__(
        self,
        names: dict[str, Shape],
        imported: set[str] | None,
        refuse: Callable[[ast.AST | None, str], NoReturn],
    ) -> None:
        self.names = names
        self.imported = imported
        self.refuse = refuse
        self.entries: set[str] = set()
        self.prefix_consistent = True
        self._only_in_view: set[str] = set()
        """Names of values that are 0 or false on later keys."""

    def assign(self, name: str, value: ast.expr) -> None:
        """Take note of an assignment."""
        self.names[name] = self.shape(value)
        if self._is_in_view(value):
            self._only_in_view.add(name)

    def returned(self, node: ast.expr) -> Shape:
        """The shape of what the program returns.

        A pattern that may not be 0 on later keys is not prefix-consistent: its weights there follow
        from what comes after the query, if only from how much does.
        """
        shape = self.shape(node)
        self.prefix_consistent &= self._is_in_view(node)
        return shape

    def shape(self, node: ast.expr) -> Shape:
        """The shape of an expression; refuses names, entries and mixtures that cannot be."""
        # The left side of a long sum is walked in a loop, so that its length needs no recursion.
        right_sides: list[ast.BinOp] = []
        while isinstance(node, ast.BinOp):
            right_sides.append(node)
            node = node.left
        shape = self._plain_shape(node)
        for operation in reversed(right_sides):
            right = self.shape(operation.right)
            if isinstance(operation.op, ast.BitAnd | ast.BitOr):
                self._need_condition(operation, shape, right)
            if isinstance(operation.op, ast.Pow) and shape is right is Shape.NUMBER:
                self.refuse(operation, "write the number out in place of a power of numbers.")
            shape = self._join(operation, shape, right)
        return shape

    def _plain_shape(self, node: ast.expr) -> Shape:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                self.refuse(node, "a string may only be an argument, as in text.one_of(' the').")
            return Shape.NUMBER
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                self._refuse_name(node)
            return self.names[node.id]
        if isinstance(node, ast.UnaryOp):
            shape = self.shape(node.operand)
            if isinstance(node.op, ast.Invert):
                self._need_condition(node, shape)
            return shape
        if isinstance(node, ast.Compare):
            left, right = self.shape(node.left), self.shape(node.comparators[0])
            if left is right is Shape.NUMBER:
                self.refuse(node, "compare at least one value of the text, not two numbers.")
            return self._join(node, left, right)
        if isinstance(node, ast.Attribute):
            entry = self._entry(node)
            if entry.parameters:
                arguments = ", ".join(entry.parameters)
                self.refuse(
                    node, f"text.{entry.name} needs arguments: text.{entry.name}({arguments})."
                )
            return self._shape_of(entry)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                return self._entry_call(node, self._entry(node.func))
            if isinstance(node.func, ast.Name):
                return self._function_call(node, node.func)
            self.refuse(node, "call functions of the language and entries of text alone.")
        raise AssertionError(ast.dump(node))

    def _entry(self, node: ast.Attribute) -> Entry:
        if not isinstance(node.value, ast.Name) or node.value.id != "text":
            self.refuse(node, "only text has entries, as in text.is_comma; leave out this dot.")
        entry = VOCABULARY.get(node.attr)
        if entry is None or entry.kind == "function":
            self.refuse(
                node,
                f"the vocabulary has no entry text.{node.attr}"
                + VOCABULARY.suggestion(
                    node.attr, "entry", or_else="; docs/language.md lists all."
                ),
            )
        self.entries.add(entry.name)
        self.prefix_consistent &= entry.prefix_consistent
        return entry

    def _entry_call(self, node: ast.Call, entry: Entry) -> Shape:
        if not entry.parameters:
            self.refuse(node, f"text.{entry.name} takes no arguments; leave out the brackets.")
        self._check_arguments(node, entry, f"text.{entry.name}")
        return self._shape_of(entry)

    def _check_arguments(self, node: ast.Call, entry: Entry, said: str) -> None:
        kinds, needed, repeats = expected_arguments(entry)
        given = len(node.args)
        if given < needed or (given > len(kinds) and not repeats):
            self.refuse(
                node, f"{said} takes {said}({', '.join(entry.parameters)}), not {given} arguments."
            )
        for place, argument in enumerate(node.args):
            kind = kinds[min(place, len(kinds) - 1)]
            if kind == "property":
                fits = self.shape(argument) is Shape.PROPERTY
            else:
                fits = _literal_fits(argument, kind)
            if not fits:
                wanted = _PLAIN.get(kind, "a number or a string")
                name = entry.parameters[min(place, len(entry.parameters) - 1)].lstrip("*")
                self.refuse(argument, f"{said} needs {wanted} as its {name}.")

    def _function_call(self, node: ast.Call, function: ast.Name) -> Shape:
        name = function.id
        entry = VOCABULARY.get(name)
        if entry is None or entry.kind != "function":
            self._refuse_name(function, "function")
        if self.imported is not None and name not in self.imported:
            self.refuse(node, f"{name} is not imported; add it to the import at the top.")
        _, needed, repeats = expected_arguments(entry)
        if not needed <= len(node.args) <= len(entry.parameters) and not repeats:
            self.refuse(node, f"{name} takes {name}({', '.join(entry.parameters)}).")
        shapes = [self.shape(argument) for argument in node.args]
        if name in ("query", "key"):
            if shapes[0] is not Shape.PROPERTY:
                self.refuse(node, f"{name} lifts a token property, as in {name}(text.is_comma).")
            return Shape.PAIR
        if name == "softmax":
            if any(shape is not Shape.PAIR for shape in shapes):
                self.refuse(node, "softmax needs values of a pair; lift by query(...) or key(...).")
            if len(node.args) == 2 and not self._is_in_view(node.args[1]):
                # A row normalised over keys after the query follows from more than its prefix.
                self.prefix_consistent = False
            return Shape.PAIR
        if name == "where":
            self._need_condition(node, shapes[0])
        shape = Shape.NUMBER
        for other in shapes:
            shape = self._join(node, shape, other)
        return shape

    def _is_in_view(self, node: ast.expr) -> bool:
        """Whether a value is 0 or false on every key after the query, in a decoder, for sure.

        Where 0 meets what is not finite, as in 0 * log(0), it is NaN, which is refused as it runs.
        """
        # As in `shape`, the left side of a long sum needs no recursion.
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.BitOr):
            if not self._is_in_view(node.right):
                return False
            node = node.left
        if isinstance(node, ast.Constant):
            return node.value == 0
        if isinstance(node, ast.Name):
            return node.id in self._only_in_view
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.USub) and self._is_in_view(node.operand)
        if isinstance(node, ast.BinOp):
            left = self._is_in_view(node.left)
            if isinstance(node.op, ast.Mult | ast.BitAnd):
                return left or self._is_in_view(node.right)
            # 0 to the power of 0 is 1: a constant may become 0.
            return left and (isinstance(node.op, ast.Div) or _is_positive(node.right))
        if isinstance(node, ast.Attribute):
            return VOCABULARY.require(node.attr).in_view
        return isinstance(node, ast.Call) and self._call_is_in_view(node)

    def _call_is_in_view(self, node: ast.Call) -> bool:
        if isinstance(node.func, ast.Attribute):
            negative = any(
                isinstance(argument, ast.UnaryOp) and isinstance(argument.op, ast.USub)
                for argument in node.args
            )
            return VOCABULARY.require(node.func.attr).in_view and not negative
        assert isinstance(node.func, ast.Name)
        if node.func.id == "softmax":
            return len(node.args) == 1 or self._is_in_view(node.args[1])
        if node.func.id == "where":
            condition, chosen, otherwise = map(self._is_in_view, node.args)
            return otherwise and (condition or chosen)
        return node.func.id in ("minimum", "maximum", "sqrt") and all(
            map(self._is_in_view, node.args)
        )

    def _shape_of(self, entry: Entry) -> Shape:
        return Shape.PROPERTY if entry.kind == "token property" else Shape.PAIR

    def _join(self, node: ast.AST, left: Shape, right: Shape) -> Shape:
        if left is Shape.NUMBER:
            return right
        if right is not Shape.NUMBER and left is not right:
            self.refuse(
                node, "this joins a token property and a relation; lift the former by query or key."
            )
        return left

    def _need_condition(self, node: ast.AST, *shapes: Shape) -> None:
        if Shape.NUMBER in shapes:
            self.refuse(node, "~, &, | and where need conditions on the text, not numbers.")

    def _refuse_name(self, node: ast.Name, kind: str = "name") -> NoReturn:
        if node.id == "text":
            self.refuse(node, "text itself is no value; use its entries, as in text.is_comma.")
        entry = VOCABULARY.get(node.id)
        if entry is not None and entry.kind != "function":
            self.refuse(node, f"say text.{node.id} in place of {node.id}.")
        if entry is not None:
            self.refuse(node, f"{node.id} is a function: {node.id}({', '.join(entry.parameters)}).")
        hint = VOCABULARY.suggestion(node.id, "function", or_else="; assign it first.")
        self.refuse(node, f"there is no {kind} {node.id!r} here{hint}")


def _is_positive(node: ast.expr) -> bool:
    """Whether an expression is a number above 0, written out."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 0


def _literal_fits(node: ast.expr, kind: str) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and kind != "str":
        node = node.operand
    if not isinstance(node, ast.Constant):
        return False
    wanted: tuple[type, ...] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
    }.get(kind, (str, int, float))
    return type(node.value) in wanted

"""The gate: which Python a program may be made of, checked on its syntax tree before anything runs.

What passes always ends, costs a bounded amount and touches nothing but the text it is given: one
function of assignments and one return, made of numbers, arithmetic, conditions and the vocabulary.
Nothing here or behind it executes source text; the checked tree is evaluated by an interpreter.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from headscript.errors import HeadscriptError
from headscript.language.shapes import Shape, ShapeChecker
from headscript.language.vocabulary import VOCABULARY

MAX_SOURCE = 200_000
"""Longest source, in characters."""
MAX_NODES = 20_000
"""Most nodes of the syntax tree."""
MAX_WRITTEN_OUT = 100_000
"""Most nodes with every name replaced by what it stands for."""
MAX_DEPTH = 30
"""Deepest nesting of an expression; a sum of many terms counts as one level."""
MAX_CONSTANTS = 400
MAX_STRING = 200
MAX_NUMBER = 1e9

MODULE = "headscript.language"
_GUARD = ast.parse('if __name__ == "__main__":\n    run(attend)').body[0]


class GateError(HeadscriptError):
    """A program that the language does not allow; the message names file, line and a way out."""

    def __init__(self, filename: str, line: int, reason: str) -> None:
        super().__init__(f"{filename}, line {line}: {reason}")
        self.filename = filename
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class CheckedProgram:
    """A program that has passed the gate."""

    explanation: str
    constants: dict[str, float]
    default_nodes: dict[str, ast.expr]
    """Where in the source each constant's value stands."""
    assignments: list[tuple[str, ast.expr]]
    result: ast.expr
    shapes: ShapeChecker
    """Knows the entries used and whether the program is fit for a decoder."""


def check_program(source: str, filename: str = "program") -> CheckedProgram:
    """Check the source of a program file; raises GateError at the first thing not allowed."""
    gate = _Gate(filename)
    body = list(gate.parse_file(source).body)
    if body and _is_docstring(body[0]):
        del body[0]
    imported: set[str] | None = None
    if body and isinstance(body[0], ast.ImportFrom):
        imported = gate.check_import(body.pop(0))  # type: ignore[arg-type]
    if body and _is_guard(body[-1]):
        guard = body.pop()
        if imported is not None and "run" not in imported:
            gate.refuse(guard, f"run is not imported; add it to 'from {MODULE} import ...'.")
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        odd = next((node for node in body if not isinstance(node, ast.FunctionDef)), None)
        gate.refuse(
            odd or (body[1] if len(body) > 1 else None),
            "a program file holds a docstring, one 'from headscript.language import ...', one "
            "function attend, and 'if __name__ == \"__main__\": run(attend)', nothing else.",
        )
    return gate.check_function(body[0], imported)


def check_expression(source: str, filename: str = "expression") -> tuple[ast.expr, ShapeChecker]:
    """Check one constant-free expression of `text`, as the search proposes; raises GateError."""
    gate = _Gate(filename)
    tree = gate.parse_expression(source)
    checker = ShapeChecker({}, None, gate.refuse)
    gate.check_expression(tree)
    checker.shape(tree)
    return tree, checker


class _Gate:
    """One pass over one source."""

    def __init__(self, filename: str) -> None:
        self.filename = filename

    def refuse(self, node: ast.AST | None, reason: str) -> NoReturn:
        raise GateError(self.filename, getattr(node, "lineno", 1), reason)

    def parse_file(self, source: str) -> ast.Module:
        tree = self._parse(source, "exec")
        assert isinstance(tree, ast.Module)
        return tree

    def parse_expression(self, source: str) -> ast.expr:
        tree = self._parse(source, "eval")
        assert isinstance(tree, ast.Expression)
        return tree.body

    def _parse(self, source: str, mode: Literal["exec", "eval"]) -> ast.AST:
        if len(source) > MAX_SOURCE:
            self.refuse(None, f"the program is longer than {MAX_SOURCE:,} characters; shorten it.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # say, an odd escape in a docstring
                warnings.simplefilter("ignore", DeprecationWarning)
                tree = ast.parse(source, self.filename, mode)
        except SyntaxError as error:
            reason = f"this is not valid Python ({error.msg}); mend the syntax."
            raise GateError(self.filename, error.lineno or 1, reason) from None
        except (ValueError, RecursionError, MemoryError):
            reason = "Python cannot read this program (odd characters, or nested too deeply)."
            raise GateError(self.filename, 1, reason) from None
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            self.refuse(None, f"the program has more than {MAX_NODES:,} parts; shorten it.")
        return tree

    def check_import(self, node: ast.ImportFrom) -> set[str]:
        if node.module != MODULE or node.level:
            self.refuse(node, f"a program imports from {MODULE} alone; leave out this import.")
        for alias in node.names:
            if alias.asname is not None:
                self.refuse(node, f"import {alias.name} under its own name, without 'as'.")
            entry = VOCABULARY.get(alias.name)
            if alias.name != "run" and (entry is None or entry.kind != "function"):
                self.refuse(
                    node,
                    f"{alias.name!r} is no function of the language"
                    + VOCABULARY.suggestion(alias.name, "function", or_else="; leave it out."),
                )
        return {alias.name for alias in node.names}

    def check_function(self, node: ast.FunctionDef, imported: set[str] | None) -> CheckedProgram:
        if node.name != "attend":
            self.refuse(node, f"the function must be called attend, not {node.name!r}.")
        if node.decorator_list:
            self.refuse(node, "leave out the decorator; attend is a plain function.")
        constants, default_nodes = self._check_signature(node)
        body = list(node.body)
        explanation = ""
        if _is_docstring(body[0]):
            explanation = ast.get_docstring(node) or ""
            # An escape may spell half a character, which no file can hold.
            explanation = explanation.encode("utf-8", "replace").decode("utf-8")
            del body[0]
        checker = ShapeChecker(dict.fromkeys(constants, Shape.NUMBER), imported, self.refuse)
        assignments = []
        sizes = _WrittenOut(self.refuse)
        for statement in body[:-1]:
            name, value = self._check_assignment(statement, checker)
            self.check_expression(value)
            checker.assign(name, value)
            sizes.add(name, value)
            assignments.append((name, value))
        last = body[-1] if body else node
        if not isinstance(last, ast.Return) or last.value is None:
            self.refuse(last, "the function must end with 'return softmax(...)'.")
        self.check_expression(last.value)
        sizes.add("", last.value)
        if checker.returned(last.value) is not Shape.PAIR:
            self.refuse(last, "the function must return one value a pair, as softmax(...) does.")
        return CheckedProgram(
            explanation, constants, default_nodes, assignments, last.value, checker
        )

    def _check_signature(
        self, node: ast.FunctionDef
    ) -> tuple[dict[str, float], dict[str, ast.expr]]:
        arguments = node.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            self.refuse(node, "write the parameters as attend(text, name=1.0, ...), no *, / or **.")
        if not arguments.args or arguments.args[0].arg != "text":
            self.refuse(node, "the first parameter must be text.")
        if node.returns or any(argument.annotation for argument in arguments.args):
            self.refuse(node, "leave out the annotations; constants are numbers.")
        names = [argument.arg for argument in arguments.args[1:]]
        if len(arguments.defaults) != len(names):
            self.refuse(
                node, "each parameter but text needs a number as its default, as in sink=4.1."
            )
        if len(names) > MAX_CONSTANTS:
            self.refuse(node, f"a program has at most {MAX_CONSTANTS} constants.")
        constants = {}
        for argument, default in zip(arguments.args[1:], arguments.defaults, strict=True):
            value = literal_number(default)
            if value is None:
                self.refuse(default, f"the default of {argument.arg} must be a plain number.")
            self._check_magnitude(default, value)
            self._check_new_name(argument, argument.arg)
            constants[argument.arg] = float(value)
        return constants, dict(zip(names, arguments.defaults, strict=True))

    def _check_assignment(self, statement: ast.stmt, checker: ShapeChecker) -> tuple[str, ast.expr]:
        if not isinstance(statement, ast.Assign):
            self.refuse(statement, _advice(statement))
        target = statement.targets[0]
        if len(statement.targets) != 1 or not isinstance(target, ast.Name):
            self.refuse(statement, "assign to one plain name, as in nearby = text.within(5).")
        if target.id in checker.names:
            self.refuse(statement, f"{target.id!r} is already taken; assign to a new name.")
        self._check_new_name(target, target.id)
        return target.id, statement.value

    def _check_new_name(self, node: ast.AST, name: str) -> None:
        if name.startswith("_"):
            self.refuse(node, f"{name!r} begins with an underscore; choose another name.")
        entry = VOCABULARY.get(name)
        if name in ("text", "run", "attend") or (entry is not None and entry.kind == "function"):
            self.refuse(node, f"{name!r} has a meaning in the language; choose another name.")

    def _check_magnitude(self, node: ast.AST, value: float) -> None:
        if not abs(value) <= MAX_NUMBER:  # also false for NaN
            self.refuse(node, f"numbers must be finite and at most {MAX_NUMBER:,.0f} in size.")

    def check_expression(self, root: ast.expr) -> None:
        """Refuse every kind of node that is no part of the language, and too deep nesting."""
        for node, depth in _walk(root):
            if depth > MAX_DEPTH:
                self.refuse(node, "this is nested too deeply; assign parts of it to names.")
            if isinstance(node, ast.Constant):
                if type(node.value) is str:
                    if len(node.value) > MAX_STRING:
                        self.refuse(node, f"strings have at most {MAX_STRING} characters.")
                elif isinstance(node.value, int | float) and type(node.value) is not bool:
                    self._check_magnitude(node, node.value)
                else:
                    self.refuse(node, f"{node.value!r} is no number; the language has none such.")
            elif isinstance(node, ast.Compare):
                if len(node.ops) != 1:
                    self.refuse(node, "compare two values at a time and join by &, not a < b < c.")
                if not isinstance(node.ops[0], _COMPARISONS):
                    self.refuse(
                        node, "use <, <=, >, >=, == or !=, or text.one_of(...), not is or in."
                    )
            elif isinstance(node, ast.BinOp):
                if not isinstance(node.op, _OPERATORS):
                    self.refuse(node, "use +, -, *, /, **, & and | alone.")
                if isinstance(node.op, ast.Pow):
                    self._check_exponent(node)
            elif isinstance(node, ast.UnaryOp):
                if isinstance(node.op, ast.Not):
                    self.refuse(node, "use ~ in place of not.")
                if isinstance(node.op, ast.UAdd):
                    self.refuse(node, "leave out the plus sign.")
            elif not isinstance(node, ast.Name | ast.Attribute | ast.Call):
                self.refuse(node, _advice(node))

    def _check_exponent(self, node: ast.BinOp) -> None:
        exponent = literal_number(node.right)
        if exponent is None and not isinstance(node.right, ast.Name):
            self.refuse(node, "an exponent must be a plain number or a constant.")
        if exponent is not None and abs(exponent) > 16:
            self.refuse(node, "an exponent must be between -16 and 16.")
        if isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Pow):
            self.refuse(node, "a power of a power is not allowed; multiply the exponents.")


class _WrittenOut:
    """Counts the parts of a program with every name replaced by what it stands for.

    Names within names may double at each line, and what reads a program writes them out.
    """

    def __init__(self, refuse: Callable[[ast.AST | None, str], NoReturn]) -> None:
        self.refuse = refuse
        self.sizes: dict[str, int] = {}
        self.total = 0

    def add(self, name: str, value: ast.expr) -> None:
        """Count what a name is assigned; refuses it where the whole becomes too large."""
        self.sizes[name] = sum(
            self.sizes.get(node.id, 1) if isinstance(node, ast.Name) else 1
            for node in ast.walk(value)
        )
        self.total += self.sizes[name]
        if self.total > MAX_WRITTEN_OUT:
            self.refuse(
                value,
                f"the program has more than {MAX_WRITTEN_OUT:,} parts with its names written out; "
                "use fewer names within names.",
            )


_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.BitAnd, ast.BitOr)

_ADVICE: dict[type[ast.AST], str] = {
    ast.If: "the language has no if; use where(condition, x, y).",
    ast.IfExp: "the language has no if; use where(condition, x, y).",
    ast.For: "the language has no loops; vocabulary entries look at all tokens at once.",
    ast.While: "the language has no loops; vocabulary entries look at all tokens at once.",
    ast.Import: f"a program imports from {MODULE} alone, at the top of the file.",
    ast.ImportFrom: f"a program imports from {MODULE} alone, at the top of the file.",
    ast.Lambda: "the language has no lambda; write the expression out.",
    ast.FunctionDef: "the language has no inner functions; write the expression out.",
    ast.ClassDef: "the language has no classes.",
    ast.AugAssign: "assign to a new name in place of changing one.",
    ast.AnnAssign: "leave out the annotation, as in nearby = text.within(5).",
    ast.Return: "a program has one return, at its end; use where(condition, x, y).",
    ast.Expr: "this line has no effect; assign it to a name or leave it out.",
    ast.NamedExpr: "the language has no :=; assign on a line of its own.",
    ast.Subscript: "the language has no indexing; use vocabulary entries such as text.nth(...).",
    ast.JoinedStr: "the language has no f-strings; write the string out.",
    ast.Starred: "the language has no *; write the arguments out.",
    ast.keyword: "give arguments by place, without their names.",
    ast.BoolOp: "use & in place of and, | in place of or.",
    ast.Try: "the language has no try; programs cannot fail halfway.",
    ast.With: "the language has no with.",
}


def _advice(node: ast.AST) -> str:
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return "the language has no comprehensions; vocabulary entries look at all tokens at once."
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
        return "the language has no lists; give several arguments, as in text.one_of(' a', ' the')."
    return _ADVICE.get(
        type(node), f"{type(node).__name__} is no part of the language; see docs/language.md."
    )


def _is_guard(node: ast.stmt) -> bool:
    """Whether a statement is that which runs the file; a long one would be too deep to dump."""
    sizes = [sum(1 for _ in ast.walk(each)) for each in (node, _GUARD)]
    return sizes[0] == sizes[1] and ast.dump(node) == ast.dump(_GUARD)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and type(node.value.value) is str
    )


def literal_number(node: ast.expr) -> float | None:
    """The value of a plain number, negative ones included, or None for anything else."""
    negative = False
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        negative, node = not negative, node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return -node.value if negative else node.value  # type: ignore[operator, return-value]
    return None


def literal_value(node: ast.expr) -> Any:
    """The value of a plain number or string, or None for anything else."""
    return node.value if isinstance(node, ast.Constant) else literal_number(node)


def _walk(root: ast.expr) -> Iterator[tuple[ast.AST, int]]:
    """All nodes of an expression with their depth, operators and contexts left out.

    The left sides of a chain of one precedence, a + b - c + ..., stay on one level.
    """
    waiting: list[tuple[ast.AST, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        if isinstance(node, ast.BinOp):
            chain = isinstance(node.op, ast.Add | ast.Sub)
            chain &= isinstance(node.left, ast.BinOp) and isinstance(
                node.left.op, ast.Add | ast.Sub
            )
            waiting += [(node.left, depth if chain else depth + 1), (node.right, depth + 1)]
        else:
            waiting += [
                (child, depth + 1)
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.expr | ast.keyword)
            ]

"""Expressions of the language as a formatter would lay them out."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TypeGuard

_SIGNS: dict[type[ast.AST], tuple[str, int]] = {
    ast.BitOr: ("|", 2),
    ast.BitAnd: ("&", 3),
    ast.Add: ("+", 4),
    ast.Sub: ("-", 4),
    ast.Mult: ("*", 5),
    ast.Div: ("/", 5),
    ast.Pow: ("**", 7),
    ast.Lt: ("<", 1),
    ast.LtE: ("<=", 1),
    ast.Gt: (">", 1),
    ast.GtE: (">=", 1),
    ast.Eq: ("==", 1),
    ast.NotEq: ("!=", 1),
}
COMPARISON, OR, AND, SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 9)


def quoted(text: str) -> str:
    """A string literal, in double quotes unless it holds more double than single ones."""
    plain = repr(text)
    if plain[0] == '"' or '"' in text:
        return plain
    return '"' + plain[1:-1] + '"'


def rendered(node: ast.expr, named: Mapping[str, str] | None = None) -> tuple[str, int]:
    """The source of an expression and its precedence, 1 to 8.

    `named` maps the dump of a part to the local name that stands for it.
    """
    if named:
        name = named.get(ast.dump(node))
        if name is not None:
            return name, ATOM
    if isinstance(node, ast.Constant):
        return quoted(node.value) if isinstance(node.value, str) else repr(node.value), ATOM
    if isinstance(node, ast.Name):
        return node.id, ATOM
    if isinstance(node, ast.Attribute):
        return f"{rendered(node.value)[0]}.{node.attr}", ATOM
    if isinstance(node, ast.Call):
        arguments = ", ".join(rendered(argument, named)[0] for argument in node.args)
        return f"{rendered(node.func)[0]}({arguments})", ATOM
    if isinstance(node, ast.UnaryOp):
        sign = "~" if isinstance(node.op, ast.Invert) else "-"
        return sign + bracketed(rendered(node.operand, named), UNARY), UNARY
    if isinstance(node, ast.BinOp):
        sign, precedence = _SIGNS[type(node.op)]
        left, right = rendered(node.left, named), rendered(node.right, named)
        tight = isinstance(node.op, ast.Pow) and left[1] == right[1] == ATOM
        space = "" if tight and left[0].isidentifier() else " "
        return (
            bracketed(left, precedence) + space + sign + space + bracketed(right, precedence + 1),
            precedence,
        )
    assert isinstance(node, ast.Compare), ast.dump(node)
    sign, precedence = _SIGNS[type(node.ops[0])]
    left, right = rendered(node.left, named), rendered(node.comparators[0], named)
    return (
        f"{bracketed(left, precedence + 1)} {sign} {bracketed(right, precedence + 1)}",
        precedence,
    )


def is_token_list(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether an expression is text.one_of(...) or text.word_in(...)."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("one_of", "word_in")
    )


def bracketed(part: tuple[str, int], precedence: int) -> str:
    """A part in brackets where it binds less tightly than its surroundings."""
    return part[0] if part[1] >= precedence else f"({part[0]})"

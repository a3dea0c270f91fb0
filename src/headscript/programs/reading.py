"""From the source of a log-linear program back to its terms, and on to a fresh explanation.

Whoever changes the constants of a program changes what its explanation should say: which term is
strongest, what is looked at more and what less. So the terms are read off the source, and the
program is written anew around them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from headscript.language.gate import check_program
from headscript.programs.program import Program
from headscript.programs.terms import Term, parse_expression


def read_terms(program: Program) -> list[tuple[Term, str, int]] | None:
    """The terms of a log-linear program: each with its constant's name and its sign (1 or -1).

    None where the program is not log-linear, or has a term without a constant.
    """
    if program.log_linear is None:
        return None
    checked = check_program(program.source, program.name)
    inliner = Inliner()
    for name, value in checked.assignments:
        inliner.values[name] = inliner.visit(value)
    result = inliner.visit(checked.result)
    assert isinstance(result, ast.Call)
    found = []
    for sign, addend in addends(result.args[0]):
        term = _read_term(addend, sign, checked.constants)
        if term is None:
            return None
        found.append(term)
    return found


class Inliner(ast.NodeTransformer):
    """Puts what a name stands for in its place."""

    def __init__(self) -> None:
        self.values: dict[str, ast.expr] = {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """What the name stands for, or the name itself."""
        return self.values.get(node.id, node)


def addends(node: ast.expr, sign: int = 1) -> list[tuple[int, ast.expr]]:
    """What a sum adds up, each with its sign; sums within sums are taken apart too."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        right = -sign if isinstance(node.op, ast.Sub) else sign
        return [*addends(node.left, sign), *addends(node.right, right)]
    return [(sign, node)]


def _read_term(
    node: ast.expr, sign: int, constants: Mapping[str, float]
) -> tuple[Term, str, int] | None:
    constant = None
    parts: dict[str, list[str]] = {"query": [], "relation": [], "key": []}
    for factor in _factors(node):
        if isinstance(factor, ast.UnaryOp) and isinstance(factor.op, ast.USub):
            sign, factor = -sign, factor.operand
        if isinstance(factor, ast.Name) and factor.id in constants and constant is None:
            constant = factor.id
        elif (
            isinstance(factor, ast.Call)
            and isinstance(factor.func, ast.Name)
            and factor.func.id in ("query", "key")
        ):
            parts[factor.func.id].append(ast.unparse(factor.args[0]))
        elif _is_free_of(constants, factor):
            parts["relation"].append(ast.unparse(factor))
        else:
            return None
    if constant is None:
        return None
    return Term(**{kind: _joined(sources) for kind, sources in parts.items()}), constant, sign


def _factors(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.BitAnd):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _is_free_of(constants: Mapping[str, float], node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name) and part.id in constants for part in ast.walk(node))


def _joined(sources: list[str]) -> str | None:
    if len(sources) < 2:
        return sources[0] if sources else None
    conditions = all(parse_expression(source).is_condition for source in sources)
    return (" & " if conditions else " * ").join(f"({source})" for source in sources)

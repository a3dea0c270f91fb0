"""Evaluates checked programs on texts.

A program becomes a tree of small functions once, and is then called for many texts and constants.
Parts without constants are kept on the text, under a name that says what they compute, so that the
programs of all heads share them. Constants may be tensors; gradients then flow through the sums.
"""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headscript.language.gate import CheckedProgram, literal_number, literal_value
from headscript.language.text import Text
from headscript.language.vocabulary import VOCABULARY

_FLOAT_BYTES = 64 << 20
"""How much of a text's kept features may be float32, which add several times as fast as bool."""

_OPERATIONS: dict[type[ast.AST], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.Pow: ("**", operator.pow),
    ast.BitAnd: ("&", operator.and_),
    ast.BitOr: ("|", operator.or_),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}


@dataclass(slots=True)
class Scope:
    """What one evaluation knows: the text and the values of constants and names."""

    text: Text
    values: dict[str, Any]
    differentiable: bool = False
    """Whether a constant is a tensor, so that nothing may be changed in place."""


Evaluate = Callable[[Scope], Any]


@dataclass(slots=True)
class Part:
    """One part of a program, ready to be evaluated."""

    canonical: str
    """What it computes, written in one way; constants appear by number."""
    fixed: bool
    """Free of constants: its value follows from the text."""
    evaluate: Evaluate
    node: ast.AST
    parts: tuple[Part, ...] = ()
    weight: Evaluate | None = None
    """Where the part is a constant times something fixed: the constant, ..."""
    feature: Evaluate | None = None
    """... and that something."""


class Plan:
    """A checked program made ready to be called.

    `canonical` says what it computes whatever its layout and names; two plans of one `canonical`
    and the same constants give the same patterns.
    """

    def __init__(self, program: CheckedProgram) -> None:
        names = {
            name: Part(f"c{number}", False, _lookup(name), ast.Constant(0))
            for number, name in enumerate(program.constants)
        }
        self._assignments: list[tuple[str, Part]] = []
        for name, value in program.assignments:
            part = _build(value, names)
            if part.fixed:
                # Kept, for a name may be used many times, also within other names.
                names[name] = Part(_short(part.canonical), True, _kept(part, as_float=False), value)
            else:
                self._assignments.append((name, part))
                names[name] = Part(_short(part.canonical), False, _lookup(name), value)
        self._result = _build(program.result, names)
        self.canonical = self._result.canonical
        self.is_softmax = self.canonical.startswith("softmax(")

    def evaluate(self, text: Text, constants: Mapping[str, Any]) -> Any:
        """The program's value on a text; errors of torch come out as they are."""
        scope = Scope(text, dict(constants))
        scope.differentiable = any(isinstance(value, Tensor) for value in constants.values())
        for name, part in self._assignments:
            scope.values[name] = part.evaluate(scope)
        return self._result.evaluate(scope)

    def culprit(self, text: Text, constants: Mapping[str, Any]) -> ast.AST | None:
        """The innermost part that fails on a text, for the message; None where all goes well."""
        scope = Scope(text, dict(constants), differentiable=True)
        for name, part in self._assignments:
            found = _failing(part, scope)
            if found is not None:
                return found
            scope.values[name] = part.evaluate(scope)
        return _failing(self._result, scope)


def plan_expression(node: ast.expr) -> Callable[[Text], Any]:
    """A checked expression without constants, as a function of the text."""
    part = _build(node, {})
    evaluate = _kept(part, as_float=False)
    return lambda text: evaluate(Scope(text, {}))


def _failing(part: Part, scope: Scope) -> ast.AST | None:
    for inner in part.parts:
        found = _failing(inner, scope)
        if found is not None:
            return found
    try:
        part.evaluate(scope)
    except Exception:
        return part.node
    return None


def _lookup(name: str) -> Evaluate:
    return lambda scope: scope.values[name]


def _short(canonical: str) -> str:
    """The same name in bounded length, so that names within names cannot grow without end."""
    if len(canonical) <= 200:
        return canonical
    return "#" + hashlib.sha256(canonical.encode()).hexdigest()


def _kept(part: Part, *, as_float: bool = True) -> Evaluate:
    """Evaluate a fixed part once a text."""
    evaluate, name = part.evaluate, ("part" if as_float else "value", part.canonical)

    def recall(scope: Scope) -> Any:
        def compute() -> Any:
            value = evaluate(scope)
            return _compact(value, scope.text) if as_float else value

        return scope.text.remember(name, compute)

    return recall


def _compact(value: Any, text: Text) -> Any:
    """A feature in the form that is quickest to add: one row where all are alike, and float."""
    if not isinstance(value, Tensor) or value.ndim != 2:
        return value
    if value.shape[0] > 1 and value.stride(0) == 0:
        value = value[:1]
    if value.dtype is torch.bool:
        left = text.remember("(float bytes left)", lambda: [_FLOAT_BYTES])
        size = 4 * value.numel()
        if size <= left[0]:
            left[0] -= size
            value = value.float()
    return value


def _build(node: ast.expr, names: Mapping[str, Part]) -> Part:
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Sub):
            return _build_sum(node, names)
        if isinstance(node.op, ast.Mult):
            return _build_product(node, names)
        return _build_operation(node, type(node.op), (node.left, node.right), names)
    if isinstance(node, ast.Compare):
        sides = (node.left, node.comparators[0])
        return _build_operation(node, type(node.ops[0]), sides, names)
    if isinstance(node, ast.Constant):
        number = float(node.value)  # type: ignore[arg-type]
        return Part(repr(number), True, lambda scope: number, node)
    if isinstance(node, ast.UnaryOp):
        return _build_unary(node, names)
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        name = node.attr
        return Part(f"text.{name}", True, lambda scope: getattr(scope.text, name), node)
    assert isinstance(node, ast.Call)
    return _build_call(node, names)


def _build_unary(node: ast.UnaryOp, names: Mapping[str, Part]) -> Part:
    inner = _build(node.operand, names)
    operand = inner.evaluate
    if isinstance(node.op, ast.USub):
        return Part(f"(-{inner.canonical})", inner.fixed, lambda s: -operand(s), node, (inner,))
    return Part(f"(~{inner.canonical})", inner.fixed, lambda s: ~operand(s), node, (inner,))


def _build_operation(
    node: ast.expr, kind: type[ast.AST], sides: tuple[ast.expr, ast.expr], names: Mapping[str, Part]
) -> Part:
    sign, operation = _OPERATIONS[kind]
    left, right = (_build(side, names) for side in sides)
    fixed = left.fixed and right.fixed
    first, second = _operands((left, right), fixed)
    return Part(
        f"({left.canonical} {sign} {right.canonical})",
        fixed,
        lambda scope: operation(first(scope), second(scope)),
        node,
        (left, right),
    )


def _operands(parts: tuple[Part, ...], fixed: bool) -> list[Evaluate]:
    """How to come by operands: where the whole depends on constants, fixed operands are kept."""
    if fixed:
        return [part.evaluate for part in parts]
    return [
        _kept(part) if part.fixed and literal_number(part.node) is None else part.evaluate  # type: ignore[arg-type]
        for part in parts
    ]


def _build_call(node: ast.Call, names: Mapping[str, Part]) -> Part:
    if isinstance(node.func, ast.Attribute):
        return _build_entry_call(node, node.func.attr, names)
    assert isinstance(node.func, ast.Name)
    entry = VOCABULARY.require(node.func.id)
    compute = entry.compute
    parts = tuple(_build(argument, names) for argument in node.args)
    fixed = all(part.fixed for part in parts)
    operands = _operands(parts, fixed)
    canonical = f"{entry.name}({', '.join(part.canonical for part in parts)})"
    if len(operands) == 1:
        operand = operands[0]
        return Part(canonical, fixed, lambda s: compute(operand(s)), node, parts)
    return Part(canonical, fixed, lambda s: compute(*(o(s) for o in operands)), node, parts)


def _build_entry_call(node: ast.Call, name: str, names: Mapping[str, Part]) -> Part:
    literals: list[Any] = [literal_value(argument) for argument in node.args]
    parts = tuple(
        _build(argument, names)
        for argument, literal in zip(node.args, literals, strict=True)
        if literal is None
    )
    said = [
        next_part if literal is None else repr(literal)
        for literal, next_part in _matched(literals, [part.canonical for part in parts])
    ]
    operands = [
        next_operand if literal is None else _always(literal)
        for literal, next_operand in _matched(literals, [part.evaluate for part in parts])
    ]
    canonical = f"text.{name}({', '.join(said)})"
    fixed = all(part.fixed for part in parts)

    def evaluate(scope: Scope) -> Any:
        # Straight to the entry: what depends on constants must not be kept on the text.
        compute = VOCABULARY.require(name).compute
        return compute(scope.text, *(operand(scope) for operand in operands))

    if not fixed:
        return Part(canonical, False, evaluate, node, parts)
    key = ("call", canonical)
    return Part(
        canonical,
        True,
        lambda scope: scope.text.remember(key, lambda: evaluate(scope)),
        node,
        parts,
    )


def _always(value: Any) -> Evaluate:
    return lambda scope: value


def _matched(literals: list[Any], others: list[Any]) -> list[tuple[Any, Any]]:
    """Each literal with None, each gap among them with the next of the others."""
    remaining = iter(others)
    return [(literal, None if literal is not None else next(remaining)) for literal in literals]


def _build_product(node: ast.BinOp, names: Mapping[str, Part]) -> Part:
    factors: list[ast.expr] = []
    rest: ast.expr = node
    while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Mult):
        factors.append(rest.right)
        rest = rest.left
    factors.append(rest)
    parts = tuple(_build(factor, names) for factor in reversed(factors))
    canonical = f"({' * '.join(part.canonical for part in parts)})"
    fixed = tuple(part for part in parts if part.fixed)
    free = tuple(part for part in parts if not part.fixed)
    feature = Part(
        f"({' * '.join(part.canonical for part in fixed)})",
        True,
        lambda scope: _multiplied(scope, fixed),
        node,
        fixed,
    )
    if not free:
        feature.canonical = canonical
        return feature
    if not fixed:
        return Part(canonical, False, lambda scope: _multiplied(scope, free), node, parts)
    kept = _kept(feature)
    product = Part(
        canonical, False, lambda scope: _multiplied(scope, free) * kept(scope), node, parts
    )
    if len(free) == 1 and isinstance(free[0].node, ast.Constant):
        product.weight, product.feature = free[0].evaluate, kept
    return product


def _multiplied(scope: Scope, parts: tuple[Part, ...]) -> Any:
    value = parts[0].evaluate(scope)
    for part in parts[1:]:
        value = value * part.evaluate(scope)
    return value


def _build_sum(node: ast.BinOp, names: Mapping[str, Part]) -> Part:
    terms: list[tuple[int, ast.expr]] = []
    rest: ast.expr = node
    while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Add | ast.Sub):
        terms.append((-1 if isinstance(rest.op, ast.Sub) else 1, rest.right))
        rest = rest.left
    terms.append((1, rest))
    terms.reverse()
    parts = tuple(_build(term, names) for _, term in terms)
    signs = [sign for sign, _ in terms]
    said = [
        f"{'-' if sign < 0 else '+'} {part.canonical}"
        for sign, part in zip(signs, parts, strict=True)
    ]
    canonical = f"({' '.join(said)})"
    if all(part.fixed for part in parts):
        evaluates = [part.evaluate for part in parts]
        return Part(canonical, True, lambda s: _add_up(s, signs, evaluates), node, parts)
    addends = [
        (sign, part.weight, part.feature or (_kept(part) if part.fixed else part.evaluate))
        for sign, part in zip(signs, parts, strict=True)
    ]
    return Part(canonical, False, lambda scope: _weighted_sum(scope, addends), node, parts)


def _add_up(scope: Scope, signs: list[int], evaluates: list[Evaluate]) -> Any:
    total = evaluates[0](scope)
    for sign, evaluate in zip(signs[1:], evaluates[1:], strict=True):
        total = total + evaluate(scope) if sign > 0 else total - evaluate(scope)
    return total


def _weighted_sum(scope: Scope, addends: list[tuple[int, Evaluate | None, Evaluate]]) -> Any:
    """The sum of sign * weight * feature, in place where no gradients are asked for."""
    total: Any = None
    owned = False  # whether total is a tensor of this sum's own, as wide as the text
    n = len(scope.text)
    for sign, weigh, evaluate in addends:
        feature = evaluate(scope)
        weight = None if weigh is None else weigh(scope)
        if not scope.differentiable and isinstance(feature, Tensor) and feature.ndim == 2:
            if not owned:
                start = total
                total = torch.zeros(n, n)
                if start is not None:
                    total += start
                owned = True
            total.add_(feature, alpha=sign if weight is None else sign * weight)
            continue
        value = feature if weight is None else weight * feature
        if total is None:
            total = value
        else:
            total = total + value if sign > 0 else total - value
    return total

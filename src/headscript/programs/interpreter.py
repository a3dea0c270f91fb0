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
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from headscript.language.gate import CheckedProgram, literal_number, literal_value
from headscript.language.text import Text
from headscript.language.vocabulary import VOCABULARY, Entry

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
    constant: str | None = None
    """Where the part is a constant, or a constant times something fixed: its name, ..."""
    sign: int = 1
    """... -1 where it is subtracted, ..."""
    feature: Part | None = None
    """... and that something."""
    factors: Factors | None = None
    """Of a fixed part that is a value a pair: what it is a product of."""
    addends: tuple[Addend, ...] = ()
    """Of a sum of constants times fixed features: these."""
    reach: int | None = None
    """Of a fixed token property: how many tokens back it looks, None as far as the first."""
    named: Part | None = None
    """Of a name: what it stands for. It has no `parts`, since names within names multiply them."""

    def as_factors(self) -> Factors:
        """What a fixed value a pair is a product of; itself where that is not known."""
        return self.factors or Factors(relation=(self,))

    @property
    def is_constant(self) -> bool:
        """Whether it is one of the program's constants and nothing more."""
        return self.constant is not None and self.feature is None


@dataclass(frozen=True, slots=True)
class Factors:
    """A value a pair of query and key as a product: the query's own, the pair's, the key's own."""

    query: tuple[Part, ...] = ()
    relation: tuple[Part, ...] = ()
    key: tuple[Part, ...] = ()

    def times(self, other: Factors) -> Factors:
        """The factors of both."""
        return Factors(
            self.query + other.query, self.relation + other.relation, self.key + other.key
        )


@dataclass(frozen=True, slots=True)
class Addend:
    """One addend of a log-linear program's scores: sign * constant * feature."""

    sign: int
    constant: str | None
    """Its name; None where the feature stands alone."""
    feature: Part


@dataclass(frozen=True, slots=True)
class LogLinear:
    """A program that is the softmax of a sum of constants times fixed features."""

    addends: tuple[Addend, ...]
    causal: bool
    """Whether rows end at the query; else they have all keys that the text allows."""


class Plan:
    """A checked program made ready to be called.

    `canonical` says what it computes whatever its layout and names; two plans of one `canonical`
    and the same constants give the same patterns.
    """

    def __init__(self, program: CheckedProgram) -> None:
        names = {
            name: Part(f"c{number}", False, _lookup(name), ast.Constant(0), constant=name)
            for number, name in enumerate(program.constants)
        }
        self._assignments: list[tuple[str, Part]] = []
        for name, value in program.assignments:
            part = _build(value, names)
            if part.fixed:
                # Kept, for a name may be used many times, also within other names.
                names[name] = replace(
                    part,
                    canonical=_short(part.canonical),
                    evaluate=_kept(part, as_float=False),
                    node=value,
                    parts=(),
                    named=part,
                )
            else:
                self._assignments.append((name, part))
                names[name] = Part(_short(part.canonical), False, _lookup(name), value, named=part)
        self._result = _build(program.result, names)
        self.canonical = self._result.canonical
        self.is_softmax = unnamed(self._result).canonical.startswith("softmax(")
        self.log_linear = _log_linear(self._result)
        """Its scores as a sum, where they are one of constants times fixed features."""

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


def plan_expression(node: ast.expr) -> tuple[Callable[[Text], Any], int | None]:
    """A checked expression without constants, as a function of the text, and its reach."""
    part = _build(node, {})
    evaluate = _kept(part, as_float=False)
    return lambda text: evaluate(Scope(text, {})), part.reach


def _log_linear(result: Part) -> LogLinear | None:
    result = unnamed(result)
    if not result.canonical.startswith("softmax("):
        return None
    scores, *allowed = map(unnamed, result.parts)
    if not scores.addends or any(part.canonical != "text.allowed" for part in allowed):
        return None
    return LogLinear(scores.addends, causal=not allowed)


def unnamed(part: Part) -> Part:
    """What a name stands for; a part that is no name itself."""
    while part.named is not None:
        part = part.named
    return part


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
        return Part(repr(number), True, lambda scope: number, node, reach=0)
    if isinstance(node, ast.UnaryOp):
        return _build_unary(node, names)
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        name = node.attr
        found = Part(f"text.{name}", True, lambda scope: getattr(scope.text, name), node)
        return _with_structure(found, VOCABULARY.require(name), ())
    assert isinstance(node, ast.Call)
    return _build_call(node, names)


def _build_unary(node: ast.UnaryOp, names: Mapping[str, Part]) -> Part:
    inner = _build(node.operand, names)
    operand = inner.evaluate
    if isinstance(node.op, ast.USub):
        found = Part(f"(-{inner.canonical})", inner.fixed, lambda s: -operand(s), node, (inner,))
    else:
        found = Part(f"(~{inner.canonical})", inner.fixed, lambda s: ~operand(s), node, (inner,))
    found.reach = inner.reach
    if isinstance(node.op, ast.USub) and inner.is_constant:
        found.constant, found.sign = inner.constant, -inner.sign
    return found


def _build_operation(
    node: ast.expr, kind: type[ast.AST], sides: tuple[ast.expr, ast.expr], names: Mapping[str, Part]
) -> Part:
    sign, operation = _OPERATIONS[kind]
    left, right = (_build(side, names) for side in sides)
    fixed = left.fixed and right.fixed
    first, second = _operands((left, right), fixed)
    found = Part(
        f"({left.canonical} {sign} {right.canonical})",
        fixed,
        lambda scope: operation(first(scope), second(scope)),
        node,
        (left, right),
    )
    found.reach = _reach((left, right))
    if kind is ast.BitAnd and fixed:
        found.factors = left.as_factors().times(right.as_factors())
    return found


def _reach(parts: tuple[Part, ...], own: int | None = 0) -> int | None:
    """How far back something looks whose operands are these token properties."""
    reaches = [part.reach for part in parts]
    if own is None or any(reach is None for reach in reaches):
        return None
    return own + max((reach for reach in reaches if reach is not None), default=0)


def _with_structure(part: Part, entry: Entry, parts: tuple[Part, ...]) -> Part:
    """Note what is known of an entry's value: its reach, or which factor of a product it is."""
    if entry.kind == "token property":
        part.reach = _reach(parts, entry.reach)
    elif entry.kind == "relation" and entry.of_key and part.fixed:
        evaluate = part.evaluate
        row = replace(
            part, canonical=f"{part.canonical}[0]", evaluate=lambda scope: evaluate(scope)[0]
        )
        part.factors = Factors(key=(row,))
    return part


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
    if entry.name == "query":
        operand = operands[0]
        return Part(
            canonical,
            fixed,
            lambda s: s.text.of_queries(operand(s)),
            node,
            parts,
            factors=Factors(query=parts) if fixed else None,
        )
    if entry.name == "softmax":
        return Part(canonical, fixed, lambda s: _softmax(s, operands), node, parts)
    found = Part(canonical, fixed, lambda s: compute(*(o(s) for o in operands)), node, parts)
    if entry.name == "key" and fixed:
        found.factors = Factors(key=parts)
    found.reach = _reach(parts)
    return found


def _softmax(scope: Scope, operands: list[Evaluate]) -> Tensor:
    scores, *allowed = (operand(scope) for operand in operands)
    text = scope.text
    if text.first_query and isinstance(scores, Tensor) and scores.ndim == 2:
        # Alone, softmax could not tell the one row of a last query from scores of the key alone.
        scores = scores.expand(len(text) - text.first_query, len(text))
        allowed = allowed or [text.allowed]
    pattern: Tensor = VOCABULARY.require("softmax").compute(scores, *allowed)
    return pattern


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
        entry = VOCABULARY.require(name)
        return scope.text.compute(entry, *(operand(scope) for operand in operands))

    if not fixed:
        return Part(canonical, False, evaluate, node, parts)
    key = ("call", canonical)
    found = Part(
        canonical,
        True,
        lambda scope: scope.text.remember(key, lambda: evaluate(scope)),
        node,
        parts,
    )
    return _with_structure(found, VOCABULARY.require(name), parts)


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
        reach=_reach(fixed),
    )
    if fixed:
        feature.factors = reduce(Factors.times, (part.as_factors() for part in fixed))
    if not free:
        feature.canonical = canonical
        return feature
    if not fixed:
        return Part(canonical, False, lambda scope: _multiplied(scope, free), node, parts)
    kept = _kept(feature)
    product = Part(
        canonical, False, lambda scope: _multiplied(scope, free) * kept(scope), node, parts
    )
    if len(free) == 1 and free[0].is_constant:
        product.constant, product.sign = free[0].constant, free[0].sign
        product.feature = replace(feature, evaluate=kept)
        product.addends = (Addend(product.sign, product.constant, feature),)
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
    summands: list[tuple[int, Evaluate | None, Evaluate]] = []
    for sign, part in zip(signs, parts, strict=True):
        if part.constant is not None and part.feature is not None:
            summands.append((sign * part.sign, _lookup(part.constant), part.feature.evaluate))
        else:
            summands.append((sign, None, _kept(part) if part.fixed else part.evaluate))
    found = Part(canonical, False, lambda scope: _weighted_sum(scope, summands), node, parts)
    if all(part.feature is not None or part.fixed for part in parts):
        found.addends = tuple(
            Addend(sign * part.sign, part.constant, part.feature or part)
            for sign, part in zip(signs, parts, strict=True)
        )
    return found


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
    rows = n - scope.text.first_query
    for sign, weigh, evaluate in addends:
        feature = evaluate(scope)
        weight = None if weigh is None else weigh(scope)
        if not scope.differentiable and isinstance(feature, Tensor) and feature.ndim == 2:
            if not owned:
                start = total
                total = torch.zeros(rows, n)
                if start is not None:
                    total += start
                owned = True
            total.add_(feature, alpha=sign if weight is None else sign * weight)
            continue
        value = feature if weight is None else weight * feature
        if sign < 0:
            value = -value
        total = value if total is None else total + value
    return total

"""Writes log-linear terms and their weights as the source of a program."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence

from headscript.errors import HeadscriptError
from headscript.language.gate import literal_value
from headscript.language.vocabulary import VOCABULARY
from headscript.programs.explanation import explain_terms
from headscript.programs.naming import constant_name, expression_name, free_name, words_name
from headscript.programs.program import Program, rounded
from headscript.programs.rendering import (
    AND,
    ATOM,
    PRODUCT,
    bracketed,
    is_token_list,
    quoted,
    rendered,
)
from headscript.programs.terms import Term

Factor = tuple[str, ...]
"""One factor of a term; conditions that are joined by & count as one."""
LINE = 100
"""Longest line of a program, in characters."""
LONG_LIST = 30
"""A list of tokens longer than this, in characters, gets a name of its own above the sum."""
LONG_CALL = 45
"""Any other entry with arguments that is longer than this gets one too, ..."""
SHORT_CALL = 20
"""... and what is said more than once, unless it is shorter than this."""


def emit(
    name: str,
    model_name: str,
    terms: Sequence[Term],
    weights: Sequence[float],
    *,
    causal: bool,
    explanation: str | None = None,
    strengths: Sequence[float] | None = None,
) -> Program:
    """The program softmax(sum of weight * term), one constant a term in the order given.

    `name` is the head's, as in L05H03. Constants are written positive, the sign before the term.
    Without an explanation, `explain_terms` writes one, with `strengths` where they are given.
    """
    if len(terms) != len(weights):
        raise HeadscriptError(
            f"terms and weights must be of one length, but {len(terms)} != {len(weights)}."
        )
    if explanation is None:
        explanation = explain_terms(terms, weights, strengths, causal=causal)
    named, assignments = _locals(terms)
    taken = set(named.values())
    constants: list[str] = []
    addends: list[tuple[str, list[Factor]]] = []  # sign and factors
    for term, weight in zip(terms, weights, strict=True):
        constant = constant_name(term, weight, taken)
        taken.add(constant)
        constants.append(f"{constant}={rounded(abs(weight))}")
        addends.append(("-" if weight < 0 else "+", [(constant,), *_factors(term, named)]))
    if not addends:
        addends = [("+", [("0",), ("text.distance",)])]
    lines = [
        f'"""Head {name} of {model_name}, as headscript found it."""',
        "",
        "",
        *_signature(constants),
        *_docstring(explanation),
        *assignments,
        *_return(addends, causal),
        "",
        "",
        'if __name__ == "__main__":',
        "    run(attend)",
    ]
    lines[2:2] = _imports("\n".join(lines))
    return Program.parse("\n".join(lines) + "\n", name)


def _factors(term: Term, named: Mapping[str, str]) -> list[Factor]:
    """What a term multiplies: its conditions, joined by &, and its numbers."""
    conditions: list[tuple[str, int]] = []
    numbers: list[tuple[str, int]] = []
    for part, expression in term.parts():
        source = rendered(expression.tree, named)
        if part != "relation":
            source = (f"{part}({source[0]})", ATOM)
        (conditions if expression.is_condition else numbers).append(source)
    factors: list[Factor] = [(bracketed(number, PRODUCT + 1),) for number in numbers]
    if len(conditions) == 1:
        return [(bracketed(conditions[0], PRODUCT + 1),), *factors]
    if conditions:
        return [tuple(bracketed(condition, AND + 1) for condition in conditions), *factors]
    return factors or [("text.allowed",)]


def _joined(factor: Factor) -> str:
    return factor[0] if len(factor) == 1 else f"({' & '.join(factor)})"


def _locals(terms: Sequence[Term]) -> tuple[dict[str, str], list[str]]:
    """Names, by the dump of what they stand for, for long lists of tokens and for what is said
    more than once; and the lines that assign them."""
    calls: dict[str, ast.Call] = {}
    uses: Counter[str] = Counter()
    for term in terms:
        for _, expression in term.parts():
            for node in ast.walk(expression.tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    calls.setdefault(ast.dump(node), node)
                    uses[ast.dump(node)] += 1
    named: dict[str, str] = {}
    lines = []
    # What is inside another comes first, so that the other is written with its name.
    for dump, node in sorted(calls.items(), key=lambda item: len(item[0])):
        assert isinstance(node.func, ast.Attribute)
        source = rendered(node)[0]
        is_list = is_token_list(node)
        if len(source) <= (LONG_LIST if is_list else LONG_CALL) and (
            uses[dump] < 2 or len(source) <= SHORT_CALL
        ):
            continue
        if is_list:
            tokens = [literal_value(word) for word in node.args]
            wanted, arguments = words_name(tokens), [quoted(token) for token in tokens]
        else:
            wanted = expression_name(node)
            arguments = [rendered(argument, named)[0] for argument in node.args]
        name = free_name(wanted, set(named.values()))
        lines += _filled(f"    {name} = text.{node.func.attr}", arguments)
        named[dump] = name
    return named, lines


def _filled(opening: str, arguments: Sequence[str]) -> list[str]:
    """A call on one line if it fits, else its arguments in an indented block of full lines."""
    line = f"{opening}({', '.join(arguments)})"
    if len(line) <= LINE:
        return [line]
    lines, current = [opening + "("], ""
    for argument in arguments:
        if current and len(current) + len(argument) + 10 > LINE:
            lines.append(f"        {current.rstrip()}")
            current = ""
        current += argument + ", "
    lines.append(f"        {current.rstrip(', ')}")
    return [*lines, "    )"]


def _signature(constants: Sequence[str]) -> list[str]:
    line = f"def attend({', '.join(['text', *constants])}):"
    if len(line) <= LINE:
        return [line]
    inner = f"    {', '.join(['text', *constants])}"
    if len(inner) <= LINE:
        return ["def attend(", inner, "):"]
    return ["def attend(", *(f"    {part}," for part in ["text", *constants]), "):"]


def _docstring(explanation: str) -> list[str]:
    text = explanation.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text = text[:-1] + '\\"'
    lines = [line.rstrip() for line in text.splitlines()] or [""]
    lines = [f"    {line}" if line else "" for line in lines]
    lines[0] = f'    """{lines[0].strip()}'
    if len(lines) == 1 and len(lines[0]) + 3 <= LINE:
        return [lines[0] + '"""']
    return [*lines, '    """']


def _return(addends: Sequence[tuple[str, Sequence[Factor]]], causal: bool) -> list[str]:
    mask = "" if causal else ", text.allowed"
    total = "".join(
        (f" {sign} " if number else sign.strip("+")) + " * ".join(map(_joined, factors))
        for number, (sign, factors) in enumerate(addends)
    )
    line = f"    return softmax({total}{mask})"
    if len(line) <= LINE:
        return [line]
    inner = f"        {total}{mask}"
    if len(inner) <= LINE:
        return ["    return softmax(", inner, "    )"]
    lines = []
    for number, (sign, factors) in enumerate(addends):
        opening = f"{sign} " if number else sign.strip("+")
        line = f"        {opening}{' * '.join(map(_joined, factors))}"
        if len(line) <= LINE:
            lines.append(line)
        else:
            lines.append(f"        {opening}{factors[0][0]}")
            for factor in factors[1:]:
                lines += _factor_lines(factor)
    if mask:
        lines[-1] += ","
        lines.append("        text.allowed,")
    return ["    return softmax(", *lines, "    )"]


def _factor_lines(factor: Factor) -> list[str]:
    """A factor on a line of its own, or its conditions in brackets on a line each."""
    line = f"        * {_joined(factor)}"
    if len(line) <= LINE or len(factor) == 1:
        return [line]
    inner = [
        f"            {'& ' if number else ''}{condition}"
        for number, condition in enumerate(factor)
    ]
    return ["        * (", *inner, "        )"]


def _imports(source: str) -> list[str]:
    """The import of every function that the source calls by name, and of run."""
    called = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    used = sorted(name for name in called if name == "run" or _is_function(name))
    line = f"from headscript.language import {', '.join(used)}"
    if len(line) <= LINE:
        return [line, ""]
    return ["from headscript.language import (", *(f"    {name}," for name in used), ")", ""]


def _is_function(name: str) -> bool:
    entry = VOCABULARY.get(name)
    return entry is not None and entry.kind == "function"

"""Says in plain words what a sum of terms does, true to the terms and how much each does."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence

from headscript.language.gate import literal_value
from headscript.language.vocabulary import VOCABULARY
from headscript.programs.program import rounded
from headscript.programs.rendering import is_token_list, rendered
from headscript.programs.terms import Expression, Term

WIDTH = 92
"""Columns of the explanation; with its indentation it ends at 96."""
_HEADLINE_SHARE = 0.12
"""A term below this share is not in the first sentence, unless it is the strongest."""

# What grows with a number, said of the key ("it") or of the query.
_GROWTH = {
    "distance": "the farther away it is",
    "sentence_distance": "the more sentences lie between",
    "similarity": "the more alike the embeddings are",
    "position": "the later {who} stands",
    "rarity": "the rarer {who} is",
    "occurrence": "the more often {who} has come before",
    "sentence": "the more sentences stand before {who}",
    "sentence_position": "the later in its sentence {who} stands",
}
_VERBS = {"first": ("rests on", "rests less on"), "itself": ("stays on", "stays less on")}
_ORDINALS = (
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
)


def explain_terms(
    terms: Sequence[Term],
    weights: Sequence[float],
    strengths: Sequence[float] | None = None,
    *,
    causal: bool = True,
) -> str:
    """The docstring of a program: a sentence on its strongest terms, then a line for every term.

    `strengths` is the share of each term in the whole, 0 to 1, as measured; without it the sizes of
    the weights stand in for it, which say less where features differ in their spread.
    """
    if not terms:
        return "Looks at all tokens alike."
    measured = strengths is not None
    shares = list(strengths) if strengths is not None else [abs(weight) for weight in weights]
    total = sum(shares) or 1.0
    order = sorted(range(len(terms)), key=lambda index: -shares[index])
    clauses = [clause(terms[index], weights[index], causal=causal) for index in order]

    leading = [
        said
        for rank, (index, said) in enumerate(zip(order, clauses, strict=True))
        if rank == 0 or (rank < 3 and shares[index] / total >= _HEADLINE_SHARE)
    ]
    if shares[order[0]] / total >= 0.5 and len(terms) > 1:
        leading[0] = f"mostly {leading[0]}"
    headline = "; ".join(leading)
    lines = textwrap.wrap(headline[0].upper() + headline[1:] + ".", WIDTH)
    if len(terms) == 1:
        return "\n".join(lines)
    lines += ["", f"Its terms, strongest first, with weight{' and share' if measured else ''}:"]
    for index, said in zip(order, clauses, strict=True):
        weight = ("-" if weights[index] < 0 else "+") + rounded(abs(weights[index]))
        numbers = f"{weight}, {_percent(shares[index] / total)}" if measured else weight
        lines += textwrap.wrap(f"- {said} ({numbers})", WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def clause(term: Term, weight: float, *, causal: bool = True) -> str:
    """One term in words: "from names, looks back to commas, more so the farther away it is"."""
    look = "looks back" if causal else "looks"
    openings: list[str] = []
    targets: list[str] = []
    growths: list[str] = []
    verbs = (f"{look} to", f"{look} less to")
    for part, expression in term.parts():
        if not expression.is_condition:
            growths.append(growth(expression, "the query" if part == "query" else "it"))
        elif part == "query":
            openings.append(f"from {phrase(expression.tree)}, ")
        else:
            targets.append(phrase(expression.tree))
            if isinstance(expression.tree, ast.Attribute):
                verbs = _VERBS.get(expression.tree.attr, verbs)
    opening = "".join(openings)
    target = ", when among ".join(targets)
    if target:
        said = f"{opening}{verbs[weight < 0]} {target}"
        return ", ".join([said, *("more so " + growth for growth in growths)])
    if term.relation is not None and _names_distance(term) and len(growths) == 1:
        return f"{opening}prefers {'nearer' if weight < 0 else 'farther'} tokens"
    if growths:
        degree = "less" if weight < 0 else "more"
        return f"{opening}{look} {degree} to a token " + " and ".join(growths)
    return f"{opening}{verbs[weight < 0]} all tokens"


def _names_distance(term: Term) -> bool:
    return any(
        part == "relation" and expression.entries == {"distance"}
        for part, expression in term.parts()
    )


def growth(expression: Expression, who: str) -> str:
    """What makes a number greater: "the farther away it is"."""
    node = _inside(expression.tree)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "between":
            return f"the more {phrase(node.args[0])} lie between"
    elif isinstance(node, ast.Attribute):
        if node.attr in _GROWTH:
            return _GROWTH[node.attr].format(who=who)
        whose = "the query's" if who == "the query" else "its"
        return f"the greater {whose} {phrase(node)}"
    return f"the greater {phrase(node)}"


def _inside(node: ast.expr) -> ast.expr:
    """The number within log(x + 1) and its like, which grow as it grows."""
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in ("log", "sqrt", "exp") or len(node.args) != 1:
                return node
            node = node.args[0]
        elif (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Add)
            and isinstance(node.right, ast.Constant)
        ):
            node = node.left
        else:
            return node


def phrase(node: ast.expr) -> str:
    """A condition or number in words: "commas", "the token just before", "the first 'the'"."""
    if isinstance(node, ast.Attribute):
        return VOCABULARY.require(node.attr).phrase or f"`text.{node.attr}`"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _call_phrase(node, node.func.attr)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return f"what is not among {phrase(node.operand)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return f"{phrase(node.left)}, when among {phrase(node.right)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return f"{phrase(node.left)} or {phrase(node.right)}"
    return f"`{rendered(node)[0]}`"


def _call_phrase(node: ast.Call, name: str) -> str:
    entry = VOCABULARY.require(name)
    if name in ("previous", "following") and node.args:
        k = literal_value(node.args[0])
        side = "before" if name == "previous" else "after"
        return f"the {'token just' if k == 1 else f'{ordinal(k)} token'} {side}"
    if name == "nth":
        return f"the {ordinal(literal_value(node.args[1]))} {_of(node.args[0])}"
    if name == "latest":
        return f"the latest {_of(node.args[0])}"
    words = [
        repr(argument.value)
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        else str(argument.value)
        if isinstance(argument, ast.Constant)
        else phrase(argument)
        for argument in node.args
    ]
    last = entry.parameters[-1]
    if last.startswith("*"):
        return entry.phrase.format(**{last[1:]: _listed(node)}) or _listed(node)
    given = dict(zip(entry.parameters, words, strict=False))
    try:
        said = entry.phrase.format(**given)
    except (KeyError, IndexError):
        said = ""
    return (
        said.replace("-'", "-").replace("'", "")
        if name == "ends_with"
        else (said or f"`{rendered(node)[0]}`")
    )


def _of(node: ast.expr) -> str:
    """What the first or latest is one of: "of the commas", or a literal token as it stands."""
    if is_token_list(node):
        return _listed(node) if len(node.args) == 1 else f"of {_listed(node)}"
    return f"of the {phrase(node)}"


def _listed(node: ast.Call) -> str:
    words = [
        "line break"
        if argument.value.strip(" ") == "\n"
        else repr(argument.value.strip(" ") or " ")
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    words = list(dict.fromkeys(words))
    if len(words) > 6:
        return f"{', '.join(words[:5])} and {len(words) - 5} other tokens"
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def ordinal(k: int) -> str:
    """1 as "first", 10 as "10th"."""
    if 0 < k < len(_ORDINALS):
        return _ORDINALS[k]
    ending = "th" if 10 <= k % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{ending}"

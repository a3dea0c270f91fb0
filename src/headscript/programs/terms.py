"""Terms: what the search adds up, before it becomes the source of a program."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language.gate import check_expression
from headscript.language.shapes import Shape
from headscript.language.text import Text
from headscript.programs.interpreter import plan_expression


@dataclass(frozen=True)
class Term:
    """weight * query(query) * relation * key(key), each part an expression of `text` or None.

    `Term(query="text.is_comma")`, `Term(relation="log(text.distance + 1)")`,
    `Term(relation="text.previous(1)", key="text.one_of(' the')")`. Conditions join by &, numbers
    by *.
    """

    query: str | None = None
    relation: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        parts = (("query", self.query), ("", self.relation), ("key", self.key))
        return " * ".join(
            f"{lift}({part})" if lift else str(part) for lift, part in parts if part is not None
        )

    def feature(self, text: Text) -> Tensor:
        """The term's value without its weight, (query, key) float32, future keys included.

        Raises GateError for a part that is no expression of the language, HeadscriptError for one
        of the wrong shape.
        """
        value = torch.ones(1, 1)
        for part, expression in self.parts():
            inner = expression(text).float()
            if part == "query":
                inner = inner[:, None]
            elif part == "key":
                inner = inner[None, :]
            value = value * inner
        return value.expand(len(text), len(text))

    def parts(self) -> list[tuple[str, Expression]]:
        """The parts that are given, as ("query" | "relation" | "key", expression)."""
        found = []
        for name, source in (("query", self.query), ("relation", self.relation), ("key", self.key)):
            if source is None:
                continue
            expression = parse_expression(source)
            wanted = Shape.PAIR if name == "relation" else Shape.PROPERTY
            if expression.shape is not wanted:
                raise HeadscriptError(
                    f"The {name} of a term must be a {wanted.value}, but {source!r} is a "
                    f"{expression.shape.value}."
                )
            found.append((name, expression))
        return found


@dataclass(frozen=True)
class Expression:
    """A constant-free expression of the language, callable on a text."""

    tree: ast.expr
    shape: Shape
    entries: frozenset[str]
    prefix_consistent: bool
    reach: int | None
    """Of a token property: how many tokens back it looks, None as far as the first."""
    evaluate: Callable[[Text], Any]

    @cached_property
    def is_condition(self) -> bool:
        """Whether its values are true or false, not numbers."""
        return _is_condition(self.evaluate)

    def __call__(self, text: Text) -> Tensor:
        """Its value on a text: (n,) for a token property, (query, key) for a relation."""
        value = self.evaluate(text)
        assert isinstance(value, Tensor)
        return value


@lru_cache(maxsize=5_000)  # a search tries many more, most of them once
def parse_expression(source: str) -> Expression:
    """The expression that a source spells; raises GateError for what is not allowed."""
    tree, checker = check_expression(source)
    evaluate, reach = plan_expression(tree)
    return Expression(
        tree=tree,
        shape=checker.shape(tree),
        entries=frozenset(checker.entries),
        prefix_consistent=checker.prefix_consistent,
        reach=reach,
        evaluate=evaluate,
    )


@lru_cache(maxsize=1)
def _probe() -> Text:
    return Text(["Once", " upon", "."], [1, 2, 3], 10)


def _is_condition(evaluate: Callable[[Text], Any]) -> bool:
    """Whether an expression gives true or false, seen on a text of three tokens."""
    try:
        value = evaluate(_probe())
    except Exception:
        # An entry that cannot be computed here (a missing spaCy, say): numbers and conditions both
        # join by *, which is what this answer leads to.
        return False
    return isinstance(value, Tensor) and value.dtype is torch.bool

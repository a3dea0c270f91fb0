"""The functions of the program language, called by their bare names."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language.vocabulary import function

Operand = Tensor | float


def _as_tensor(value: Operand) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value))


@function(
    "A token property seen from the query: (n,) becomes (n, 1).",
    parameters=("property",),
    group="lifting",
)
def query(property: Tensor) -> Tensor:
    return property[:, None]


@function(
    "A token property seen from the key: (n,) becomes (1, n).",
    parameters=("property",),
    group="lifting",
)
def key(property: Tensor) -> Tensor:
    return property[None, :]


@function("Natural logarithm.", parameters=("x",), group="arithmetic")
def log(x: Operand) -> Tensor:
    return torch.log(_as_tensor(x))


@function("e to the power of x.", parameters=("x",), group="arithmetic")
def exp(x: Operand) -> Tensor:
    return torch.exp(_as_tensor(x))


@function("Square root.", parameters=("x",), group="arithmetic")
def sqrt(x: Operand) -> Tensor:
    return torch.sqrt(_as_tensor(x))


@function("The smaller of two values, cell by cell.", parameters=("x", "y"), group="arithmetic")
def minimum(x: Operand, y: Operand) -> Tensor:
    return torch.minimum(_as_tensor(x).float(), _as_tensor(y).float())


@function("The larger of two values, cell by cell.", parameters=("x", "y"), group="arithmetic")
def maximum(x: Operand, y: Operand) -> Tensor:
    return torch.maximum(_as_tensor(x).float(), _as_tensor(y).float())


@function(
    "x where the condition holds, y elsewhere.",
    parameters=("condition", "x", "y"),
    group="arithmetic",
)
def where(condition: Tensor, x: Operand, y: Operand) -> Tensor:
    return torch.where(condition.bool(), _as_tensor(x).float(), _as_tensor(y).float())


@function(
    "Turns scores into a pattern: row by row e to the score, divided by the row's sum. Over the "
    "query itself and earlier keys, or over the keys that the second operand allows.",
    parameters=("scores", "allowed"),
    group="pattern",
)
def softmax(scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        raise HeadscriptError(
            "softmax needs scores of a pair of query and key; lift token properties by query(...) "
            "or key(...)."
        )
    scores = scores if scores.is_floating_point() else scores.float()
    n = max(scores.shape)
    masked = _later(n) if allowed is None else ~allowed.bool()
    # Broadcasting spreads scores of the key alone, (1, n), over all queries.
    return scores.masked_fill(masked, -math.inf).softmax(-1)  # (query, key)


@lru_cache(maxsize=16)
def _later(n: int) -> Tensor:
    """(query, key) bool: the keys after the query."""
    with torch.inference_mode(False):  # it is kept, and may be used where gradients flow
        return torch.ones(n, n, dtype=torch.bool).triu(1)

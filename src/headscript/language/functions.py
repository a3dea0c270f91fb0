"""The functions of the program language, called by their bare names."""

from __future__ import annotations

import torch
from torch import Tensor

from headscript.language.vocabulary import function

Operand = Tensor | float


def _as_tensor(value: Operand) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value))


@function("A token property seen from the query: (n,) becomes (n, 1).", parameters=("property",), group="lifting")
def query(property: Tensor) -> Tensor:
    return property[:, None]


@function("A token property seen from the key: (n,) becomes (1, n).", parameters=("property",), group="lifting")
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


@function("x where the condition holds, y elsewhere.", parameters=("condition", "x", "y"), group="arithmetic")
def where(condition: Tensor, x: Operand, y: Operand) -> Tensor:
    return torch.where(condition.bool(), _as_tensor(x).float(), _as_tensor(y).float())

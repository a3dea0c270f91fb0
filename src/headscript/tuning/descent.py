"""Gradient descent that knows how the constants of a program go together.

Terms of one program overlap (all keys, near keys, keys in the sentence), so that a step along one
constant undoes a step along another. Adam scales each constant by itself; here the second moments
of a program's gradient are kept as a whole matrix C, a few dozen constants wide, and a step is
C^(-1/2) times the mean gradient: Adam in whichever basis the gradients are uncorrelated
(full-matrix AdaGrad of Duchi et al. 2011, with Adam's averages of Kingma and Ba 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_RENEWED_EVERY = 10  # steps between two decompositions
_RIDGE = 1e-3  # of a block's mean second moment


class BlockAdam:
    """Steps for constants that come in blocks, one block a program."""

    def __init__(
        self, sizes: Sequence[int], *, mean_decay: float = 0.9, moment_decay: float = 0.99
    ) -> None:
        self.sizes = list(sizes)
        self.mean_decay, self.moment_decay = mean_decay, moment_decay
        total, widest = sum(sizes), max(sizes, default=1)
        # Where each constant lies in (blocks, widest).
        block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(self.sizes))
        within = torch.cat([torch.arange(size) for size in sizes])
        self._place = block * widest + within
        self._shape = (len(sizes), widest)
        self._steps = 0
        self._mean = torch.zeros(total)
        self._moments = torch.zeros(len(sizes), widest, widest)
        self._roots = torch.eye(widest).repeat(len(sizes), 1, 1)

    def step(self, gradient: Tensor) -> Tensor:
        """The direction to subtract, (constants,), of about length 1 a constant."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - self.mean_decay)
        blocks = self._blocks(gradient)
        outer = blocks[:, :, None] * blocks[:, None, :]
        self._moments.lerp_(outer, 1 - self.moment_decay)
        if self._steps <= _RENEWED_EVERY or self._steps % _RENEWED_EVERY == 0:
            self._renew()
        mean = self._blocks(self._mean / (1 - self.mean_decay**self._steps))
        return (self._roots @ mean[:, :, None]).flatten()[self._place]

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep."""
        return {
            "steps": self._steps,
            "mean": self._mean,
            "moments": self._moments,
            "roots": self._roots,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._steps = int(state["steps"])
        self._mean, self._moments, self._roots = state["mean"], state["moments"], state["roots"]

    def _blocks(self, values: Tensor) -> Tensor:
        padded = values.new_zeros(self._shape).flatten()
        padded[self._place] = values
        return padded.view(self._shape)

    def _renew(self) -> None:
        moments = self._moments / (1 - self.moment_decay**self._steps)
        level = moments.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-20)
        moments = moments / level[:, None, None]
        moments.diagonal(dim1=1, dim2=2).add_(_RIDGE)
        values, vectors = torch.linalg.eigh(moments)
        scaled = vectors * values.clamp_min(_RIDGE / 2).rsqrt()[:, None, :]
        self._roots = scaled @ vectors.transpose(1, 2) / level.sqrt()[:, None, None]

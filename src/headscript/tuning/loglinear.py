"""Fitting the constants of a log-linear program to a head's pattern, by Gauss-Newton on IoU.

A log-linear program scores each key by a weighted sum of features and takes a softmax. For patterns
whose rows sum to 1, IoU = (2n - L1) / (2n + L1), so the mean L1 distance of a row is what is
minimised. Its gradient is exact; its curvature is that of a quadratic model which lies between the
Fisher information of the softmax and the reweighted least squares of an L1 fit. Features are far
from independent, so a method of second order finds in ten steps what first-order methods do not
reach in hundreds.

The L1 distance has one flaw: where the pattern puts nothing on a key that the head looks at, its
gradient is nothing too, and a wrong but sharp pattern stays as it is. A share of cross-entropy in
the loss, `surprise`, keeps such keys in sight while terms are looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.kernels.choosing import available
from headscript.lanes import Lanes
from headscript.rows import Rows

LARGEST_FEATURE = 1e9
"""Its square summed over all cells is still far from float32's end."""

_RESIDUAL_FLOOR = 0.1  # residuals below it are treated as quadratic
_RIDGE = 1e-4
_LEAST = 1e-10  # what a logarithm takes for the weight of a key that has none
_FIRST_DAMPING = 1e-2


@dataclass(frozen=True)
class Fitted:
    """Weights with the pattern they give and what it lacks."""

    weights: Tensor
    """(terms,)"""
    pattern: Tensor
    """(cells,)"""
    loss: float
    """What was minimised: the mean L1 distance of a row, 0 to 2, with the share of surprise."""


@dataclass(frozen=True)
class Point(Fitted):
    """The same with the slope and the curvature of the loss; cells lie in lanes."""

    gradient: Tensor
    """(terms,)"""
    hessian: Tensor
    """(terms, terms)"""

    def only(self, kept: Sequence[int]) -> Point:
        """As seen by some of the terms, the others having no weight."""
        places = torch.tensor(kept, dtype=torch.long)
        return Point(
            self.weights[places],
            self.pattern,
            self.loss,
            self.gradient[places],
            self.hessian[places][:, places],
        )


@dataclass(frozen=True)
class Problem:
    """A head's pattern to fit features to, both in lanes."""

    lanes: Lanes
    features: Tensor
    """(columns, cells) float32."""
    actual: Tensor
    """(cells,)"""
    surprise: float = 0.0

    def at(self, weights: Tensor, columns: Sequence[int]) -> Point:
        """Loss, pattern and derivatives where the terms are these columns."""
        found = self._evaluated(weights, columns, derivatives=True)
        rows = self.lanes.num_rows
        return Point(weights, found[1], found[0] / rows, found[2] / rows, found[3] / rows)

    def looked_at(self, weights: Tensor, columns: Sequence[int]) -> Fitted:
        """Loss and pattern alone."""
        loss, pattern, *_ = self._evaluated(weights, columns, derivatives=False)
        return Fitted(weights, pattern, loss / self.lanes.num_rows)

    def descend(
        self, start: Point, columns: Sequence[int], *, steps: int = 10, tolerance: float = 1e-4
    ) -> Point:
        """Fit the weights from `start`.

        Each step solves the damped quadratic model and is taken only if it lowers the loss; the
        damping follows its success. Ends after `steps` or when a step gains less than `tolerance`.
        """
        here, damping = start, _FIRST_DAMPING
        for _ in range(steps):
            diagonal = here.hessian.diag()
            for _ in range(8):
                damped = here.hessian + torch.diag(damping * diagonal + _RIDGE)
                there = self.at(here.weights - torch.linalg.solve(damped, here.gradient), columns)
                if there.loss < here.loss:
                    break
                damping = max(damping * 5, 1e-3)
            else:
                break  # no direction of the model leads down: a minimum of the L1 loss
            gain = here.loss - there.loss
            here = there
            damping = max(damping / 4, 1e-6)
            if gain < tolerance:
                break
        return here

    def _evaluated(
        self, weights: Tensor, columns: Sequence[int], *, derivatives: bool
    ) -> tuple[float, Tensor, Tensor, Tensor]:
        """Summed loss, pattern, gradient and curvature."""
        if self.features.dtype == torch.float32 and available("numba") is None:
            from headscript.kernels import gauss_newton

            return gauss_newton.evaluate(
                self.features,
                columns,
                weights,
                self.actual,
                self.lanes.starts,
                self.lanes.widths,
                surprise=self.surprise,
                curvature=derivatives,
            )
        return evaluate(self, weights, columns)


def evaluate(
    problem: Problem, weights: Tensor, columns: Sequence[int]
) -> tuple[float, Tensor, Tensor, Tensor]:
    """What the compiled code computes, as tensor operations, in any precision.

    Summed loss, pattern (cells,), its gradient (terms,) and curvature (terms, terms).
    """
    lanes, actual, surprise = problem.lanes, problem.actual, problem.surprise
    features = problem.features[list(columns)].masked_fill(~lanes.inside, 0)
    scores = (weights @ features).masked_fill(~lanes.inside, -torch.inf)
    top = scores.new_full((lanes.num_rows + 1,), -torch.inf)
    top = top.scatter_reduce(0, lanes.row, scores, "amax")
    pattern = (scores - top[lanes.row]).exp().masked_fill(~lanes.inside, 0)
    pattern = pattern / lanes.row_sums(pattern)[lanes.row].masked_fill(~lanes.inside, 1)
    difference = pattern - actual
    loss = float(difference.abs().sum())
    if surprise:
        loss -= surprise * float((actual * pattern.clamp(min=_LEAST).log()).sum())
    signed = torch.sign(difference) * pattern
    slope = signed - pattern * lanes.row_sums(signed)[lanes.row] + surprise * difference
    # The curvature by scores; by weights it is that of features less their mean in the pattern.
    curvature = pattern.square() / difference.abs().clamp(min=_RESIDUAL_FLOOR)
    curvature = torch.maximum(pattern, curvature) + surprise * pattern
    means = lanes.row_sums(pattern * features)[:, lanes.row]
    scaled = (features - means) * curvature.sqrt()
    return loss, pattern, features @ slope, scaled @ scaled.T


def score_gradient(rows: Rows, pattern: Tensor, actual: Tensor, *, surprise: float = 0.0) -> Tensor:
    """Gradient of the summed row loss with respect to the scores: (cells, ...) like its inputs."""
    signed = torch.sign(pattern - actual) * pattern
    gradient = signed - pattern * rows.row_sums(signed)[rows.cell_row]
    return gradient + surprise * (pattern - actual) if surprise else gradient


def fittable(features: Tensor) -> Tensor:
    """Which columns of features (cells, terms) weights can be fitted to, (terms,) bool.

    Not those that are infinite somewhere, as log(0) is, or so large that squares overflow.
    """
    return (features.abs() <= LARGEST_FEATURE).all(0)  # also false for NaN


def fit_weights(
    rows: Rows,
    features: Tensor,  # (cells, terms)
    actual: Tensor,  # (cells,)
    start: Tensor | None = None,
    *,
    steps: int = 10,
    tolerance: float = 1e-4,
    surprise: float = 0.0,
) -> Fitted:
    """Fit the weights of `features` to a head's pattern, from `start` (None: zeros).

    As `Problem.descend`, with cells in the order of the rows.
    """
    lanes = rows.lanes
    problem = Problem(lanes, lanes.spread(features.T), lanes.spread(actual), surprise)
    terms = range(features.shape[1])
    weights = features.new_zeros(len(terms)) if start is None else start.clone()
    found = problem.descend(problem.at(weights, terms), terms, steps=steps, tolerance=tolerance)
    return Fitted(found.weights, lanes.collect(found.pattern), found.loss)


def spreads(lanes: Lanes, features: Tensor, columns: Sequence[int], by: Tensor) -> Tensor:
    """How far features (columns, cells) are spread within a row: the root of their variance.

    `by` (cells,) are weights that sum to 1 over each row; the mean variance of rows counts.
    (terms,) float32.
    """
    if available("numba") is None:
        from headscript.kernels import gauss_newton

        variance = gauss_newton.variances(features, columns, by, lanes.starts)
    else:
        chosen = features[list(columns)]
        centred = chosen - lanes.row_sums(by * chosen)[:, lanes.row]
        variance = (by * centred.square()).sum(1)
    return (variance / lanes.num_rows).clamp(min=0).sqrt()

"""Fitting the constants of a log-linear program to a head's pattern, by Gauss-Newton on IoU.

A log-linear program scores each key by a weighted sum of features and takes a softmax. For patterns
whose rows sum to 1, IoU = (2n - L1) / (2n + L1), so the mean L1 distance of a row is what is
minimised. Its gradient is exact; its curvature is that of a quadratic model which lies between the
Fisher information of the softmax and the reweighted least squares of an L1 fit. Features are far
from independent, so a method of second order finds in ten steps what first-order methods do not
reach in hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.rows import Rows

_RESIDUAL_FLOOR = 0.1  # residuals below it are treated as quadratic
_RIDGE = 1e-4
_FIRST_DAMPING = 1e-2


@dataclass
class Fitted:
    """Weights with the pattern they give and what it lacks."""

    weights: Tensor
    """(terms,)"""
    pattern: Tensor
    """(cells,)"""
    loss: float
    """Mean L1 distance of a row from the head's, 0 to 2."""


def row_loss(rows: Rows, pattern: Tensor, actual: Tensor) -> float:
    """Mean L1 distance of a row, 0 to 2."""
    return float((pattern - actual).abs().sum()) / rows.num_rows


def score_gradient(rows: Rows, pattern: Tensor, actual: Tensor) -> Tensor:
    """Gradient of the summed L1 distance with respect to the scores: (cells, ...) like its inputs."""
    signed = torch.sign(pattern - actual) * pattern
    return signed - pattern * rows.row_sums(signed)[rows.cell_row]


def derivatives(
    rows: Rows, features: Tensor, pattern: Tensor, actual: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient (terms,) and curvature (terms, terms) of the mean row loss at `pattern`."""
    gradient = features.T @ score_gradient(rows, pattern, actual) / rows.num_rows
    residual = (pattern - actual).abs().clamp(min=_RESIDUAL_FLOOR)
    curvature = torch.maximum(pattern, pattern * pattern / residual)  # (cells,)
    # Sum over cells of curvature * (feature - row mean)(feature - row mean)^T, without the copy
    # that centring the features would take.
    means, moments = rows.weighted_row_sums(torch.stack([pattern, curvature]), features)
    scaled = features * curvature.sqrt()[:, None]
    cross = moments.T @ means
    total = rows.row_sums(curvature)[:, None]
    hessian = scaled.T @ scaled - cross - cross.T + means.T @ (means * total)
    return gradient, hessian / rows.num_rows


def fit_weights(
    rows: Rows,
    features: Tensor,  # (cells, terms)
    actual: Tensor,  # (cells,)
    start: Tensor | None = None,
    *,
    steps: int = 10,
    tolerance: float = 1e-4,
) -> Fitted:
    """Fit the weights of `features` to a head's pattern, from `start` (None: zeros).

    Each step solves the damped quadratic model and is taken only if it lowers the loss; the damping
    follows its success. Ends after `steps` or when a step gains less than `tolerance`.
    """
    weights = torch.zeros(features.shape[1]) if start is None else start.clone()
    pattern = rows.softmax(features @ weights)
    loss = row_loss(rows, pattern, actual)
    damping = _FIRST_DAMPING
    for _ in range(steps):
        gradient, hessian = derivatives(rows, features, pattern, actual)
        for _ in range(8):
            damped = hessian + torch.diag(damping * hessian.diag() + _RIDGE)
            trial = weights - torch.linalg.solve(damped, gradient)
            trial_pattern = rows.softmax(features @ trial)
            trial_loss = row_loss(rows, trial_pattern, actual)
            if trial_loss < loss:
                break
            damping = max(damping * 5, 1e-3)
        else:
            break  # no direction of the model leads down: a minimum of the L1 loss
        gain = loss - trial_loss
        weights, pattern, loss = trial, trial_pattern, trial_loss
        damping = max(damping / 4, 1e-6)
        if gain < tolerance:
            break
    return Fitted(weights, pattern, loss)

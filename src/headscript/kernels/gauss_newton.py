"""The loss of a softmax of weighted features, its gradient and its curvature, in one pass.

A fit evaluates them some hundred times a head on the same features, and written as tensor
operations each of them reads and writes the features several times. Here sixteen rows lie side by
side (`headscript.lanes`), so that a vector register holds one key of each, sums over keys are sums
of registers, and everything is done to some thousand cells while they lie in the second-level
cache. Numba forms no vectors of such short loops by itself: `gauss_newton_loops` has those over
vectors, and the loops around them are ordinary Python.

One thread does it all, in an order that depends on nothing but the rows and the number of terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headscript.kernels.compiled import compiled
from headscript.kernels.gauss_newton_loops import (
    TILE,
    TOGETHER,
    add_products,
    add_scores,
    centre,
    differences,
    exponentials,
)
from headscript.kernels.vectors import LANES

_BLOCK = 65_536  # centred features of a block: a quarter of a megabyte


def evaluate(
    features: Tensor,  # (columns, cells) float32
    places: Sequence[int],
    weights: Tensor,
    actual: Tensor,  # (cells,)
    starts: Tensor,  # (groups + 1,)
    widths: Tensor,  # (groups * LANES,) int32
    *,
    surprise: float,
    curvature: bool,
) -> tuple[float, Tensor, Tensor, Tensor]:
    """Summed row loss, pattern (cells,), gradient (terms,) and curvature (terms, terms).

    The terms are the columns at `places`. Cells lie as `headscript.lanes` has them. Without
    `curvature` the last two are empty.
    """
    terms = len(places)
    padded = -(-terms // TOGETHER) * TOGETHER
    of = _filled_up(places, padded)
    by = np.zeros(padded, np.float32)
    by[:terms] = weights.numpy()
    cells = features.shape[1]
    pattern = torch.empty(cells)
    widest = int(starts.diff().max())
    room = max(_BLOCK // max(padded, 1), widest)
    tiles = padded // TILE
    tiles = tiles * (tiles + 1) // 2 if curvature else 0
    scaled = np.empty((padded if curvature else 0, room), np.float32)
    gradient = np.zeros((padded, LANES), np.float32)
    products = np.zeros((tiles * TILE * TILE, LANES), np.float32)
    rows = np.empty((3, room), np.float32)
    loss = _EVALUATE(
        features.numpy(),
        of,
        by,
        actual.numpy(),
        starts.numpy(),
        widths.numpy(),
        surprise,
        curvature,
        pattern.numpy(),
        rows,
        scaled,
        gradient.reshape(-1),
        products.reshape(-1),
    )
    hessian = np.empty((padded if curvature else 0,) * 2, np.float32)
    if curvature:
        _TO_SQUARE(products, hessian)
    found = gradient.sum(1)[: terms if curvature else 0]
    return (
        loss,
        pattern,
        torch.from_numpy(found),
        torch.from_numpy(hessian[:terms, :terms].copy()),
    )


def _filled_up(places: Sequence[int], number: int) -> Any:
    """The first place again where there are fewer; a column not asked for may not be finite."""
    filled = [*places] + [places[0]] * (number - len(places)) if places else []
    return np.array(filled, np.int64)


def variances(
    features: Tensor,  # (columns, cells) float32
    places: Sequence[int],
    weights: Tensor,  # (cells,) that sum to 1 over each row
    starts: Tensor,  # (groups + 1,)
) -> Tensor:
    """Variance of features under weights, summed over rows: (terms,)."""
    terms = len(places)
    of = _filled_up(places, -(-terms // TOGETHER) * TOGETHER)
    widest = int(starts.diff().max())
    scaled = np.empty((TOGETHER, widest), np.float32)
    found = np.zeros(len(of))
    _VARIANCES(
        features.numpy(), of, weights.numpy(), weights.sqrt().numpy(), starts.numpy(), scaled, found
    )
    return torch.from_numpy(found[:terms].astype(np.float32))


def _variances(
    features: Any, places: Any, weights: Any, roots: Any, starts: Any, scaled: Any, found: Any
) -> None:
    unused = np.zeros(TOGETHER * LANES, np.float32)
    for term in range(0, len(places), TOGETHER):
        for group in range(len(starts) - 1):
            first, width = starts[group], starts[group + 1] - starts[group]
            by, root = weights[first:], roots[first:]
            centre(features, places[term:], 0, first, width, weights, by, root, 0, scaled, unused)
            for number in range(TOGETHER):
                total = np.float32(0)
                for cell in range(width):
                    total += scaled[number, cell] * scaled[number, cell]
                found[term + number] += total


def _evaluate(
    features: Any,
    places: Any,
    weights: Any,
    actual: Any,
    starts: Any,
    widths: Any,
    surprise: float,
    curvature: bool,
    pattern: Any,
    rows: Any,
    scaled: Any,
    gradient: Any,
    products: Any,
) -> float:
    """Fill `pattern`, and add to `gradient` and `products`; the summed loss."""
    terms = len(places)
    scores, slope, root = rows[0], rows[1], rows[2]
    room = len(scores)
    share = np.float32(surprise)
    lanes = np.empty(3 * LANES, np.float32)  # of each row: greatest score, sum, loss
    total = 0.0
    groups = len(starts) - 1
    begin = 0
    while begin < groups:
        end = begin + 1
        while end < groups and starts[end + 1] - starts[begin] <= room:
            end += 1
        first = starts[begin]
        cells = starts[end] - first
        scores[:cells] = 0
        for term in range(0, terms, TOGETHER):
            add_scores(features, places, term, first, cells, weights, scores)
        for group in range(begin, end):
            inner, width = starts[group] - first, starts[group + 1] - starts[group]
            exponentials(scores, inner, width, widths, group * LANES, pattern, first + inner, lanes)
            for lane in range(LANES):
                whole = lanes[LANES + lane]
                # A lane without a row has nothing; what is not finite stays so.
                lanes[LANES + lane] = 0 if whole == 0 else 1 / whole
                lanes[lane] += 0 if whole == 0 else np.log(whole)
            differences(
                scores, inner, width, actual, pattern, first + inner, share, lanes, slope, root
            )
            for lane in range(LANES):
                total += lanes[2 * LANES + lane]
        if curvature:
            for term in range(0, terms, TOGETHER):
                for group in range(begin, end):
                    inner, width = starts[group] - first, starts[group + 1] - starts[group]
                    centre(
                        features, places, term, first + inner, width, pattern, slope, root, inner,
                        scaled, gradient,
                    )  # fmt: skip
            tile = 0
            for i in range(0, terms, TILE):
                for j in range(i, terms, TILE):
                    add_products(scaled, i, j, cells, products, tile * TILE * TILE * LANES)
                    tile += 1
        begin = end
    return total


def _to_square(products: Any, hessian: Any) -> None:
    """Sums of tiles on and above the diagonal as a symmetric matrix."""
    tile = 0
    for i in range(0, len(hessian), TILE):
        for j in range(i, len(hessian), TILE):
            for row in range(TILE):
                for column in range(TILE):
                    total = np.float32(0)
                    for lane in range(LANES):
                        total += products[(tile * TILE + row) * TILE + column, lane]
                    hessian[i + row, j + column] = total
                    hessian[j + column, i + row] = total
            tile += 1


# Sums of the loops in Python may be taken in any order.
_FAST = {"fastmath": {"reassoc", "contract"}}
_EVALUATE = compiled(
    "float64(float32[:, ::1], int64[::1], float32[::1], float32[::1], int64[::1], int32[::1], "
    "float64, boolean, float32[::1], float32[:, ::1], float32[:, ::1], float32[::1], float32[::1])",
    _evaluate,
    **_FAST,
)
_VARIANCES = compiled(
    "void(float32[:, ::1], int64[::1], float32[::1], float32[::1], int64[::1], float32[:, ::1], "
    "float64[::1])",
    _variances,
    **_FAST,
)
_TO_SQUARE = compiled("void(float32[:, ::1], float32[:, ::1])", _to_square, **_FAST)

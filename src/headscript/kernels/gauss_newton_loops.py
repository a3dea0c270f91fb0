"""The loops over vectors of `headscript.kernels.gauss_newton`, written down for LLVM.

A vector holds one key of each of the rows of a group. `first` is the first cell of a group or of
several, which make a block; `inner` is its place in arrays of one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from llvmlite import binding
from numba import config

from headscript.kernels.compiled import written
from headscript.kernels.vectors import (
    INT,
    INTS,
    LANES,
    SHORT,
    absolute,
    constant,
    exp,
    greater,
    load,
    multiply_add,
    over_columns,
    root,
    row_of,
    splat,
    spread,
    store,
)

LEAST = 1e-10
"""What a logarithm takes for the weight of a key that has none."""
RESIDUAL_FLOOR = 0.1
"""Residuals below it are treated as quadratic."""
TOGETHER = 4
"""Terms that are added or centred at a time, which keeps enough sums apart."""


def _tile_size() -> int:
    asked = config.CPU_FEATURES
    features = binding.get_host_cpu_features().flatten() if asked is None else asked
    return 4 if "+avx512f" in features else 2


TILE = _tile_size()
"""Rows and columns of a tile of products whose sums the registers hold."""

_LOWEST = -1e30  # less than any score


@written()
def add_scores(
    builder: Any,
    features: Any,
    places: Any,
    term: Any,
    first: Any,
    cells: Any,
    weights: Any,
    scores: Any,
) -> None:
    """Add weight times feature of the terms from `term` on to the scores of a block."""
    rows, terms = _chosen(builder, features, places, term, first)
    by = [splat(builder, builder.load(builder.gep(weights.data, [each]))) for each in terms]

    def add(cell: Any, _: list[Any]) -> list[Any]:
        total = load(builder, scores.data, cell)
        for row, weight in zip(rows, by, strict=True):
            total = multiply_add(builder, load(builder, row, cell), weight, total)
        store(builder, total, scores.data, cell)
        return []

    over_columns(builder, cells, [], add)


@written()
def exponentials(
    builder: Any,
    scores: Any,
    inner: Any,
    width: Any,
    widths: Any,
    lane: Any,
    pattern: Any,
    first: Any,
    lanes: Any,
) -> None:
    """Unscaled softmax of a group into `pattern`; the rows' greatest scores and sums to `lanes`."""
    score = builder.gep(scores.data, [inner])
    keys = load(builder, widths.data, lane, INTS)
    out = builder.gep(pattern.data, [first])

    def inside(cell: Any) -> Any:
        key = builder.trunc(builder.udiv(cell, INT(LANES)), SHORT)
        return builder.icmp_signed("<", spread(builder, key, INTS), keys)

    def highest(cell: Any, found: list[Any]) -> list[Any]:
        value = builder.select(inside(cell), load(builder, score, cell), constant(_LOWEST))
        return [greater(builder, value, found[0])]

    def exponential(cell: Any, found: list[Any]) -> list[Any]:
        value = exp(builder, builder.fsub(load(builder, score, cell), top))
        value = builder.select(inside(cell), value, constant(0.0))
        store(builder, value, out, cell)
        return [builder.fadd(found[0], value)]

    (top,) = over_columns(builder, width, [constant(_LOWEST)], highest)
    (total,) = over_columns(builder, width, [constant(0.0)], exponential)
    store(builder, top, lanes.data, INT(0))
    store(builder, total, lanes.data, INT(LANES))


@written()
def differences(
    builder: Any,
    scores: Any,
    inner: Any,
    width: Any,
    actual: Any,
    pattern: Any,
    first: Any,
    surprise: Any,
    lanes: Any,
    slopes: Any,
    roots: Any,
) -> None:
    """Pattern of a group, its loss, the gradient by scores and the root of the curvature.

    `lanes` holds the logarithm of each row's sum of exponentials and what scales them.
    """
    zero, share = constant(0.0), splat(builder, surprise)
    score, slope, bend = (builder.gep(array.data, [inner]) for array in (scores, slopes, roots))
    wanted, out = (builder.gep(array.data, [first]) for array in (actual, pattern))
    logarithm, scale = load(builder, lanes.data, INT(0)), load(builder, lanes.data, INT(LANES))

    def signed(p: Any, difference: Any) -> Any:
        below = builder.fcmp_ordered("<", difference, zero)
        above = builder.fcmp_ordered(">", difference, zero)
        return builder.select(above, p, builder.select(below, builder.fsub(zero, p), zero))

    def loss(cell: Any, found: list[Any]) -> list[Any]:
        p, a = builder.fmul(load(builder, out, cell), scale), load(builder, wanted, cell)
        store(builder, p, out, cell)
        difference = builder.fsub(p, a)
        total = builder.fadd(found[0], absolute(builder, difference))
        # Beyond the end of a row there may be anything: NaN becomes the least.
        seen = builder.fsub(load(builder, score, cell), logarithm)
        seen = greater(builder, constant(log(LEAST)), seen)
        total = builder.fsub(total, builder.fmul(builder.fmul(a, share), seen))
        return [total, builder.fadd(found[1], signed(p, difference))]

    def derive(cell: Any, _: list[Any]) -> list[Any]:
        p, a = load(builder, out, cell), load(builder, wanted, cell)
        difference = builder.fsub(p, a)
        found = builder.fsub(signed(p, difference), builder.fmul(p, balance))
        store(builder, multiply_add(builder, share, difference, found), slope, cell)
        residual = greater(builder, absolute(builder, difference), constant(RESIDUAL_FLOOR))
        curved = greater(builder, p, builder.fdiv(builder.fmul(p, p), residual))
        store(builder, root(builder, multiply_add(builder, share, p, curved)), bend, cell)
        return []

    total, balance = over_columns(builder, width, [zero, zero], loss)
    over_columns(builder, width, [], derive)
    store(builder, total, lanes.data, INT(2 * LANES))


@written()
def centre(
    builder: Any,
    features: Any,
    places: Any,
    term: Any,
    first: Any,
    width: Any,
    pattern: Any,
    slopes: Any,
    roots: Any,
    inner: Any,
    scaled: Any,
    gradient: Any,
) -> None:
    """Features of a group less their mean in the pattern, times the root of the curvature.

    Their products with the slope are added to `gradient`.
    """
    zero = constant(0.0)
    rows, terms = _chosen(builder, features, places, term, first)
    weight = builder.gep(pattern.data, [first])
    slope, bend = (builder.gep(array.data, [inner]) for array in (slopes, roots))
    out = [builder.gep(row_of(builder, scaled, each), [inner]) for each in terms]

    def add(cell: Any, sums: list[Any]) -> list[Any]:
        p, by = load(builder, weight, cell), load(builder, slope, cell)
        found = [load(builder, row, cell) for row in rows]
        return [
            *(
                multiply_add(builder, p, f, total)
                for f, total in zip(found, sums[:TOGETHER], strict=True)
            ),
            *(
                multiply_add(builder, by, f, total)
                for f, total in zip(found, sums[TOGETHER:], strict=True)
            ),
        ]

    def scale(cell: Any, _: list[Any]) -> list[Any]:
        by = load(builder, bend, cell)
        for row, mean, target in zip(rows, means, out, strict=True):
            apart = builder.fsub(load(builder, row, cell), mean)
            store(builder, builder.fmul(by, apart), target, cell)
        return []

    found = over_columns(builder, width, [zero] * (2 * TOGETHER), add)
    means, sums = found[:TOGETHER], found[TOGETHER:]
    over_columns(builder, width, [], scale)
    for each, total in zip(terms, sums, strict=True):
        at = builder.mul(each, INT(LANES))
        store(builder, builder.fadd(load(builder, gradient.data, at), total), gradient.data, at)


@written()
def add_products(
    builder: Any, scaled: Any, i: Any, j: Any, cells: Any, products: Any, place: Any
) -> None:
    """Add the products of rows i.. and rows j.., summed over the cells of a block."""
    above, beside = (
        [row_of(builder, scaled, builder.add(start, INT(n))) for n in range(TILE)]
        for start in (i, j)
    )
    places = [builder.add(place, INT(n * LANES)) for n in range(TILE * TILE)]

    def add(cell: Any, sums: list[Any]) -> list[Any]:
        left = [load(builder, row, cell) for row in above]
        right = [load(builder, row, cell) for row in beside]
        return [
            multiply_add(builder, left[n // TILE], right[n % TILE], total)
            for n, total in enumerate(sums)
        ]

    start = [load(builder, products.data, each) for each in places]
    for each, total in zip(places, over_columns(builder, cells, start, add), strict=True):
        store(builder, total, products.data, each)


def _chosen(
    builder: Any, features: Any, places: Any, term: Any, first: Any
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Of the terms from one on their features from a cell on, and their numbers."""
    terms = [builder.add(term, INT(each)) for each in range(TOGETHER)]
    columns = [builder.load(builder.gep(places.data, [each])) for each in terms]
    return [builder.gep(row_of(builder, features, each), [first]) for each in columns], terms

"""Patterns of log-linear programs on the processor, packed, in one pass; compiled by numba.

The score of a cell is a sum of addends: a weight times something about the query, something about
the key and, for some addends, something about the pair. The scores of 16 queries and 16 keys stay
in registers while all addends of a program are summed; whole addends that are zero there are
passed over. A softmax follows while the rows are in the first-level cache, and only the cells that
a program's pattern keeps are computed and written.

As in `cpu`, what is written down for LLVM are the loops over vectors; those around are Python.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from headscript.kernels.vectors import (
    INT,
    INTS,
    LANE,
    LANES,
    SHORT,
    across,
    constant,
    counted,
    exp,
    greater,
    lane_of,
    load,
    multiply_add,
    over_columns,
    splat,
    spread,
    store,
    store_first,
    total_of,
)

_SHARES = 4  # of the programs a thread, since one may be slower than another


@dataclass(frozen=True)
class Sums:
    """The addends of programs, one program after the other."""

    starts: NDArray[np.int64]
    """(programs + 1,) the first addend of each, and how many there are."""
    query: NDArray[np.int32]
    """(addends,) which of the features of queries."""
    key: NDArray[np.int32]
    relation: NDArray[np.int32]
    """Which of those of pairs; -1 where there is none."""
    weight: NDArray[np.float32]


def fill(
    sums: Sums,
    query: Tensor,  # (query features, padded), float32
    key: Tensor,  # (key features, padded)
    relation: Tensor,  # (relations, padded, padded)
    tokens: int,
    causal: bool,
    places: NDArray[np.int64],
    out: Tensor,  # (rows, cells of that many tokens), float32
    pool: ThreadPoolExecutor | None = None,
    threads: int = 1,
) -> Callable[[], NDArray[np.bool_]]:
    """Write the pattern of program i to row `places[i]` of `out`.

    Returns a function that waits until all is written and says which are no patterns, (programs,).

    Those have a row in which a score is NaN or infinite, or none is finite; what was written for
    them means nothing. Features are contiguous, and padded to a multiple of `LANES` by finite
    numbers; those of queries and of keys may be one array. In a decoder, what is above the tiles on
    the diagonal is not read. With a `pool` the work is shared out to its threads and goes on after
    the call.
    """
    features = query.numpy(), key.numpy(), relation.numpy()
    blocks = key.shape[1] // LANES
    of_key = np.empty((len(key), blocks), np.int32)
    of_query = of_key if query is key else np.empty((len(query), blocks), np.int32)
    live = of_query, of_key, np.empty((len(relation), blocks, blocks), np.int32)
    finite = _LIVE(features[1], of_key)
    finite &= query is key or _LIVE(features[0], of_query)
    finite &= _LIVE_PAIRS(features[2], live[2], causal)
    if not finite:  # zero times what is not finite is not zero
        for part in live:
            part.fill(1)
    programs = len(places)
    broken = np.zeros(programs, np.bool_)
    given: tuple[Any, ...] = (
        sums.starts, sums.query, sums.key, sums.relation, sums.weight,
        *features, *live, tokens, causal, places, out.numpy(), broken,
    )  # fmt: skip
    if pool is None:
        _FILL(*given, 0, programs)
        return lambda: broken
    shares = max(1, min(programs, _SHARES * threads))
    bounds = [programs * number // shares for number in range(shares + 1)]
    begun = [pool.submit(partial(_FILL, *given, *bound)) for bound in pairwise(bounds)]

    def ended() -> NDArray[np.bool_]:
        for share in begun:
            share.result()
        return broken

    return ended


def _fill(
    starts: Any,
    queries: Any,
    keys: Any,
    relations: Any,
    weights: Any,
    query: Any,
    key: Any,
    relation: Any,
    live_query: Any,
    live_key: Any,
    live_relation: Any,
    tokens: int,
    causal: bool,
    places: Any,
    out: Any,
    broken: Any,
    begin: int,
    end: int,
) -> None:
    """Patterns of the programs `begin` to `end`."""
    scores = np.empty((LANES, key.shape[1]), np.float32)
    shares = np.empty(LANES, np.float32)
    most = 0
    for program in range(begin, end):
        most = max(most, starts[program + 1] - starts[program])
    chosen = np.empty(most + 1, np.int32)
    for program in range(begin, end):
        for top in range(0, tokens, LANES):
            bottom = min(top + LANES, tokens)
            for left in range(0, bottom if causal else tokens, LANES):
                # Lists without branches: what is zero here has no order that could be foreseen.
                alone, related = 0, most
                for addend in range(starts[program], starts[program + 1]):
                    live = (
                        live_query[queries[addend], top // LANES]
                        & live_key[keys[addend], left // LANES]
                    )
                    if relations[addend] < 0:
                        chosen[alone] = addend
                        alone += live
                    else:
                        chosen[related] = addend
                        related -= (
                            live & live_relation[relations[addend], top // LANES, left // LANES]
                        )
                _TILE(
                    chosen, alone, related + 1, most + 1, queries, keys, relations, weights,
                    query, key, relation, top, left, scores,
                )  # fmt: skip
            if not _SOFTMAX(scores, shares, top, tokens, causal):
                broken[program] = True
            for row in range(top, bottom):
                width = row + 1 if causal else tokens
                offset = row * (row + 1) // 2 if causal else row * tokens
                _WRITE(scores, row - top, shares, width, out, places[program], offset)


def _live(values: Any, live: Any) -> bool:
    """Which stretches of 16 of (features, padded) are not all zero; whether all are finite."""
    total = np.float32(0)
    for feature in range(values.shape[0]):
        for block in range(live.shape[1]):
            size = np.float32(0)
            for lane in range(LANES):
                size += abs(values[feature, block * LANES + lane])
            live[feature, block] = size != 0
            total += size
    return bool(total < np.inf)


def _live_pairs(values: Any, live: Any, causal: bool) -> bool:
    """The same of (relations, padded, padded), in squares; of a decoder in those it looks at."""
    total = np.float32(0)
    for relation in range(values.shape[0]):
        for above in range(live.shape[1]):
            for block in range(above + 1 if causal else live.shape[2]):
                size = np.float32(0)
                for row in range(above * LANES, (above + 1) * LANES):
                    for lane in range(LANES):
                        size += abs(values[relation, row, block * LANES + lane])
                live[relation, above, block] = size != 0
                total += size
    return bool(total < np.inf)


# Written down for LLVM ---------------------------------------------------------------------------


def _tile(
    typing: Any,
    chosen: Any,
    alone: Any,
    begin: Any,
    end: Any,
    queries: Any,
    keys: Any,
    relations: Any,
    weights: Any,
    query: Any,
    key: Any,
    relation: Any,
    top: Any,
    left: Any,
    scores: Any,
) -> tuple[Any, Callable[..., Any]]:
    """The scores of queries `top` and keys `left` and on, 16 each, to columns `left` of `scores`.

    The addends are the first `alone` of those chosen, which have no relation, and those from
    `begin` to `end`, which have one.
    """
    signature = types.void(
        chosen, types.intp, types.intp, types.intp, queries, keys, relations, weights,
        query, key, relation, types.intp, types.intp, scores,
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chosen, queries, keys, relations, weights, query, key, relation, scores = (
            context.make_array(signature.args[at])(context, builder, arguments[at])
            for at in (0, 4, 5, 6, 7, 8, 9, 10, 13)
        )
        alone, begin, end, top, left = (arguments[at] for at in (1, 2, 3, 11, 12))
        padded = builder.extract_value(key.shape, 1)

        def place(array: Any, addend: Any) -> Any:
            return builder.sext(builder.load(builder.gep(array.data, [addend])), INT)

        def add(number: Any, sums: list[Any], with_relation: bool) -> list[Any]:
            addend = place(chosen, number)
            at_query = builder.add(builder.mul(place(queries, addend), padded), top)
            at_key = builder.add(builder.mul(place(keys, addend), padded), left)
            weight = splat(builder, builder.load(builder.gep(weights.data, [addend])))
            weighed = builder.fmul(load(builder, key.data, at_key), weight)
            if with_relation:
                corner = builder.mul(place(relations, addend), padded)
                corner = builder.add(builder.mul(builder.add(corner, top), padded), left)
            new = []
            for row, total in enumerate(sums):
                at = builder.add(at_query, INT(row))
                of_query = splat(builder, builder.load(builder.gep(query.data, [at])))
                value = weighed
                if with_relation:
                    at = builder.add(corner, builder.mul(INT(row), padded))
                    value = builder.fmul(weighed, load(builder, relation.data, at))
                new.append(multiply_add(builder, of_query, value, total))
            return new

        sums = [constant(0.0)] * LANES
        sums = counted(builder, INT(0), alone, sums, lambda at, sums: add(at, sums, False))
        sums = counted(builder, begin, end, sums, lambda at, sums: add(at, sums, True))
        for row, total in enumerate(sums):
            at = builder.add(builder.mul(INT(row), padded), left)
            store(builder, total, scores.data, at)
        return context.get_dummy_value()

    return signature, generate


def _softmax(
    typing: Any, scores: Any, shares: Any, top: Any, tokens: Any, causal: Any
) -> tuple[Any, Callable[..., Any]]:
    """Turn the scores of queries `top` and on into exponentials, and say what to multiply them by.

    The greatest of a row becomes 1. Rows and columns beyond the text are computed and mean nothing.
    Returns whether all rows have a finite sum.
    """
    signature = types.boolean(scores, shares, types.intp, types.intp, types.boolean)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, shares = (
            context.make_array(signature.args[at])(context, builder, arguments[at]) for at in (0, 1)
        )
        _, _, top, tokens, causal = arguments
        padded = builder.extract_value(scores.shape, 1)
        end = builder.select(causal, builder.add(top, INT(1)), tokens)  # of columns

        def at(row: int, left: Any) -> Any:
            return builder.add(builder.mul(INT(row), padded), left)

        def greatest(left: Any, found: list[Any]) -> list[Any]:
            new = []
            for row, most in enumerate(found):
                width = builder.select(causal, builder.add(top, INT(row + 1)), tokens)
                here = builder.trunc(builder.sub(width, left), SHORT)
                inside = builder.icmp_signed("<", LANE, spread(builder, here, INTS))
                value = builder.select(
                    inside, load(builder, scores.data, at(row, left)), constant(float("-inf"))
                )
                store(builder, value, scores.data, at(row, left))
                new.append(greater(builder, most, value))
            return new

        start = [constant(float("-inf"))] * LANES
        most = across(builder, over_columns(builder, end, start, greatest), greater)

        def summed(left: Any, found: list[Any]) -> list[Any]:
            new = []
            for row, total in enumerate(found):
                value = load(builder, scores.data, at(row, left))
                value = exp(builder, builder.fsub(value, lane_of(builder, most, row)))
                store(builder, value, scores.data, at(row, left))
                new.append(builder.fadd(total, value))
            return new

        start = [constant(0.0)] * LANES
        total = across(builder, over_columns(builder, end, start, summed), total_of)
        store(builder, builder.fdiv(constant(1.0), total), shares.data, INT(0))
        rows = builder.trunc(builder.sub(tokens, top), SHORT)
        beyond = builder.icmp_signed(">=", LANE, spread(builder, rows, INTS))
        sound = builder.fcmp_ordered("<", total, constant(float("inf")))
        bits = builder.bitcast(builder.or_(sound, beyond), ir.IntType(LANES))
        return builder.icmp_signed("==", bits, ir.Constant(ir.IntType(LANES), -1))

    return signature, generate


def _write(
    typing: Any, scores: Any, row: Any, shares: Any, width: Any, out: Any, place: Any, offset: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write the first `width` exponentials of a row times its share to `out[place, offset:]`."""
    signature = types.void(scores, types.intp, shares, types.intp, out, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, row, _, width, _, place, offset = arguments
        scores, shares, out = (
            context.make_array(signature.args[at])(context, builder, arguments[at])
            for at in (0, 2, 4)
        )
        padded, cells = (builder.extract_value(array.shape, 1) for array in (scores, out))
        source = builder.gep(scores.data, [builder.mul(row, padded)])
        target = builder.gep(out.data, [builder.add(builder.mul(place, cells), offset)])
        share = splat(builder, builder.load(builder.gep(shares.data, [row])))
        # Whole vectors go beyond the row where what follows is written later.
        room = builder.sub(cells, offset)

        def written(left: Any, found: list[Any]) -> list[Any]:
            value = builder.fmul(load(builder, source, left), share)
            fits = builder.icmp_signed("<=", builder.add(left, INT(LANES)), room)
            with builder.if_else(fits) as (whole, part):
                with whole:
                    store(builder, value, target, left)
                with part:
                    store_first(builder, value, target, left, width)
            return found

        over_columns(builder, width, [], written)
        return context.get_dummy_value()

    return signature, generate


def _compiled(signature: str, function: Callable[..., Any], **options: Any) -> Any:
    """Machine code that lets other threads run, kept on disk where there is a place for it."""
    try:
        return njit(signature, nogil=True, cache=True, **options)(function)
    except (RuntimeError, OSError):
        return njit(signature, nogil=True, **options)(function)


_TILE = intrinsic(_tile)
_SOFTMAX = intrinsic(_softmax)
_WRITE = intrinsic(_write)
# Sums in any order; not so in `exp`, which rounds by adding and subtracting.
_ANY_ORDER = {"fastmath": {"reassoc", "nsz"}}
_LIVE = _compiled("boolean(float32[:, ::1], int32[:, ::1])", _live, **_ANY_ORDER)
_LIVE_PAIRS = _compiled(
    "boolean(float32[:, :, ::1], int32[:, :, ::1], boolean)", _live_pairs, **_ANY_ORDER
)
_FILL = _compiled(
    "void(int64[::1], int32[::1], int32[::1], int32[::1], float32[::1], float32[:, ::1], "
    "float32[:, ::1], float32[:, :, ::1], int32[:, ::1], int32[:, ::1], int32[:, :, ::1], int64, "
    "boolean, int64[::1], float32[:, ::1], boolean[::1], int64, int64)",
    _fill,
)

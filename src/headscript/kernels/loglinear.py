"""Patterns of log-linear programs on the processor, packed, in one pass; compiled by numba.

The score of a cell is a sum of addends: a weight times something about the query, something about
the key and, for some addends, something about the pair. The scores of 16 queries and 16 keys stay
in registers while all addends of a program are summed; whole addends that are zero there are
passed over. A softmax follows while the rows are in the first-level cache, and only the cells that
a program's pattern keeps are computed and written.

As in `cpu`, the loops over vectors are written down for LLVM (`loglinear_loops`), and those around
them are ordinary Python.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headscript.kernels.compiled import compiled
from headscript.kernels.loglinear_loops import exponentials, score_tile, write
from headscript.kernels.vectors import LANES

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
                score_tile(
                    chosen, alone, related + 1, most + 1, queries, keys, relations, weights,
                    query, key, relation, top, left, scores,
                )  # fmt: skip
            if not exponentials(scores, shares, top, tokens, causal):
                broken[program] = True
            for row in range(top, bottom):
                width = row + 1 if causal else tokens
                offset = row * (row + 1) // 2 if causal else row * tokens
                write(scores, row - top, shares, width, out, places[program], offset)


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


# Sums in any order.
_ANY_ORDER = {"fastmath": {"reassoc", "nsz"}}
_LIVE = compiled("boolean(float32[:, ::1], int32[:, ::1])", _live, **_ANY_ORDER)
_LIVE_PAIRS = compiled(
    "boolean(float32[:, :, ::1], int32[:, :, ::1], boolean)", _live_pairs, **_ANY_ORDER
)
_FILL = compiled(
    "void(int64[::1], int32[::1], int32[::1], int32[::1], float32[::1], float32[:, ::1], "
    "float32[:, ::1], float32[:, :, ::1], int32[:, ::1], int32[:, ::1], int32[:, :, ::1], int64, "
    "boolean, int64[::1], float32[:, ::1], boolean[::1], int64, int64)",
    _fill,
)

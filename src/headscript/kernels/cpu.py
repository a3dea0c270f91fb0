"""L1 distances on the processor, compiled by numba for the one at hand, on all cores.

The distance of nonnegative a and b is a + b - 2 min(a, b), and a minimum and an addition are two
instructions where |a - b| takes three. So what is summed is minima; the masses of the rows are
summed in the same order, so that a pattern is exactly 0 from itself.

What bounds a plain loop is fetching: two numbers for each minimum. A tile keeps the sums of several
programs times several heads in registers, each a vector of `_LANES` cells, and uses several times
what it has fetched. Tiles make blocks that stay in the second-level cache, and threads take blocks
until none are left. Numba forms no such tiles by itself: `_tile` writes them down for LLVM, and the
loops around it are ordinary Python.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from headscript.kernels.compared import CELLS, Compared


def _tile_shape() -> tuple[int, int, int]:
    """Lanes of a vector, and programs and heads of a tile: what the registers hold."""
    asked = config.CPU_FEATURES
    features = binding.get_host_cpu_features().flatten() if asked is None else asked
    if "+avx512f" in features:
        return 16, 4, 6  # 32 registers: 24 sums, 4 programs, a head, a minimum
    if "+avx" in features:
        return 8, 2, 6  # 16 registers
    if "+neon" in features:
        return 4, 4, 6  # 32 registers
    return 4, 2, 6


_LANES, _ROWS, _COLUMNS = _tile_shape()
# Of a block, whole tiles: `CELLS` cells of as many heads are half a megabyte.
_PROGRAMS, _HEADS = 96, 48
_CONVERTED = 4  # times the cells of a block are converted at once, where they must be
_INLINE = 20_000_000  # pairs of cells under which threads are not worth their start

_INDEX = ir.IntType(64)
_PLACE = ir.IntType(32)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)


def compare(first: Tensor, second: Tensor) -> Compared:
    """Compare (programs, cells) with (heads, cells), float32, float16 or bfloat16, on the CPU."""
    programs, cells, heads = len(first), first.shape[1], len(second)
    masses = np.zeros(programs), np.zeros(heads)
    # The sums of minima, with room for whole tiles.
    shared = np.zeros((-(-programs // _ROWS) * _ROWS, -(-heads // _COLUMNS) * _COLUMNS))
    fitting = all(_in_place(patterns) for patterns in (first, second))
    step = _step(cells)
    width = max(cells, 1) if fitting else _CONVERTED * step
    for begin in range(0, cells, width):
        sides = [
            (part if fitting else _aligned(part)).numpy()
            for part in (first[:, begin : begin + width], second[:, begin : begin + width])
        ]
        _over_blocks(
            partial(_ADD_MINIMA, *sides, step, shared, *masses),
            _BLOCKS(programs, _PROGRAMS) * _BLOCKS(heads, _HEADS),
            programs * heads * sides[0].shape[1],
        )
    _TO_DISTANCES(shared, *masses)
    found = shared[:programs, :heads], *masses
    return Compared(*(torch.from_numpy(values) for values in found))


def _in_place(patterns: Tensor) -> bool:
    """Whether the rows are whole vectors of float32, one after the other."""
    return (
        patterns.dtype == torch.float32
        and patterns.is_contiguous()
        and patterns.shape[1] % _LANES == 0
    )


def _aligned(patterns: Tensor) -> Tensor:
    """A float32 copy whose rows are filled up with zeros, which add nothing, to whole vectors."""
    rows, cells = patterns.shape
    copy = torch.zeros(rows, -(-cells // _LANES) * _LANES)
    copy[:, :cells] = patterns
    return copy


def _step(cells: int) -> int:
    """Cells of a block: at most `CELLS`, whole vectors, all blocks about alike."""
    blocks = max(-(-cells // CELLS), 1)
    return max(-(-cells // (blocks * _LANES)), 1) * _LANES


def _over_blocks(work: Callable[[int, int], None], blocks: int, pairs: int) -> None:
    """Do the blocks in as many threads as torch may use, which the compiled code lets run."""
    threads = torch.get_num_threads()
    if threads == 1 or blocks < 2 or pairs < _INLINE:
        work(0, blocks)
        return
    shares = min(blocks, 8 * threads)  # several each: a thread may be slower than another
    bounds = [blocks * number // shares for number in range(shares + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, bounds[:-1], bounds[1:]):
            pass


def _blocks(rows: int, size: int) -> int:
    """How many blocks; one without rows where there are none, so that the other side has masses."""
    return max(-(-rows // size), 1)


def _add_minima(
    first: Any,
    second: Any,
    step: int,
    shared: Any,
    first_masses: Any,
    second_masses: Any,
    start: int,
    stop: int,
) -> None:
    """Add the sums of minima of the pairs in blocks `start` to `stop` to `shared`.

    The first block that meets a row adds its mass as well.
    """
    programs, cells = first.shape
    heads = second.shape[0]
    across = _BLOCKS(heads, _HEADS)
    sums = np.empty(_ROWS * _COLUMNS + _LANES, np.float32)
    for block in range(start, stop):
        top, left = block // across * _PROGRAMS, block % across * _HEADS
        bottom, right = min(top + _PROGRAMS, programs), min(left + _HEADS, heads)
        for cell in range(0, cells, step):
            end = min(cell + step, cells)
            if left == 0:
                _ADD_MASSES(first, top, bottom, cell, end, sums, first_masses)
            if top == 0:
                _ADD_MASSES(second, left, right, cell, end, sums, second_masses)
            for i in range(top, bottom, _ROWS):
                for j in range(left, right, _COLUMNS):
                    _TILE(first, i, second, j, cell, end, sums)
                    for row in range(_ROWS):
                        for column in range(_COLUMNS):
                            shared[i + row, j + column] += sums[row * _COLUMNS + column]


def _add_masses(
    patterns: Any, top: int, bottom: int, cell: int, end: int, sums: Any, masses: Any
) -> None:
    """Add the sum of the cells of each row, which is that of its minima with itself."""
    for i in range(top, bottom, _ROWS):
        _TILE(patterns, i, patterns, i, cell, end, sums)
        for row in range(min(_ROWS, bottom - i)):
            masses[i + row] += sums[row * _COLUMNS + row]


def _to_distances(shared: Any, first: Any, second: Any) -> None:
    """Turn sums of minima into distances, in their place."""
    for i in range(len(first)):
        for j in range(len(second)):
            mass = first[i] + second[j]
            if np.isfinite(mass):
                shared[i, j] = max(mass - 2 * shared[i, j], 0.0)
            else:
                shared[i, j] = np.inf


def _tile(
    typing: Any, first: Any, i: Any, second: Any, j: Any, begin: Any, end: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """Sums of minima of rows i.. of `first` and j.. of `second` over cells begin to end.

    They are written to `sums`, (_ROWS * _COLUMNS,) float32, programs first. `end - begin` is a
    multiple of `_LANES`, and not 0. Rows beyond the last are the last again.
    """
    signature = types.void(first, types.intp, second, types.intp, types.intp, types.intp, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, i, second, j, begin, end, sums = arguments
        a_rows = _row_pointers(context, builder, signature.args[0], first, i, _ROWS)
        b_rows = _row_pointers(context, builder, signature.args[2], second, j, _COLUMNS)
        zero = ir.Constant(_VECTOR, None)
        before, loop = builder.block, builder.append_basic_block("cells")
        builder.branch(loop)
        builder.position_at_end(loop)
        cell = builder.phi(_INDEX)
        totals = [builder.phi(_VECTOR) for _ in range(_ROWS * _COLUMNS)]
        a = [_load(builder, row, cell) for row in a_rows]
        new = [None] * len(totals)
        for column in range(_COLUMNS):
            b = _load(builder, b_rows[column], cell)
            for row in range(_ROWS):
                place = row * _COLUMNS + column
                # As the processor's minimum does it: b where either is NaN.
                lesser = builder.select(builder.fcmp_ordered("<", a[row], b), a[row], b)
                new[place] = builder.fadd(totals[place], lesser)
        following = builder.add(cell, _INDEX(_LANES))
        for phi, initial, later in zip(
            [cell, *totals], [begin, *[zero] * len(totals)], [following, *new], strict=True
        ):
            phi.add_incoming(initial, before)
            phi.add_incoming(later, loop)
        after = builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
        builder.position_at_end(after)
        target = context.make_array(signature.args[6])(context, builder, sums).data
        for number, vector in enumerate(_summed_lanes(builder, new)):
            at = builder.gep(target, [_INDEX(number * _LANES)])
            builder.store(vector, builder.bitcast(at, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, generate


def _row_pointers(
    context: Any, builder: Any, kind: Any, array: Any, begin: Any, count: int
) -> list[Any]:
    """Where `count` rows from `begin` on start; the last row again where there are no more."""
    array = context.make_array(kind)(context, builder, array)
    rows, cells = cgutils.unpack_tuple(builder, array.shape)
    last = builder.sub(rows, _INDEX(1))
    pointers = []
    for number in range(count):
        row = builder.add(begin, _INDEX(number))
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        pointers.append(builder.gep(array.data, [builder.mul(row, cells)]))
    return pointers


def _load(builder: Any, row: Any, cell: Any) -> Any:
    """The vector that begins at a cell of a row."""
    at = builder.bitcast(builder.gep(row, [cell]), _VECTOR.as_pointer())
    return builder.load(at, align=4)


def _summed_lanes(builder: Any, vectors: list[Any]) -> list[Any]:
    """The sum over the lanes of each vector, as many to a vector as it has lanes, in order.

    Two vectors at a time are halved: their lower lanes, put together, plus their upper lanes. The
    order of additions is the same for all of them, so no sum depends on its place in the tile.
    """
    width = _LANES  # lanes that still belong to one sum
    while width > 1:
        half = width // 2
        if len(vectors) % 2:
            vectors = [*vectors, ir.Constant(_VECTOR, None)]
        starts = range(0, 2 * _LANES, width)
        lower, upper = (
            ir.Constant(
                ir.VectorType(_PLACE, _LANES),
                [start + shift + lane for start in starts for lane in range(half)],
            )
            for shift in (0, half)
        )
        vectors = [
            builder.fadd(
                builder.shuffle_vector(one, two, lower), builder.shuffle_vector(one, two, upper)
            )
            for one, two in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    return vectors


def _compiled(signature: str, function: Callable[..., Any]) -> Any:
    """Machine code that lets other threads run, kept on disk where there is a place for it."""
    try:
        return njit(signature, nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        return njit(signature, nogil=True)(function)


_TILE = intrinsic(_tile)
_BLOCKS = _compiled("int64(int64, int64)", _blocks)
_ADD_MASSES = _compiled(
    "void(float32[:, ::1], int64, int64, int64, int64, float32[::1], float64[::1])", _add_masses
)
_ADD_MINIMA = _compiled(
    "void(float32[:, ::1], float32[:, ::1], int64, float64[:, ::1], float64[::1], float64[::1], "
    "int64, int64)",
    _add_minima,
)
_TO_DISTANCES = _compiled("void(float64[:, ::1], float64[::1], float64[::1])", _to_distances)

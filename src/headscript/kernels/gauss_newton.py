"""The loss of a softmax of weighted features, its gradient and its curvature, in one pass.

A fit evaluates them some hundred times a head on the same features, and written as tensor
operations each of them reads and writes the features several times. Here sixteen rows lie side by
side (`headscript.lanes`), so that a vector register holds one key of each, sums over keys are sums
of registers, and everything is done to some thousand cells while they lie in the second-level
cache. Numba forms no vectors of such short loops by itself: what is done to a vector is written
down for LLVM, and the loops around it are ordinary Python.

One thread does it all, in an order that depends on nothing but the rows and the number of terms.
All is in one file, since numba tells by the file whether code that it has kept is still good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from headscript.lanes import LANES

LEAST = 1e-10
"""What a logarithm takes for the weight of a key that has none."""
RESIDUAL_FLOOR = 0.1
"""Residuals below it are treated as quadratic."""

_TOGETHER = 4  # features that are centred at a time, which keeps enough sums apart
_BLOCK = 65_536  # centred features of a block: a quarter of a megabyte


def _tile_size() -> int:
    """Rows and columns of a tile of products whose sums the registers hold."""
    asked = config.CPU_FEATURES
    features = binding.get_host_cpu_features().flatten() if asked is None else asked
    return 4 if "+avx512f" in features else 2


_TILE = _tile_size()

_INDEX = ir.IntType(64)
_WHOLE = ir.VectorType(ir.IntType(32), LANES)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_REORDERED = {"reassoc", "contract"}  # sums of plain loops may be taken in any order
_FUSED = ("contract",)  # a product and a sum may be one instruction
# Coefficients of exp on half a power of two to either side, as in the Cephes library.
_EXP = (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666666e-1, 0.5)
_LOWEST = -87.0  # exp of it is about the least normal float32


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
    padded = -(-terms // _TOGETHER) * _TOGETHER
    of = _filled_up(places, padded)
    by = np.zeros(padded, np.float32)
    by[:terms] = weights.numpy()
    cells = features.shape[1]
    pattern = torch.empty(cells)
    widest = int(starts.diff().max())
    room = max(_BLOCK // max(padded, 1), widest)
    tiles = padded // _TILE
    tiles = tiles * (tiles + 1) // 2 if curvature else 0
    scaled = np.empty((padded if curvature else 0, room), np.float32)
    gradient = np.zeros((padded, LANES), np.float32)
    products = np.zeros((tiles * _TILE * _TILE, LANES), np.float32)
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
    of = _filled_up(places, -(-terms // _TOGETHER) * _TOGETHER)
    widest = int(starts.diff().max())
    scaled = np.empty((_TOGETHER, widest), np.float32)
    found = np.zeros(len(of))
    _VARIANCES(
        features.numpy(), of, weights.numpy(), weights.sqrt().numpy(), starts.numpy(), scaled, found
    )
    return torch.from_numpy(found[:terms].astype(np.float32))


def _variances(
    features: Any, places: Any, weights: Any, roots: Any, starts: Any, scaled: Any, found: Any
) -> None:
    unused = np.zeros(_TOGETHER * LANES, np.float32)
    for term in range(0, len(places), _TOGETHER):
        for group in range(len(starts) - 1):
            first, width = starts[group], starts[group + 1] - starts[group]
            by, root = weights[first:], roots[first:]
            _CENTRE(features, places[term:], 0, first, width, weights, by, root, 0, scaled, unused)
            for number in range(_TOGETHER):
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
        for term in range(0, terms, _TOGETHER):
            _ADD_SCORES(features, places, term, first, cells, weights, scores)
        for group in range(begin, end):
            inner, width = starts[group] - first, starts[group + 1] - starts[group]
            _EXPONENTIALS(
                scores, inner, width, widths, group * LANES, pattern, first + inner, lanes
            )
            for lane in range(LANES):
                whole = lanes[LANES + lane]
                # A lane without a row has nothing; what is not finite stays so.
                lanes[LANES + lane] = 0 if whole == 0 else 1 / whole
                lanes[lane] += 0 if whole == 0 else np.log(whole)
            _DIFFERENCES(
                scores, inner, width, actual, pattern, first + inner, share, lanes, slope, root
            )
            for lane in range(LANES):
                total += lanes[2 * LANES + lane]
        if curvature:
            for term in range(0, terms, _TOGETHER):
                for group in range(begin, end):
                    inner, width = starts[group] - first, starts[group + 1] - starts[group]
                    _CENTRE(
                        features, places, term, first + inner, width, pattern, slope, root, inner,
                        scaled, gradient,
                    )  # fmt: skip
            tile = 0
            for i in range(0, terms, _TILE):
                for j in range(i, terms, _TILE):
                    _ADD_PRODUCTS(scaled, i, j, cells, products, tile * _TILE * _TILE * LANES)
                    tile += 1
        begin = end
    return total


def _to_square(products: Any, hessian: Any) -> None:
    """Sums of tiles on and above the diagonal as a symmetric matrix."""
    tile = 0
    for i in range(0, len(hessian), _TILE):
        for j in range(i, len(hessian), _TILE):
            for row in range(_TILE):
                for column in range(_TILE):
                    total = np.float32(0)
                    for lane in range(LANES):
                        total += products[(tile * _TILE + row) * _TILE + column, lane]
                    hessian[i + row, j + column] = total
                    hessian[j + column, i + row] = total
            tile += 1


# Vectors -----------------------------------------------------------------------------------------


class _Code:
    """Writes down what is done to vectors."""

    def __init__(self, context: Any, builder: Any, kinds: Sequence[Any]) -> None:
        self.context, self.builder, self.kinds = context, builder, kinds

    def data(self, number: int, array: Any) -> Any:
        """Where an argument's numbers begin."""
        return self.context.make_array(self.kinds[number])(self.context, self.builder, array).data

    def rows(self, number: int, array: Any, places: Sequence[Any]) -> list[Any]:
        """Where some rows of a matrix begin."""
        found = self.context.make_array(self.kinds[number])(self.context, self.builder, array)
        _, columns = cgutils.unpack_tuple(self.builder, found.shape)
        return [
            self.builder.gep(found.data, [self.builder.mul(place, columns)]) for place in places
        ]

    def load(self, data: Any, place: Any) -> Any:
        at = self.builder.bitcast(self.builder.gep(data, [place]), _VECTOR.as_pointer())
        return self.builder.load(at, align=4)

    def store(self, vector: Any, data: Any, place: Any) -> None:
        at = self.builder.bitcast(self.builder.gep(data, [place]), _VECTOR.as_pointer())
        self.builder.store(vector, at, align=4)

    def spread(self, value: Any, kind: Any = _VECTOR) -> Any:
        """A number in every lane."""
        if isinstance(value, float):
            return ir.Constant(kind, [value] * LANES)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, _index(0))
        places = ir.Constant(_WHOLE, [0] * LANES)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), places)

    def loop(
        self, end: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        """`body` for every vector of cells from 0 to `end`, at least one; what it carries on."""
        builder = self.builder
        before, block = builder.block, builder.append_basic_block("cells")
        builder.branch(block)
        builder.position_at_end(block)
        cell = builder.phi(_INDEX)
        values = [builder.phi(value.type) for value in carried]
        new = body(cell, values)
        following = builder.add(cell, _index(LANES))
        last = builder.block
        for phi, initial, later in zip(
            [cell, *values], [_index(0), *carried], [following, *new], strict=True
        ):
            phi.add_incoming(initial, before)
            phi.add_incoming(later, last)
        after = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", following, end), block, after)
        builder.position_at_end(after)
        return list(new)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_FUSED), c, flags=_FUSED)

    def greater(self, a: Any, b: Any) -> Any:
        """The greater of two; NaN where the first is."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), b, a)

    def called(self, name: str, *arguments: Any) -> Any:
        """An operation of LLVM on vectors."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"{name}.v{LANES}f32")
        return self.builder.call(function, arguments)

    def exp(self, x: Any) -> Any:
        """exp of numbers up to 0."""
        builder = self.builder
        x = self.greater(x, self.spread(_LOWEST))
        whole = self.called("llvm.floor", self.fma(x, self.spread(1.44269504), self.spread(0.5)))
        rest = self.fma(whole, self.spread(-0.693359375), x)
        rest = self.fma(whole, self.spread(2.12194440e-4), rest)
        power = self.spread(_EXP[0])
        for coefficient in _EXP[1:]:
            power = self.fma(power, rest, self.spread(coefficient))
        power = self.fma(builder.fmul(power, rest), rest, builder.fadd(rest, self.spread(1.0)))
        exponent = builder.add(builder.fptosi(whole, _WHOLE), ir.Constant(_WHOLE, [127] * LANES))
        scale = builder.shl(exponent, ir.Constant(_WHOLE, [23] * LANES))
        return builder.fmul(power, builder.bitcast(scale, _VECTOR))


def _index(number: int) -> Any:
    return ir.Constant(_INDEX, number)


def _written(write: Callable[..., None]) -> Any:
    """`write(code, *arguments)` as a function that compiled code calls."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        write(_Code(context, builder, of.args), *arguments)
        return context.get_dummy_value()

    def typed(typing: Any, *kinds: Any) -> Any:
        plain = [types.intp if isinstance(kind, types.Integer) else kind for kind in kinds]
        return types.void(*plain), generate

    # Numba asks how many arguments there are.
    arguments = list(signature(write).parameters.values())[1:]
    typing = Parameter("typing", Parameter.POSITIONAL_OR_KEYWORD)
    typed.__signature__ = Signature([typing, *arguments])  # type: ignore[attr-defined]
    return intrinsic(typed)


def _chosen(
    code: _Code, features: Any, places: Any, term: Any, first: Any
) -> tuple[list[Any], list[Any]]:
    """Of the terms from one on their features from a cell on, and their numbers."""
    builder = code.builder
    terms = [builder.add(term, _index(each)) for each in range(_TOGETHER)]
    at = code.data(1, places)
    rows = code.rows(0, features, [builder.load(builder.gep(at, [each])) for each in terms])
    return [builder.gep(row, [first]) for row in rows], terms


def _add_scores(
    code: _Code,
    features: Any,
    places: Any,
    term: Any,
    first: Any,
    cells: Any,
    weights: Any,
    scores: Any,
) -> None:
    """Add weight times feature of the terms from `term` on to the scores of a block."""
    builder = code.builder
    rows, terms = _chosen(code, features, places, term, first)
    at = code.data(5, weights)
    by = [code.spread(builder.load(builder.gep(at, [each]))) for each in terms]
    out = code.data(6, scores)

    def add(cell: Any, _: list[Any]) -> list[Any]:
        total = code.load(out, cell)
        for row, weight in zip(rows, by, strict=True):
            total = code.fma(code.load(row, cell), weight, total)
        code.store(total, out, cell)
        return []

    code.loop(cells, [], add)


def _exponentials(
    code: _Code,
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
    builder = code.builder
    score = builder.gep(code.data(0, scores), [inner])
    at = builder.gep(code.data(3, widths), [lane])
    keys = builder.load(builder.bitcast(at, _WHOLE.as_pointer()), align=4)
    out = builder.gep(code.data(5, pattern), [first])

    def inside(cell: Any) -> Any:
        key = builder.trunc(builder.udiv(cell, _index(LANES)), ir.IntType(32))
        return builder.icmp_signed("<", code.spread(key, _WHOLE), keys)

    def highest(cell: Any, carried: list[Any]) -> list[Any]:
        value = builder.select(inside(cell), code.load(score, cell), code.spread(-1e30))
        return [code.greater(value, carried[0])]

    def exponential(cell: Any, carried: list[Any]) -> list[Any]:
        value = code.exp(builder.fsub(code.load(score, cell), top))
        value = builder.select(inside(cell), value, code.spread(0.0))
        code.store(value, out, cell)
        return [builder.fadd(carried[0], value)]

    (top,) = code.loop(width, [code.spread(-1e30)], highest)
    (total,) = code.loop(width, [code.spread(0.0)], exponential)
    code.store(top, code.data(7, lanes), _index(0))
    code.store(total, code.data(7, lanes), _index(LANES))


def _differences(
    code: _Code,
    scores: Any,
    inner: Any,
    width: Any,
    actual: Any,
    pattern: Any,
    first: Any,
    surprise: Any,
    lanes: Any,
    slope: Any,
    root: Any,
) -> None:
    """Pattern of a group, its loss, the gradient by scores and the root of the curvature.

    `lanes` holds the logarithm of each row's sum of exponentials and what scales them.
    """
    builder, zero = code.builder, code.spread(0.0)
    score, slopes, roots = (
        builder.gep(code.data(number, array), [inner])
        for number, array in ((0, scores), (8, slope), (9, root))
    )
    wanted = builder.gep(code.data(3, actual), [first])
    out = builder.gep(code.data(4, pattern), [first])
    of_rows = code.data(7, lanes)
    logarithm, scale = code.load(of_rows, _index(0)), code.load(of_rows, _index(LANES))
    share = code.spread(surprise)

    def signed(p: Any, difference: Any) -> Any:
        below = builder.fcmp_ordered("<", difference, zero)
        above = builder.fcmp_ordered(">", difference, zero)
        return builder.select(above, p, builder.select(below, builder.fsub(zero, p), zero))

    def loss(cell: Any, carried: list[Any]) -> list[Any]:
        p, a = builder.fmul(code.load(out, cell), scale), code.load(wanted, cell)
        code.store(p, out, cell)
        difference = builder.fsub(p, a)
        total = builder.fadd(carried[0], code.called("llvm.fabs", difference))
        # Beyond the end of a row there may be anything: NaN becomes the least.
        seen = code.greater(
            code.spread(float(np.log(LEAST))), builder.fsub(code.load(score, cell), logarithm)
        )
        total = builder.fsub(total, builder.fmul(builder.fmul(a, share), seen))
        return [total, builder.fadd(carried[1], signed(p, difference))]

    def derive(cell: Any, _: list[Any]) -> list[Any]:
        p, a = code.load(out, cell), code.load(wanted, cell)
        difference = builder.fsub(p, a)
        found = builder.fsub(signed(p, difference), builder.fmul(p, balance))
        code.store(code.fma(share, difference, found), slopes, cell)
        residual = code.greater(code.called("llvm.fabs", difference), code.spread(RESIDUAL_FLOOR))
        curved = code.greater(p, builder.fdiv(builder.fmul(p, p), residual))
        code.store(code.called("llvm.sqrt", code.fma(share, p, curved)), roots, cell)
        return []

    total, balance = code.loop(width, [zero, zero], loss)
    code.loop(width, [], derive)
    code.store(total, of_rows, _index(2 * LANES))


def _centre(
    code: _Code,
    features: Any,
    places: Any,
    term: Any,
    first: Any,
    width: Any,
    pattern: Any,
    slope: Any,
    root: Any,
    inner: Any,
    scaled: Any,
    gradient: Any,
) -> None:
    """Features of a group less their mean in the pattern, times the root of the curvature.

    Their products with the slope are added to `gradient`.
    """
    builder, zero = code.builder, code.spread(0.0)
    rows, terms = _chosen(code, features, places, term, first)
    weight = builder.gep(code.data(5, pattern), [first])
    slopes = builder.gep(code.data(6, slope), [inner])
    roots = builder.gep(code.data(7, root), [inner])
    out = [builder.gep(row, [inner]) for row in code.rows(9, scaled, terms)]

    def add(cell: Any, carried: list[Any]) -> list[Any]:
        p, by = code.load(weight, cell), code.load(slopes, cell)
        found = [code.load(row, cell) for row in rows]
        means, sums = carried[:_TOGETHER], carried[_TOGETHER:]
        return [
            *(code.fma(p, f, total) for f, total in zip(found, means, strict=True)),
            *(code.fma(by, f, total) for f, total in zip(found, sums, strict=True)),
        ]

    def centre(cell: Any, _: list[Any]) -> list[Any]:
        by = code.load(roots, cell)
        for row, mean, target in zip(rows, means, out, strict=True):
            code.store(builder.fmul(by, builder.fsub(code.load(row, cell), mean)), target, cell)
        return []

    found = code.loop(width, [zero] * (2 * _TOGETHER), add)
    means, sums = found[:_TOGETHER], found[_TOGETHER:]
    code.loop(width, [], centre)
    totals = code.data(10, gradient)
    for each, total in zip(terms, sums, strict=True):
        at = builder.mul(each, _index(LANES))
        code.store(builder.fadd(code.load(totals, at), total), totals, at)


def _add_products(
    code: _Code, scaled: Any, i: Any, j: Any, cells: Any, products: Any, place: Any
) -> None:
    """Add the products of rows i.. and rows j.., summed over the cells of a block."""
    builder = code.builder
    first, second = (
        code.rows(0, scaled, [builder.add(start, _index(n)) for n in range(_TILE)])
        for start in (i, j)
    )
    sums = code.data(4, products)
    places = [builder.add(place, _index(n * LANES)) for n in range(_TILE * _TILE)]

    def add(cell: Any, totals: list[Any]) -> list[Any]:
        left = [code.load(row, cell) for row in first]
        right = [code.load(row, cell) for row in second]
        return [
            code.fma(left[n // _TILE], right[n % _TILE], total) for n, total in enumerate(totals)
        ]

    found = code.loop(cells, [code.load(sums, each) for each in places], add)
    for each, total in zip(places, found, strict=True):
        code.store(total, sums, each)


_ADD_SCORES = _written(_add_scores)
_EXPONENTIALS = _written(_exponentials)
_DIFFERENCES = _written(_differences)
_CENTRE = _written(_centre)
_ADD_PRODUCTS = _written(_add_products)


def _compiled(signature: str, function: Callable[..., Any]) -> Any:
    """Machine code that lets other threads run, kept on disk where there is a place for it."""
    try:
        return njit(signature, nogil=True, fastmath=_REORDERED, cache=True)(function)
    except (RuntimeError, OSError):
        return njit(signature, nogil=True, fastmath=_REORDERED)(function)


_EVALUATE = _compiled(
    "float64(float32[:, ::1], int64[::1], float32[::1], float32[::1], int64[::1], int32[::1], "
    "float64, boolean, float32[::1], float32[:, ::1], float32[:, ::1], float32[::1], float32[::1])",
    _evaluate,
)
_VARIANCES = _compiled(
    "void(float32[:, ::1], int64[::1], float32[::1], float32[::1], int64[::1], float32[:, ::1], "
    "float64[::1])",
    _variances,
)
_TO_SQUARE = _compiled("void(float32[:, ::1], float32[:, ::1])", _to_square)

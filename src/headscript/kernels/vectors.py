"""Vectors of 16 numbers in LLVM, for compiled code that numba does not form by itself.

Processors whose registers hold fewer take several. Functions write instructions at the place where
a builder stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

LANES = 16

INT = ir.IntType(64)
SHORT = ir.IntType(32)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(SHORT, LANES)
LANE = ir.Constant(INTS, list(range(LANES)))
"""The number of each lane."""

_CONTRACT = ("contract",)  # a product and a sum may be one instruction
# Coefficients of powers of r, for half a power of two to either side, as in the Cephes library.
_EXP = (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666666e-1, 0.5)
_LN2 = (0.693359375, -2.12194440e-4)  # in two parts: the first times an integer is exact
_TO_INTEGER = 12_582_912.0  # 1.5 * 2^23: what is added to it ends up as an integer
_LEAST = -88.0  # exp of less is 0


def over_columns(
    builder: Any, end: Any, start: list[Any], step: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """What becomes of vectors by `step(first column, vectors)` over all columns to `end`."""
    return counted(builder, INT(0), end, start, step, LANES)


def counted(
    builder: Any,
    begin: Any,
    end: Any,
    start: list[Any],
    step: Callable[[Any, list[Any]], list[Any]],
    stride: int = 1,
) -> list[Any]:
    """What becomes of vectors by `step(number, vectors)` from `begin` to `end`, perhaps never."""
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", begin, end), loop, after)
    builder.position_at_end(loop)
    number = builder.phi(INT)
    found = [builder.phi(VECTOR) for _ in start]
    new = step(number, found)
    following = builder.add(number, INT(stride))
    last = builder.block
    for phi, initial, later in zip(
        [number, *found], [begin, *start], [following, *new], strict=True
    ):
        phi.add_incoming(initial, before)
        phi.add_incoming(later, last)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
    builder.position_at_end(after)
    ended = [builder.phi(VECTOR) for _ in start]
    for phi, initial, later in zip(ended, start, new, strict=True):
        phi.add_incoming(initial, before)
        phi.add_incoming(later, last)
    return ended


def across(builder: Any, vectors: list[Any], join: Callable[[Any, Any, Any], Any]) -> Any:
    """A vector of what `join` makes of the lanes of each of 16 vectors.

    Two vectors at a time are halved: their lower lanes, put together, with their upper lanes.
    """
    width = LANES  # lanes that still belong to one vector
    while width > 1:
        half = width // 2
        starts = range(0, 2 * LANES, width)
        lower, upper = (
            ir.Constant(INTS, [start + shift + lane for start in starts for lane in range(half)])
            for shift in (0, half)
        )
        vectors = [
            join(
                builder,
                builder.shuffle_vector(one, two, lower),
                builder.shuffle_vector(one, two, upper),
            )
            for one, two in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    return vectors[0]


def greater(builder: Any, one: Any, other: Any) -> Any:
    """The greater of each lane; `one` where `other` is NaN."""
    return builder.select(builder.fcmp_ordered("<", one, other), other, one)


def total_of(builder: Any, one: Any, other: Any) -> Any:
    """The sum of each lane."""
    return builder.fadd(one, other)


def absolute(builder: Any, value: Any) -> Any:
    """Each lane without its sign."""
    return _by_llvm(builder, "fabs", value)


def root(builder: Any, value: Any) -> Any:
    """The square root of each lane."""
    return _by_llvm(builder, "sqrt", value)


def _by_llvm(builder: Any, name: str, value: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR])
    function = builder.module.declare_intrinsic(f"llvm.{name}.v{LANES}f32", fnty=kind)
    return builder.call(function, [value])


def store_first(builder: Any, value: Any, target: Any, at: Any, width: Any) -> None:
    """Store the lanes of a vector that belong to the row."""
    for lane in range(LANES):
        here = builder.add(at, INT(lane))
        with builder.if_then(builder.icmp_signed("<", here, width)):
            builder.store(builder.extract_element(value, SHORT(lane)), builder.gep(target, [here]))


def exp(builder: Any, value: Any) -> Any:
    """exp of numbers up to 0, to 1.3 units in the last place; NaN of NaN."""
    value = greater(builder, value, constant(_LEAST))
    # value = n ln(2) + r with an integer n, which the lowest bits of `shifted` hold.
    shifted = multiply_add(builder, value, constant(1.4426950408889634), constant(_TO_INTEGER))
    # An instruction with a flag is spared those of fast math, which would undo the rounding.
    n = builder.fsub(shifted, constant(_TO_INTEGER), flags=_CONTRACT)
    r = value
    for part in _LN2:
        r = multiply_add(builder, n, constant(-part), r)
    found = constant(_EXP[0])
    for coefficient in _EXP[1:]:
        found = multiply_add(builder, found, r, constant(coefficient))
    found = multiply_add(builder, builder.fmul(found, r), r, builder.fadd(r, constant(1.0)))
    exponent = builder.shl(builder.bitcast(shifted, INTS), ir.Constant(INTS, [23] * LANES))
    power = builder.add(exponent, ir.Constant(INTS, [127 << 23] * LANES))
    return builder.fmul(found, builder.bitcast(power, VECTOR))


def multiply_add(builder: Any, one: Any, other: Any, more: Any) -> Any:
    """one * other + more."""
    return builder.fadd(builder.fmul(one, other, flags=_CONTRACT), more, flags=_CONTRACT)


def splat(builder: Any, value: Any) -> Any:
    """A vector of one float."""
    return spread(builder, value, VECTOR)


def spread(builder: Any, value: Any, kind: Any) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, SHORT(0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(INTS, [0] * LANES)
    )


def lane_of(builder: Any, value: Any, lane: int) -> Any:
    """A vector of one lane."""
    return builder.shuffle_vector(value, value, ir.Constant(INTS, [lane] * LANES))


def constant(number: float) -> Any:
    """A vector of one known float."""
    return ir.Constant(VECTOR, [number] * LANES)


def row_of(builder: Any, matrix: Any, number: Any) -> Any:
    """Where a row begins."""
    columns = builder.extract_value(matrix.shape, 1)
    return builder.gep(matrix.data, [builder.mul(number, columns)])


def load(builder: Any, array: Any, at: Any, kind: Any = VECTOR) -> Any:
    """The vector that begins at a place of an array."""
    return builder.load(builder.bitcast(builder.gep(array, [at]), kind.as_pointer()), align=4)


def store(builder: Any, value: Any, array: Any, at: Any) -> None:
    """Store a vector from a place of an array on."""
    builder.store(value, builder.bitcast(builder.gep(array, [at]), VECTOR.as_pointer()), align=4)

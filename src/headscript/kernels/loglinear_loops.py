"""The loops over vectors of `headscript.kernels.loglinear`, written down for LLVM."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from headscript.kernels.compiled import written
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
    row_of,
    splat,
    spread,
    store,
    store_first,
    total_of,
)


@written()
def score_tile(
    builder: Any,
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
) -> None:
    """The scores of queries `top` and keys `left` and on, 16 each, to columns `left` of `scores`.

    The addends are the first `alone` of those chosen, which have no relation, and those from
    `begin` to `end`, which have one.
    """
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
        store(builder, total, row_of(builder, scores, INT(row)), left)


@written(types.boolean)
def exponentials(builder: Any, scores: Any, shares: Any, top: Any, tokens: Any, causal: Any) -> Any:
    """Turn the scores of queries `top` and on into exponentials, and say what to multiply them by.

    The greatest of a row becomes 1. Rows and columns beyond the text are computed and mean nothing.
    Returns whether all rows have a finite sum.
    """
    end = builder.select(causal, builder.add(top, INT(1)), tokens)  # of columns
    rows = [row_of(builder, scores, INT(row)) for row in range(LANES)]

    def greatest(left: Any, found: list[Any]) -> list[Any]:
        new = []
        for number, (row, most) in enumerate(zip(rows, found, strict=True)):
            width = builder.select(causal, builder.add(top, INT(number + 1)), tokens)
            here = builder.trunc(builder.sub(width, left), SHORT)
            inside = builder.icmp_signed("<", LANE, spread(builder, here, INTS))
            value = builder.select(inside, load(builder, row, left), constant(float("-inf")))
            store(builder, value, row, left)
            new.append(greater(builder, most, value))
        return new

    start = [constant(float("-inf"))] * LANES
    most = across(builder, over_columns(builder, end, start, greatest), greater)

    def summed(left: Any, found: list[Any]) -> list[Any]:
        new = []
        for number, (row, total) in enumerate(zip(rows, found, strict=True)):
            value = builder.fsub(load(builder, row, left), lane_of(builder, most, number))
            value = exp(builder, value)
            store(builder, value, row, left)
            new.append(builder.fadd(total, value))
        return new

    start = [constant(0.0)] * LANES
    total = across(builder, over_columns(builder, end, start, summed), total_of)
    store(builder, builder.fdiv(constant(1.0), total), shares.data, INT(0))
    inside = builder.trunc(builder.sub(tokens, top), SHORT)
    beyond = builder.icmp_signed(">=", LANE, spread(builder, inside, INTS))
    sound = builder.fcmp_ordered("<", total, constant(float("inf")))
    bits = builder.bitcast(builder.or_(sound, beyond), ir.IntType(LANES))
    return builder.icmp_signed("==", bits, ir.Constant(ir.IntType(LANES), -1))


@written()
def write(
    builder: Any, scores: Any, row: Any, shares: Any, width: Any, out: Any, place: Any, offset: Any
) -> None:
    """Write the first `width` exponentials of a row times its share to `out[place, offset:]`."""
    source = row_of(builder, scores, row)
    target = builder.gep(row_of(builder, out, place), [offset])
    share = splat(builder, builder.load(builder.gep(shares.data, [row])))
    # Whole vectors go beyond the row where what follows is written later.
    room = builder.sub(builder.extract_value(out.shape, 1), offset)

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

"""Values of tokens and of pairs, derived step by step from what each token says alone, compiled.

A step computes one row of values, (places,), or one square of them, (queries, keys), from others.
All are float32, conditions 0 or 1. Rows and squares are wider than the text, and 0 beyond it; of a
decoder, squares stay as they were above the tiles on the diagonal. `headscript.programs.derivation`
writes the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from headscript.kernels.compiled import compiled
from headscript.kernels.steps import NUMBER, OF_KEY, OF_QUERY, WHOLE, WIDTH, Cell, Row, Square

_KNOWN = 1024
with np.errstate(divide="ignore"):
    _LOGS = np.log(np.arange(_KNOWN, dtype=np.float32))  # of counts, which are what is asked for


def _scatter(
    tokens: Any,  # (n,) the number of each token
    starts: Any,  # (tokens seen + 1,) where the values of each begin that are not 0, ...
    columns: Any,  # ... whose these are, ...
    numbers: Any,  # ... and what they are
    rows: Any,  # (rows, padded)
) -> None:
    """What each token says alone; all other values become 0, those of row 0 become 1."""
    rows[:] = np.float32(0)
    rows[0, : len(tokens)] = np.float32(1)
    for place in range(len(tokens)):
        token = tokens[place]
        for at in range(starts[token], starts[token + 1]):
            rows[columns[at], place] = numbers[at]


def _cells(kind: int, x: Any, dx: int, y: Any, dy: int, n: int, out: Any, at: int) -> None:
    """So many cells of `x[dx:]` and `y[dy:]`, to `out[at:]`."""
    one, zero = np.float32(1), np.float32(0)
    if kind == Cell.MULTIPLY or kind == Cell.AND:
        for j in range(n):
            out[at + j] = x[dx + j] * y[dy + j]
    elif kind == Cell.ADD:
        for j in range(n):
            out[at + j] = x[dx + j] + y[dy + j]
    elif kind == Cell.SUBTRACT:
        for j in range(n):
            out[at + j] = x[dx + j] - y[dy + j]
    elif kind == Cell.APART:
        for j in range(n):
            out[at + j] = abs(x[dx + j] - y[dy + j])
    elif kind == Cell.DIVIDE:
        for j in range(n):
            out[at + j] = x[dx + j] / y[dy + j]
    elif kind == Cell.LESS:
        for j in range(n):
            out[at + j] = one if x[dx + j] < y[dy + j] else zero
    elif kind == Cell.AT_MOST:
        for j in range(n):
            out[at + j] = one if x[dx + j] <= y[dy + j] else zero
    elif kind == Cell.EQUAL:
        for j in range(n):
            out[at + j] = one if x[dx + j] == y[dy + j] else zero
    elif kind == Cell.NOT_EQUAL:
        for j in range(n):
            out[at + j] = one if x[dx + j] != y[dy + j] else zero
    elif kind == Cell.OR:
        for j in range(n):
            out[at + j] = max(x[dx + j], y[dy + j])
    elif kind == Cell.NOT:
        for j in range(n):
            out[at + j] = one - x[dx + j]
    else:
        _CURVES(kind, x, dx, n, out, at)


def _curves(kind: int, x: Any, dx: int, n: int, out: Any, at: int) -> None:
    """Functions that take their time, once where neighbours are alike, as counts mostly are."""
    before = value = np.float32(np.nan)
    for j in range(n):
        if x[dx + j] != before:
            before = x[dx + j]
            if kind == Cell.EXP:
                value = np.exp(before)
            elif kind == Cell.ROOT:
                value = np.sqrt(before)
            elif 0 <= before < _KNOWN and before == int(before):
                value = _LOGS[int(before)]
            else:
                value = np.log(before)
        out[at + j] = value


def _derive_rows(
    steps: Any,  # (steps, 6): kind, out, first, whether it is a number, second, whether it is
    numbers: Any,
    ids: Any,  # (n,) of tokens
    rows: Any,
) -> None:
    """Compute rows, those of a token in the order of the steps."""
    n, padded = len(ids), rows.shape[1]
    flat = rows.reshape(-1)
    x, y = np.empty(n, np.float32), np.empty(n, np.float32)
    for step in range(len(steps)):
        kind, out = steps[step, 0], steps[step, 1]
        first, second = steps[step, 2], steps[step, 4]
        number = 0
        for i in range(n):
            x[i] = numbers[first] if steps[step, 3] else flat[first * padded + i]
        for i in range(n):
            y[i] = numbers[second] if steps[step, 5] else flat[second * padded + i]
        if steps[step, 5]:
            number = int(numbers[second])
        if kind < Cell.LAST:
            _CELLS(kind, x, 0, y, 0, n, flat, out * padded)
        else:
            _ALONG(kind, x, y, number, ids, rows[out])


def _along(kind: int, x: Any, y: Any, number: int, ids: Any, out: Any) -> None:
    """One row that is computed from the text's first token to its last."""
    n = len(ids)
    one, zero = np.float32(1), np.float32(0)
    count = zero
    since = 0
    if kind == Row.PLACE:
        for i in range(n):
            out[i] = i
    elif kind == Row.AT:
        for i in range(n):
            out[i] = one if i == number else zero
    elif kind == Row.AT_END:
        for i in range(n):
            out[i] = one if i == n - 1 else zero
    elif kind == Row.AFTER:
        for i in range(n):
            out[i] = x[i - 1] if i else zero
    elif kind == Row.NTH:
        for i in range(n):
            if x[i] != 0:
                since += 1
            out[i] = one if x[i] != 0 and since == number else zero
    elif kind == Row.COUNT:
        for i in range(n):
            count += x[i]
            out[i] = count
    elif kind == Row.ODD_BEFORE:
        for i in range(n):
            out[i] = count % 2
            count += x[i]
    elif kind == Row.OPENS:  # x: what ends a sentence; y: tokens without a word
        waiting = True
        for i in range(n):
            out[i] = one if waiting and y[i] == 0 else zero
            if x[i] != 0:
                waiting = True
            elif y[i] == 0:
                waiting = False
    elif kind == Row.SINCE:
        for i in range(n):
            if x[i] != 0:
                since = i
            out[i] = i - since
    elif kind == Row.OCCURRENCE:
        for i in range(n):
            same = 0
            for j in range(i + 1):
                same += ids[j] == ids[i]
            out[i] = same
    else:  # Row.SAME_AS: the first place of the token
        for i in range(n):
            first = 0
            while ids[first] != ids[i]:
                first += 1
            out[i] = first


def _derive_squares(
    steps: Any,  # (steps, 6): kind, out, first, how it is seen, second, how it is seen
    numbers: Any,
    rows: Any,
    n: int,
    causal: bool,
    squares: Any,  # (squares, padded, padded)
) -> None:
    """Compute squares; of a decoder the tiles alone that it looks at."""
    padded = squares.shape[1]
    flat, of_tokens = squares.reshape(-1), rows.reshape(-1)
    x, y = np.empty(padded, np.float32), np.empty(padded, np.float32)
    for step in range(len(steps)):
        kind, out = steps[step, 0], steps[step, 1] * padded * padded
        first, seen_first, second, seen = steps[step, 2:6]
        # What is alike for all queries is looked up once.
        if seen_first in (OF_KEY, NUMBER):
            _FILL(first, seen_first, of_tokens, numbers, 0, n, padded, x)
        if seen in (OF_KEY, NUMBER):
            _FILL(second, seen, of_tokens, numbers, 0, n, padded, y)
        number = int(numbers[second]) if seen == NUMBER else 0
        latest = -1
        for i in range(n):
            end = min(padded, (i // WIDTH + 1) * WIDTH) if causal else padded
            width = min(n, end)
            at = out + i * padded
            if kind < Cell.LAST:
                if seen_first == OF_QUERY:
                    _FILL(first, seen_first, of_tokens, numbers, i, width, padded, x)
                if seen == OF_QUERY:
                    _FILL(second, seen, of_tokens, numbers, i, width, padded, y)
                dx, dy = (first * padded + i) * padded, (second * padded + i) * padded
                if seen_first == WHOLE and seen == WHOLE:
                    _CELLS(kind, flat, dx, flat, dy, width, flat, at)
                elif seen_first == WHOLE:
                    _CELLS(kind, flat, dx, y, 0, width, flat, at)
                elif seen == WHOLE:
                    _CELLS(kind, x, 0, flat, dy, width, flat, at)
                else:
                    _CELLS(kind, x, 0, y, 0, width, flat, at)
            elif kind == Square.LATEST:
                if x[i] != 0:
                    latest = i
                for j in range(width):
                    flat[at + j] = np.float32(0)
                if latest >= 0:
                    flat[at + latest] = np.float32(1)
            else:
                _PAIRS(kind, x, y, number, i, n, width, causal, flat, at)
            for j in range(width, end):
                flat[at + j] = np.float32(0)
        for j in range(n * padded, padded * padded):
            flat[out + j] = np.float32(0)


def _fill(
    which: int, seen: int, rows: Any, numbers: Any, i: int, width: int, padded: int, into: Any
) -> None:
    """The cells of a query, of a row or a number."""
    if seen == OF_KEY:
        at = which * padded
        for j in range(width):
            into[j] = rows[at + j]
    else:
        value = rows[which * padded + i] if seen == OF_QUERY else numbers[which]
        for j in range(width):
            into[j] = value


def _pairs(
    kind: int,
    x: Any,  # (n,)
    y: Any,
    number: int,
    i: int,
    n: int,
    width: int,
    causal: bool,
    out: Any,
    at: int,
) -> None:
    """The cells of a query, as many as it has, to `out[at:]`; x and y are rows."""
    one, zero = np.float32(1), np.float32(0)
    here, other = x[i], y[i]
    if kind == Square.DISTANCE:
        for j in range(width):
            out[at + j] = abs(i - j)
    elif kind == Square.BACK:
        for j in range(width):
            out[at + j] = one if i - j == number else zero
    elif kind == Square.WITHIN:
        for j in range(width):
            out[at + j] = one if abs(i - j) <= number else zero
    elif kind == Square.EARLIER:
        for j in range(width):
            out[at + j] = one if j < i else zero
    elif kind == Square.ALLOWED:
        for j in range(width):
            out[at + j] = one if j <= i or not causal else zero
    elif kind == Square.SAME:
        for j in range(width):
            out[at + j] = one if x[j] == here else zero
        out[at + i] = zero
    elif kind == Square.AFTER_SAME:
        out[at] = zero
        for j in range(1, width):
            out[at + j] = one if x[j - 1] == here and j <= i else zero
    elif kind == Square.AFTER_SAME_PAIR:
        out[at] = zero
        for j in range(1, width):
            same = x[j - 1] == here and y[j - 1] == other
            out[at + j] = one if same and j <= i else zero
    elif kind == Square.BEFORE_SAME:
        out[at + width - 1] = zero
        for j in range(width - 1):
            out[at + j] = one if x[j + 1] == here and j + 1 < i else zero
    else:  # Square.BEFORE
        last = min(width, n - 1)
        out[at + width - 1] = zero
        for j in range(last):
            out[at + j] = one if x[j + 1] != 0 and (j < i or not causal) else zero


_CURVES = njit(error_model="numpy")(_curves)
_CELLS = njit(error_model="numpy")(_cells)
_ALONG = njit(error_model="numpy")(_along)
_FILL = njit(error_model="numpy")(_fill)
_PAIRS = njit(error_model="numpy")(_pairs)
scatter = compiled(
    "void(int64[::1], int64[::1], int32[::1], float32[::1], float32[:, ::1])",
    _scatter,
    error_model="numpy",
)
derive_rows = compiled(
    "void(int32[:, ::1], float32[::1], int64[::1], float32[:, ::1])",
    _derive_rows,
    error_model="numpy",
)
derive_squares = compiled(
    "void(int32[:, ::1], float32[::1], float32[:, ::1], int64, boolean, float32[:, :, ::1])",
    _derive_squares,
    error_model="numpy",
)

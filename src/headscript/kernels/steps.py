"""What the steps of `headscript.kernels.derived` compute: rows, one value a token, and squares.

How an operand is seen from pairs of query and key stands beside it: `WHOLE`, a square; `OF_QUERY`
and `OF_KEY`, a row; `NUMBER`, one of the literal numbers.
"""

from __future__ import annotations

from enum import IntEnum, auto

WIDTH = 16  # of the tiles on the diagonal, above which a decoder does not look
WHOLE, OF_QUERY, OF_KEY, NUMBER = range(4)


class Cell(IntEnum):
    """What is computed cell by cell, of rows and of squares."""

    ADD = auto()
    SUBTRACT = auto()
    MULTIPLY = auto()
    DIVIDE = auto()
    LESS = auto()
    AT_MOST = auto()
    EQUAL = auto()
    NOT_EQUAL = auto()
    AND = auto()
    OR = auto()
    NOT = auto()
    LOG = auto()
    EXP = auto()
    ROOT = auto()
    APART = auto()
    LAST = auto()  # none; the next are of other kinds


class Row(IntEnum):
    """What is computed along a text, of rows; the second operand may be a number."""

    PLACE = int(Cell.LAST)
    AT = auto()
    AT_END = auto()
    AFTER = auto()
    NTH = auto()
    COUNT = auto()
    ODD_BEFORE = auto()
    OPENS = auto()
    SINCE = auto()
    OCCURRENCE = auto()
    SAME_AS = auto()


class Square(IntEnum):
    """What is computed of pairs, from a row, two rows or a number."""

    DISTANCE = int(Cell.LAST)
    BACK = auto()
    WITHIN = auto()
    EARLIER = auto()
    ALLOWED = auto()
    SAME = auto()
    AFTER_SAME = auto()
    AFTER_SAME_PAIR = auto()
    BEFORE_SAME = auto()
    LATEST = auto()
    BEFORE = auto()

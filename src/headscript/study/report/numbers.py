"""How numbers are written: alike in all tables, and as the single commands write them."""

from __future__ import annotations

from collections.abc import Sequence

NONE = ""
"""What stands where nothing is known."""


def iou(value: float | None) -> str:
    """An IoU."""
    return NONE if value is None else f"{value:.3f}"


def iou_interval(value: float | None, low: float | None, high: float | None) -> str:
    """An IoU with its 95 % interval, where that is known."""
    if value is None or low is None or high is None:
        return iou(value)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def difference(value: float | None) -> str:
    """A difference of two IoUs, as they are written in full."""
    return NONE if value is None else f"{value:+.3f}"


def correlation(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A rank correlation, with its interval where that is known."""
    if value is None:
        return NONE
    if interval is None:
        return f"{value:+.2f}"
    return f"{value:+.2f} ({interval[0]:+.2f} to {interval[1]:+.2f})"


def increase(value: float | None) -> str:
    """An increase in per cent, with as many digits as say something."""
    if value is None:
        return NONE
    digits = 1 if abs(value) < 0.9995 else 0
    return f"{100 * value:+,.{digits}f} %"


def increase_interval(value: float, low: float, high: float) -> str:
    """The same with its 95 % interval."""
    return f"{increase(value)} ({increase(low)} to {increase(high)})"


def share(part: float | None) -> str:
    """A part of a whole, in per cent, with up to four digits."""
    return NONE if part is None else f"{100 * part:.4g} %"


def rounded_share(part: float | None) -> str:
    """A part of a whole that was measured, in per cent."""
    return NONE if part is None else f"{100 * part:.1f} %"


def share_interval(part: float, interval: Sequence[float] | None) -> str:
    """The same with its 95 % interval, where that is known."""
    if interval is None:
        return rounded_share(part)
    return f"{rounded_share(part)} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def accuracy(value: float | None, error: float | None, *, signed: bool = False) -> str:
    """Per cent of right answers, or a change of it, with its standard error."""
    if value is None:
        return NONE
    number = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return number if error is None else f"{number} ± {100 * error:.1f}"


def memory(megabytes: float | None) -> str:
    """So much memory."""
    return NONE if megabytes is None else f"{megabytes / 1000:.1f} GB"


def dollars(value: float | None) -> str:
    """A price."""
    return NONE if value is None else f"${value:,.2f}"


def whole(number: float | None) -> str:
    """A count."""
    return NONE if number is None else f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """So many of something, in the singular or the plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """Items as a sentence lists them."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"

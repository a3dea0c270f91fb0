"""How times and names are said: alike in every command, page and report."""

from __future__ import annotations

from math import isfinite
from pathlib import Path


def duration(seconds: float | None) -> str:
    """A time as a person would say it; nothing where it is not known."""
    if seconds is None or not isfinite(seconds):
        return ""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short_name(name: str) -> str:
    """A model or texts as a page that is passed on may name them: of a path the last part.

    What has a name keeps it: stories, and on the hub owner/model.
    """
    is_path = name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1
    return (Path(name.replace("\\", "/")).name or name) if is_path else name


def too_good(seen: int, texts: str, programs: str = "The programs") -> str:
    """The warning where scores are of texts some of which programs have seen."""
    return (
        f"{programs} were fitted or chosen on {seen} of {texts}, or on others that these repeat: "
        "their numbers are too good."
    )

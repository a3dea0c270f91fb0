"""What tests of the command line share."""

from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
"""Runs the command line with these arguments."""

"""Progress as data: the library reports what it does, only the command line draws it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of a long job."""

    stage: str
    """What is being done, as a reader would say it: "recording", "searching"."""
    done: int
    """Units finished."""
    total: int
    """Units in all; 0 where it is not known."""
    message: str = ""
    """One line worth showing, or nothing."""


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not want to know."""

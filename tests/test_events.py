import dataclasses

import pytest

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore


def test_a_listener_hears_events_in_order() -> None:
    heard: list[Event] = []

    def count(total: int, on_event: Listener = ignore) -> None:
        for done in range(1, total + 1):
            on_event(Event("counting", done, total))

    count(2)
    count(3, heard.append)
    assert heard == [Event("counting", done, 3, "") for done in (1, 2, 3)]


def test_an_event_stays_as_it_was() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Event("recording", 1, 2).done = 2  # type: ignore[misc]


def test_the_one_error_is_its_sentence() -> None:
    assert str(HeadscriptError("There is no file x.txt.")) == "There is no file x.txt."
    assert not issubclass(HeadscriptError, OSError | ValueError)

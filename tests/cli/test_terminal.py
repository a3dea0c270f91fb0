"""Where output goes, and what stages say of themselves."""

import io
import json
import re
import sys

import pytest
from rich.console import Console

from headscript.cli import terminal
from headscript.events import Event


def drawn(*, width: int = 100, colour: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
    )


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_progress_goes_to_standard_error_and_so_does_what_libraries_print(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal.progress() as on_event:
        on_event(Event("recording", 0, 4, "Recording [bold] 4 patterns"))
        sys.stdout.write("a library speaks\n")
        on_event(Event("recording", 4, 4))
        on_event(Event("searching", 1, 2))
    terminal.print_json({"a": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert "Recording [bold] 4 patterns" in captured.err
    assert "a library speaks" in captured.err
    assert "recording: 4 of 4" in captured.err
    assert "searching: 1 of 2" in captured.err


def test_bars_follow_the_stages() -> None:
    console = drawn(colour=True)
    with terminal._bars(console) as bars:
        listen = terminal._Bars(bars)
        listen(Event("loading", 0, 0, "loading [model]"))
        bars.refresh()
        listen(Event("recording", 0, 4, "costs [much]"))
        listen(Event("recording", 4, 4))
        listen(Event("recording", 0, 2))
        listen(Event("searching", 1, 2))
    assert [task.description for task in bars.tasks] == [
        *("loading", "recording", "recording", "searching")
    ]
    assert [task.completed for task in bars.tasks] == [1, 4, 0, 1]
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said(console))
    assert "costs [much]" in plain
    assert "loading [model]" in plain

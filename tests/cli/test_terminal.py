"""What is drawn on a terminal."""

import io
import json
import re
import sys

import pytest
import torch
from rich.console import Console

from headscript.cli import tables, terminal
from headscript.cli.patterns import blocks, side_by_side
from headscript.evaluation import Sighting
from headscript.events import Event
from headscript.heads import Head


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


def test_weights_become_blocks() -> None:
    assert blocks([0.0, 0.02, 0.05, 0.2, 0.3, 1.0]) == " ·░▒▓█"


def test_patterns_stand_side_by_side_and_are_cut_to_the_width() -> None:
    n = 60
    eye = torch.eye(n)
    sighting = Sighting("t", 1.0, tuple(f" w{i}" for i in range(n)), eye, eye.roll(-1, 1))
    console = drawn(width=80)
    console.print(side_by_side(sighting, 80))
    lines = said(console).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "the first 32 of 60 tokens"
    assert re.fullmatch(r"\s+_w3 {4}█ {33}█\s*", lines[5])


def test_labels_show_what_cannot_be_seen() -> None:
    sighting = Sighting("t", 1.0, (" the", "\n", "incomprehensible"), torch.eye(3), torch.eye(3))
    console = drawn()
    console.print(side_by_side(sighting, 100))
    assert "_the" in said(console)
    assert "\\n" in said(console)
    assert "incomprehen…" in said(console)


def test_heads_are_a_grid_where_it_fits_and_lines_where_not() -> None:
    scores = {Head(layer, head): 0.1 * layer for layer in (0, 3) for head in range(12)}
    scores[Head(3, 5)] = 1.0
    grid = drawn()
    tables.print_heads(grid, scores, 12)
    lines = said(grid).splitlines()
    assert lines[0].split()[:3] == ["H0", "H1", "H2"]
    assert lines[2].split() == ["L3", *["30"] * 5, "100", *["30"] * 6, "0.36"]
    narrow = drawn(width=60)
    tables.print_heads(narrow, scores, 12)
    assert "lowest" in said(narrow)
    assert max(map(len, said(narrow).splitlines())) <= 60


def test_the_digits_of_a_cell_can_be_read_on_its_colour() -> None:
    def light(name: str) -> float:
        red, green, blue = map(int, name.split(","))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    for percent in range(101):
        text, style = tables._cell(percent / 100, 3)
        assert int(text) == percent
        ink, ground = (light(rgb) for rgb in re.findall(r"rgb\(([\d,]+)\)", style))
        assert abs(ink - ground) > 85


def test_lists_break_between_items() -> None:
    assert tables.listed(["one two", "three", "four five"], width=15) == (
        "one two, three,\nfour five"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.24, "0.2 s"), (59.4, "59 s"), (128, "2 min 08 s"), (3_700, "1 h 01 min")],
)
def test_times_are_said_as_a_person_would(seconds: float, words: str) -> None:
    assert terminal.duration(seconds) == words


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

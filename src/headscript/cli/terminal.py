"""Where output goes: results to standard output, progress to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from headscript.events import Event, Listener
from headscript.wording import duration


def console() -> Console:
    """The console that results are printed on."""
    return Console(highlight=False)


def print_json(value: Any) -> None:
    """Write one JSON object to standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def progress() -> Iterator[Listener]:
    """Give a listener that draws bars on standard error; where that is a file, plain lines.

    Whatever a library prints meanwhile goes to standard error, so that results stay alone.
    """
    screen = Console(stderr=True, highlight=False)
    with contextlib.redirect_stdout(sys.stderr):
        if screen.is_terminal:
            with _bars(screen) as bars:
                yield _Bars(bars)
        else:
            lines = _Lines(screen)
            yield lines
            lines.finish()


class _Elapsed(ProgressColumn):
    """What a stage took so far."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(duration(elapsed or 0), style="dim")


class _Count(MofNCompleteColumn):
    """Done and total, or nothing where the total is not known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total else Text("")


def _bars(screen: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(bar_width=32, complete_style="cyan", finished_style="cyan", pulse_style="cyan"),
        _Count(),
        _Elapsed(),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
        console=screen,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class _Bars:
    """A bar for each stage."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.stage = ""
        self.task: TaskID | None = None
        self.done = 0

    def __call__(self, event: Event) -> None:
        if self.task is None or event.stage != self.stage or event.done < self.done:
            self._finish()
            self.task = self.bars.add_task(event.stage, total=None, message="")
            self.stage = event.stage
        self.done = event.done
        message = "" if event.total else event.message
        if event.total and event.message:
            self.bars.console.print(event.message, style="dim", markup=False)
        self.bars.update(
            self.task, completed=event.done, total=event.total or None, message=message
        )

    def _finish(self) -> None:
        """A stage without a known total is over when the next begins."""
        if self.task is not None and not self.bars.tasks[self.task].finished:
            task = self.bars.tasks[self.task]
            if task.total is None:
                self.bars.update(self.task, completed=1, total=1, message="")
            self.bars.stop_task(self.task)


class _Lines:
    """A line when a stage says something, and one when it is over."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.last: Event | None = None
        self.began = time.monotonic()
        self.message = ""

    def __call__(self, event: Event) -> None:
        last = self.last
        if last is None or event.stage != last.stage or event.done < last.done:
            self.finish()
            self.began = time.monotonic()
        if event.message and event.message != self.message:
            self._print(f"{event.stage}: {event.message}")
            self.message = event.message
        self.last = event

    def finish(self) -> None:
        """Say how far the stage came, if it counts."""
        if self.last is not None and self.last.total:
            took = duration(time.monotonic() - self.began)
            self._print(f"{self.last.stage}: {self.last.done} of {self.last.total}, {took}")
        self.last = None

    def _print(self, line: str) -> None:
        self.screen.print(line, markup=False, soft_wrap=True)

"""What tests of the command line share."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from headscript.cli import main


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
"""Runs the command line with these arguments."""


def called(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> Answer:
    """The command line, called in this process: starting another each time takes seconds."""
    monkeypatch.setattr(sys, "argv", ["headscript", *map(str, arguments)])
    capfd.readouterr()
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    return Answer(code, *capfd.readouterr())


def command(*arguments: object) -> Answer:
    """The command line in this process, for runs that several tests look at."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["headscript", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())

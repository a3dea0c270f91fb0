"""The command line in the tests' own process."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Answer, Command

from headscript.cli import main


@pytest.fixture
def headscript(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line, called in this process: starting another each time takes seconds."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["headscript", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


@pytest.fixture
def refused(headscript: Command) -> Callable[..., str]:
    """The one sentence on standard error; nothing else was written, and the exit code is 2."""

    def call(*arguments: object) -> str:
        answer = headscript(*arguments)
        assert answer.code == 2, answer
        assert answer.out == ""
        (told,) = (line for line in answer.err.splitlines() if line.startswith("headscript: "))
        return told

    return call


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(small_run, tmp_path / "run")

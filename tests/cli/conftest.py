"""The command line in the tests' own process."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.cli.commands import Command, called


@pytest.fixture
def headscript(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process, on a screen of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return partial(called, monkeypatch, capfd)


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

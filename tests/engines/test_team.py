"""How items are given to workers that may die; on scripted processes, so that there can be many."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from headscript.engines import processes
from headscript.engines.local import LocalEngine
from headscript.errors import HeadscriptError
from headscript.runs import Run

SCRIPT = Path(__file__).with_name("scripted_worker.py")


class Scripted:
    """The engine of this machine with scripted workers, and what these were given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        self.command = [sys.executable, "-S", "-E", str(SCRIPT), str(folder)]
        monkeypatch.setattr(processes, "start", self._start)

    def engine(self, workers: int) -> LocalEngine:
        return LocalEngine(Run(self.folder, None), workers)  # type: ignore[arg-type]

    def given(self) -> list[str]:
        file = self.folder / "given"
        return file.read_text().splitlines() if file.exists() else []

    def running(self) -> int:
        return sum(process.poll() is None for process in self.started)

    def _start(self, *arguments: object, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(tmp_path, monkeypatch)


@pytest.mark.parametrize("workers", [1, 2, 5, 20])
def test_each_item_is_done_once_by_no_more_workers_than_asked_for(
    workers: int, scripted: Scripted
) -> None:
    items = [f"do {number}" for number in range(9)]
    engine = scripted.engine(workers)
    assert sorted(engine.run(items)) == items
    assert sorted(scripted.given()) == items
    assert len(scripted.started) == min(workers, len(items))
    assert scripted.running() == 0
    assert engine.peak_bytes <= 1000 * min(workers, len(items))
    assert engine.peak_bytes >= 1000


def test_there_may_be_nothing_to_do(scripted: Scripted) -> None:
    assert list(scripted.engine(2).run([])) == []
    assert not scripted.started


def test_no_worker_gets_another_item_while_its_last_is_not_taken(scripted: Scripted) -> None:
    workers, items = 3, [f"do {number}" for number in range(50)]
    run = scripted.engine(workers).run(items)
    for taken in range(1, 6):
        next(run)
        time.sleep(0.05)
        assert len(scripted.given()) <= taken + workers
    run.close()
    assert scripted.running() == 0
    assert len(scripted.given()) < 10


def test_what_killed_workers_had_in_hand_is_done_again_and_nothing_else(scripted: Scripted) -> None:
    items = ["do 0", "stumble 1", "do 2", "stumble 3", "do 4", "stumble 5"]
    assert sorted(scripted.engine(2).run(items)) == sorted(items)
    assert Counter(scripted.given()) == {item: 1 + ("stumble" in item) for item in items}
    # The last that dies is not replaced where the other one is free to take its item.
    assert len(scripted.started) in (2 + 2, 2 + 3)
    assert scripted.running() == 0


def test_an_item_that_goes_on_killing_its_workers_ends_the_run_with_a_sentence(
    scripted: Scripted,
) -> None:
    run = scripted.engine(2).run(["do 0", "do 1", "die 2"])
    with pytest.raises(HeadscriptError, match=r"3 processes .*'die 2'.*SIGKILL.*finished work"):
        list(run)
    assert Counter(scripted.given())["die 2"] == 3
    assert scripted.running() == 0


def test_workers_that_never_begin_end_the_run_with_a_sentence(scripted: Scripted) -> None:
    scripted.command = [sys.executable, "-S", "-E", "-c", "raise SystemExit(7)"]
    with pytest.raises(HeadscriptError, match=r"end before they can begin \(exit code 7\)"):
        list(scripted.engine(2).run(["do 0", "do 1"]))
    assert scripted.running() == 0


def test_a_mistake_of_a_person_is_told_as_the_worker_told_it(scripted: Scripted) -> None:
    with pytest.raises(HeadscriptError) as caught:
        list(scripted.engine(2).run(["do 0", "fail 1", "do 2"]))
    assert str(caught.value) == "It cannot be done."
    assert scripted.running() == 0


def test_a_mistake_of_the_program_is_told_with_its_traceback(scripted: Scripted) -> None:
    with pytest.raises(RuntimeError, match="break 0 broke:\nTraceback: a mistake"):
        list(scripted.engine(1).run(["break 0"]))
    assert scripted.running() == 0

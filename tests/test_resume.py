"""kill -9 at any moment, start again: nothing finished is done again, and the end is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headscript.runs import Run

Moment = Callable[[Path], bool]
ARGUMENTS = ["--heads", "L0H1,L1H2,L2,L3H0,L4H5", "--max-terms", "4", "--fit-cells", "3000"]


@pytest.fixture(scope="module")
def command(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """A small job on a real model: seven heads of five layers on a dozen short texts."""
    rows = (shared / "data" / "text" / "tinystories_excerpts.jsonl").read_text().splitlines()
    parts: dict[str, list[str]] = {}
    for row in rows:
        parts.setdefault(json.loads(row)["part"], []).append(row)
    texts = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    texts.write_text("\n".join([*parts["fit"][:9], *parts["test"][:3]]))
    model = str(shared / "models" / "stories260k")
    return [sys.executable, "-m", "headscript", "explain", model, "--texts", str(texts), *ARGUMENTS]


@pytest.fixture(scope="module")
def undisturbed(command: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    start(command, run).wait()
    assert Run.open(run).finished
    return run


def start(command: Sequence[str], run: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in listed.read_text().split()] if listed.exists() else []


def is_running(process: int) -> bool:
    """Whether there is such a process that is not merely waiting to be noticed as dead."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def results(run: Path) -> dict[str, Any]:
    """All that was found; not what it took."""
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    for cost in ("seconds", "peak_memory_mb"):
        found["summary"].pop(cost)
    return found


def finished_work(run: Path) -> dict[str, tuple[int, int]]:
    """Files that are whole, each with what shows that it was not written again."""
    kept = [*run.glob("search/L*.json"), *run.glob("recording/*/shard-*/*.safetensors")]
    return {
        str(file.relative_to(run)): (file.stat().st_ino, file.stat().st_mtime_ns) for file in kept
    }


def has(pattern: str) -> Moment:
    return lambda run: any(run.glob(pattern))


@pytest.mark.parametrize(
    "moment",
    [
        has("recording/fit/shard-*"),
        has("search/L*.json"),
        has("programs/*.py"),
    ],
    ids=["recording", "searching", "writing programs"],
)
def test_killed_and_started_again(
    moment: Moment,
    command: Sequence[str],
    undisturbed: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    run = tmp_path / "run"
    process = start(command, run)
    workers: list[int] = []
    while not moment(run):
        assert process.poll() is None, "it ended before the moment came"
        workers = children(process.pid) or workers
        time.sleep(0.002)
    if "searching" in request.node.name and sys.platform == "linux":
        assert any(map(is_running, workers))
    process.kill()
    process.wait()
    assert not (run / "results.json").exists()
    wait_for(lambda: not any(map(is_running, workers)), "workers outlived the process")
    before = finished_work(run)

    assert start(command, run).wait() == 0
    after = finished_work(run)
    assert {name: after[name] for name in before} == before
    assert after.keys() == finished_work(undisturbed).keys()
    assert results(run) == results(undisturbed)
    for folder in ("programs", "search"):
        one, other = (sorted((place / folder).iterdir()) for place in (run, undisturbed))
        assert [file.name for file in one] == [file.name for file in other]
        assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
    assert not list(run.rglob("*.part"))


def wait_for(condition: Callable[[], bool], complaint: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)

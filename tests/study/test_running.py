"""A study goes on where it was, does each step once, and says what it could not do."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tests.cli.commands import command
from tests.study.conftest import save_study

from headscript.errors import HeadscriptError
from headscript.runs import Run
from headscript.study.crossing import carried
from headscript.study.running import study
from headscript.study.spec import open_study
from headscript.study.steps import steps_of

TAKEN = ("seconds", "planned_seconds", "peak_memory")
"""Columns of what was taken and foreseen, which no two runs share."""


def all_steps(file: Path) -> list[str]:
    return [step.name for step in steps_of(open_study(file).study)]


def told(folder: Path) -> dict[str, Any]:
    """What a study found, without what it took."""
    found: dict[str, Any] = {}
    for file in sorted((folder / "steps").glob("*.json")):
        found[file.name] = json.loads(file.read_text())["found"]
    for file in sorted((folder / "runs").glob("*/*/results.json")):
        results = json.loads(file.read_text())
        for name in ("seconds", "peak_memory_mb"):
            results["summary"].pop(name)
        found[str(file.relative_to(folder))] = results
    for pattern in ("replacement/*/*.json", "versions/*/*.py", "qa/*.json"):
        for file in sorted((folder / "runs").glob(f"*/*/{pattern}")):
            found[str(file.relative_to(folder))] = file.read_text()
    for file in sorted((folder / "results").glob("*.csv")):
        with file.open() as table:
            rows = list(csv.DictReader(table))
        found[file.name] = [
            {name: value for name, value in row.items() if not name.startswith(TAKEN)}
            for row in rows
        ]
    return found


def start(file: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "headscript", "study", str(file), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_after(process: subprocess.Popen[bytes], out: Path, steps: int) -> None:
    """Kill a study, and nothing it left may go on, once so many steps are done."""
    end = time.monotonic() + 240
    while len(list((out / "steps").glob("*.json"))) < steps:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_study_killed_twice_finds_the_same(tiny_study: Path, tmp_path: Path) -> None:
    file = tiny_study.parent / "study.toml"
    out = tmp_path / "killed"
    for steps in (1, 9):
        kill_after(start(file, out), out, steps)
    times = {step: step.stat().st_mtime_ns for step in (out / "steps").glob("*.json")}
    assert len(times) >= 9
    process = start(file, out)
    assert process.wait() == 0
    assert told(out) == told(tiny_study)
    # Nothing that was done is done again.
    assert {step: step.stat().st_mtime_ns for step in times} == times


def test_a_finished_study_is_read_not_made_anew(tiny_study: Path) -> None:
    file = tiny_study.parent / "study.toml"
    before = {path: path.stat().st_mtime_ns for path in (tiny_study / "steps").iterdir()}
    found = study(file, tiny_study)
    assert found.open == []
    assert set(found.done) == set(all_steps(file))
    assert {path: path.stat().st_mtime_ns for path in (tiny_study / "steps").iterdir()} == before


def test_a_budget_puts_off_what_would_take_too_long(tmp_path: Path) -> None:
    file = save_study(tmp_path, questions=False)
    found = study(file, tmp_path / "out", budget_hours=1e-7)
    assert found.done == []
    assert found.open == all_steps(file)
    assert "explain" in found.report.read_text()
    assert not (tmp_path / "out" / "runs").exists()


def test_programs_of_a_run_on_itself_score_as_the_run_says(tiny_study: Path) -> None:
    run = Run.open(tiny_study / "runs" / "decoder" / "tales")
    found = carried(run, run)
    rows = {f"L{row.layer:02d}H{row.head:02d}": row for row in run.results().heads}
    assert {row["head"] for row in found["heads"]} == set(rows)
    for row in found["heads"]:
        assert row["own_iou"] == pytest.approx(rows[row["head"]].iou, abs=1e-6)
    assert found["own"]["mean"] == pytest.approx(run.results().summary.iou.mean, abs=1e-6)
    assert found["best"]["ci95"][0] <= found["best"]["mean"] <= found["best"]["ci95"][1]


def test_the_papers_protocol_flatters(tiny_study: Path) -> None:
    """What is chosen on the sentences does at least as well there as any other choice."""
    step = json.loads((tiny_study / "steps" / "protocol-decoder-tales.json").read_text())["found"]
    for row in step["heads"]:
        assert row["five_iou"] >= row["five_intended_iou"] - 1e-6
    for kind, column in (
        ("five", "five_iou"),
        ("five_intended", "five_intended_iou"),
        ("five_ours", "five_ours_iou"),
        ("unseen", "unseen_iou"),
    ):
        assert step[kind]["mean"] == pytest.approx(fmean(r[column] for r in step["heads"]))
    assert {"uniform", "random token", "random column", "first token"} <= set(step["baselines"])


def test_a_decoder_takes_no_program_that_looks_ahead(tiny_study: Path) -> None:
    step = tiny_study / "steps" / "transfer-decoder-tales-encoder.json"
    found = json.loads(step.read_text())["found"]
    assert found["own"] is None
    source = Run.open(tiny_study / "runs" / "encoder" / "tales").programs("found")
    consistent = sum(program.prefix_consistent for program in source.values())
    assert found["programs"] == consistent
    assert found["unsuited"] == len(source) - consistent


def test_another_study_or_other_things_in_the_folder_are_refused(
    tiny_study: Path, tmp_path: Path
) -> None:
    file = save_study(tmp_path, questions=False)
    with pytest.raises(HeadscriptError, match=r"other settings \(different: models, texts"):
        study(file, tiny_study)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(HeadscriptError, match="is not empty and holds no study"):
        study(file, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_the_command_says_what_it_will_take_and_what_it_did(tiny_study: Path) -> None:
    file = tiny_study.parent / "study.toml"
    plan = command("study", file, "--plan", "--json")
    foreseen = json.loads(plan.out)
    assert [step["name"] for step in foreseen["steps"]] == all_steps(file)
    assert foreseen["seconds"] > 0
    assert "replace" in command("study", file, "--plan").out
    done = json.loads(command("study", file, "--out", tiny_study, "--json").out)
    assert done["open"] == []
    assert Path(done["report"]).is_file()


def test_the_table_of_steps_has_a_row_for_each(tiny_study: Path) -> None:
    with (tiny_study / "results" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == all_steps(tiny_study.parent / "study.toml")

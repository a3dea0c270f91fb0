"""`headscript evaluate`, and the harness's own command with our model type."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headscript.assignment import parse_fractions
from headscript.cli.evaluate import evaluate
from headscript.evaluation.questions import FRACTIONS, LIMIT, evaluate_run
from headscript.evaluation.tasks.loading import TASKS

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")


def test_the_command_prints_a_table(run: Path, data: Path, command: Any) -> None:
    told = command(run, "--data", data, "--limit", 5, "--fractions", "0,0.25,1")
    assert told.code == 0, told.err
    lines = [line.split() for line in told.out.splitlines()]
    rows = {line[0]: line for line in lines if line}
    assert ["heads", "replaced", "0", "%", "25", "%", "100", "%", "guess"] in lines
    assert rows["number"][1:] == ["0", "3", "5"]
    kept = json.loads((run / "qa" / "found.json").read_text())["answers"]
    for name in TASKS:
        shown = " ".join(rows[name][1:])
        for row in kept:
            if row["task"] == name:
                assert f"{100 * row['accuracy']:.1f} ± {100 * row['stderr']:.1f}" in shown
    assert rows["piqa"][-1] == "50.0"
    order = [line[0] for line in lines if line and line[0] in {*TASKS, "mean", "change", "random"}]
    assert order == [*TASKS, "mean", "change", "random"]
    assert "hellaswag: " in told.err
    assert max(map(len, told.out.splitlines()[2:15])) <= 90


def test_the_command_prints_one_json_object(run: Path, data: Path, command: Any) -> None:
    arguments = (run, "--data", data, "--tasks", "copa", "--limit", 3, "--fractions", "0,1")
    told = command(*arguments, "--json")
    found = json.loads(told.out)
    assert found["tasks"] == ["copa"]
    assert found["fractions"] == [0, 1]
    assert (found["programs"], found["order"]) == ("found", "iou")
    assert [row["heads"] for row in found["answers"]] == [0, 5]
    assert {row["guess"] for row in found["answers"]} == {0.5}
    assert [row["heads"] for row in found["mean"]] == [0, 5]


def test_the_command_and_the_library_have_the_same_defaults() -> None:
    defaults = {name: p.default for name, p in inspect.signature(evaluate).parameters.items()}
    own = {name: p.default for name, p in inspect.signature(evaluate_run).parameters.items()}
    assert defaults["tasks"] == ",".join(TASKS)
    assert own["tasks"] == TASKS
    assert parse_fractions(defaults["fractions"]) == own["fractions"] == FRACTIONS
    assert defaults["limit"] == own["limit"] == LIMIT
    assert defaults["batch_size"] == own["batch_size"]


def test_the_harness_command_line_knows_the_model_type(run: Path, data: Path) -> None:
    found = evaluate_run(run, ["piqa"], [0.5], limit=6, data=data).answers[0]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "headscript.lm_eval", "--model", "headscript"),
            *("--model_args", f"run={run},replace=0.5,data={data}"),
            *("--tasks", "local_piqa", "--limit", "6"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "|acc  " in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert "local_piqa" in cells
    assert {f"{found.accuracy:.4f}", f"{found.stderr:.4f}"} <= set(cells)

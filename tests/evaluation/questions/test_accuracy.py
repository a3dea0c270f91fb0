"""How many answers are right, by task and on average, is what the harness says."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

import pytest

from headscript.evaluation.questions import evaluate_run
from headscript.evaluation.tasks import FOLDER
from headscript.evaluation.tasks.loading import TASKS

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from tests.evaluation.questions.asking import lines_of

GUESSES = {
    "hellaswag": 1 / 4,
    "piqa": 1 / 2,
    "sciq": 1 / 4,
    "social_iqa": 1 / 3,
    "copa": 1 / 2,
}


def test_the_evaluation_is_what_the_registered_model_type_gives(run: Path, data: Path) -> None:
    found = evaluate_run(run, TASKS, [0.0, 0.25, 1.0], limit=5, data=data)
    assert [row.heads for row in found.mean] == [0, 3, 5]
    manager = TaskManager(include_path=FOLDER, include_defaults=False, metadata={"data": str(data)})
    results = simple_evaluate(
        "headscript",
        f"run={run},replace=0.25",
        tasks=[f"local_{name}" for name in TASKS],
        limit=5,
        task_manager=manager,
        batch_size=3,
        bootstrap_iters=1,
    )
    rows = [row for row in found.answers if row.fraction == 0.25]
    assert [row.task for row in rows] == list(TASKS)
    for row in rows:
        theirs = results["results"][f"local_{row.task}"]
        assert row.accuracy == theirs["acc,none"]
        assert row.stderr == pytest.approx(theirs["acc_stderr,none"])
        assert row.acc_norm == theirs.get("acc_norm,none")
    assert len(results["config"]["replaced"]) == 3
    assert results["config"]["batch_size"] == 3


def test_the_means_over_tasks(run: Path, data: Path) -> None:
    found = evaluate_run(run, ["piqa", "arc_easy", "sciq"], [0.0, 1.0], limit=7, data=data)
    before, after = (
        [row for row in found.answers if row.fraction == fraction] for fraction in (0.0, 1.0)
    )
    assert [row.task for row in after] == ["piqa", "arc_easy", "sciq"]
    for row in found.answers:
        right = [int(one) for one in row.right]
        assert (row.questions, len(right)) == (7, 7)
        assert row.accuracy == pytest.approx(fmean(right))
        assert row.stderr == pytest.approx(stdev(right) / 7**0.5)
        assert row.guess == pytest.approx(GUESSES.get(row.task, row.guess))
    choices = [json.loads(line)["choices"] for line in lines_of(data / "arc_easy.jsonl")][:7]
    assert before[1].guess == pytest.approx(fmean(1 / len(one["text"]) for one in choices))
    mean = found.mean[1]
    assert mean.accuracy == pytest.approx(fmean(row.accuracy for row in after))
    squares = [row.stderr**2 for row in after if row.stderr]
    assert mean.stderr == pytest.approx(sum(squares) ** 0.5 / 3)
    assert mean.change == pytest.approx(mean.accuracy - found.mean[0].accuracy)
    errors = [
        stdev([int(a) - int(b) for a, b in zip(new.right, old.right, strict=True)]) / 7**0.5
        for new, old in zip(after, before, strict=True)
    ]
    assert mean.change_stderr == pytest.approx(sum(error**2 for error in errors) ** 0.5 / 3)
    assert any(errors)
    assert found.mean[0].change is None

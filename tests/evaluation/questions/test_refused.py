"""What a person may get wrong about questions is told in a sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.small_run import save_model

from headscript.errors import HeadscriptError
from headscript.evaluation.questions import evaluate_run
from headscript.evaluation.tasks import FOLDER

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")

from tests.evaluation.questions.asking import lines_of

from headscript.evaluation.harness import HeadscriptLM


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit", 0), "limit is a number of questions from 1 up, and 0"),
        (("--batch-size", 0), "batch holds at least 1 answer"),
        (("--fractions", "0,1.5"), "between 0 and 1, and 1.5 does not"),
        (("--fractions", "half"), "'half' is no list of fractions"),
        (("--tasks", " ,"), "at least one task"),
        (("--data", "nowhere"), "no folder nowhere"),
        (("--tasks-folder", "nowhere"), "no folder nowhere"),
        (("--programs", "tuned"), "no programs 'tuned'; it has found"),
        (("--order", "cost"), "no measured costs"),
        (("--order", "size"), "no order 'size'"),
        (("--model", "nowhere/model/folder"), "nowhere/model/folder"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    run: Path, data: Path, command: Any, arguments: tuple[object, ...], words: str
) -> None:
    before = contents(run)
    told = command(run, "--data", data, "--tasks", "copa", "--limit", 2, *arguments)
    assert told.code == 2
    assert told.out == ""
    (sentence,) = (line for line in told.err.splitlines() if line.startswith("headscript: "))
    assert words in sentence
    assert sentence.endswith(".")
    assert contents(run) == before


def test_the_harness_not_being_installed(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(HeadscriptError, match=r"pip install 'headscript\[eval\]'"):
        evaluate_run(run, ["copa"], [0.0], data=data)


def test_a_task_that_does_not_exist(run: Path, data: Path) -> None:
    with pytest.raises(HeadscriptError, match=r"no task 'pika'; did you mean piqa\?"):
        evaluate_run(run, ["copa", "pika"], [0.0], data=data)


def test_the_hub_out_of_reach(run: Path) -> None:
    with pytest.raises(HeadscriptError, match=r"piqa come from the hub, .* \(--data DIR\)\."):
        evaluate_run(run, ["piqa"], [0.0])


def test_another_model_than_the_run_is_about(run: Path, data: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    with pytest.raises(HeadscriptError, match="is not the model of"):
        evaluate_run(run, ["copa"], [0.0], data=data, model=other)


def test_the_run_of_an_encoder(run: Path, data: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["model"]["causal"] = False
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(HeadscriptError, match="is an encoder"):
        evaluate_run(run, ["copa"], [0.0], data=data)
    with pytest.raises(HeadscriptError, match="is an encoder"):
        HeadscriptLM(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.pop("sol2"), "no field 'sol2' in line 3 of"),
        (lambda row: row.update(label=2), "Question 3 of piqa has 2 answers, and answer 2"),
        (lambda row: row.update(goal=["w5"]), "are not alike"),
    ],
)
def test_local_files_that_do_not_do(
    run: Path, data: Path, tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    rows = [json.loads(line) for line in lines_of(data / "piqa.jsonl")]
    change(rows[2])
    (tmp_path / "qa").mkdir()
    (tmp_path / "qa" / "piqa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(HeadscriptError, match=words):
        evaluate_run(run, ["piqa"], [0.0], data=tmp_path / "qa")
    with pytest.raises(HeadscriptError, match=r"has no copa\.jsonl; its \.jsonl files are piqa"):
        evaluate_run(run, ["copa"], [0.0], data=tmp_path / "qa")


def test_a_local_task_without_a_folder(run: Path) -> None:
    with pytest.raises(HeadscriptError, match="nobody said from which folder"):
        evaluate_run(run, ["local_copa"], [0.0])


def test_a_task_that_counts_no_right_answers(run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.yaml").write_text(
        "task: texts\n"
        "include: " + str(FOLDER / "common.yml") + "\ndataset_kwargs: {name: piqa}\n"
        "output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{goal}}"\n'
        "metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, "
        "higher_is_better: false}]\n"
    )
    with pytest.raises(HeadscriptError, match="counts no right answers; it measures word_perplex"):
        evaluate_run(run, ["texts"], [0.0], data=data, tasks_folder=tmp_path)


def test_an_answer_longer_than_the_model_takes(run: Path, data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in lines_of(data / "copa.jsonl")]
    rows[1]["choice1"] = "w5 " * 70
    (tmp_path / "copa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(HeadscriptError, match="An answer of 70 tokens is longer than the 64"):
        evaluate_run(run, ["copa"], [0.0], data=tmp_path)
    assert not (run / "qa").exists()

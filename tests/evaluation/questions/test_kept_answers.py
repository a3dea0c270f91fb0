"""Answers are kept with the run, and only what is missing or changed is asked again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars
import pytest

from headscript.assignment import ranking
from headscript.errors import HeadscriptError
from headscript.evaluation.accuracy import Evaluation
from headscript.evaluation.questions import evaluate_run
from headscript.runs import Run

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")

from tests.evaluation.questions.asking import lines_of


def test_answers_are_kept_and_not_computed_again(run: Path, data: Path) -> None:
    first = evaluate_run(run, ["piqa", "copa"], [0.0, 1.0], limit=4, data=data)
    again = evaluate_run(run, ["piqa", "copa"], [1.0, 0.0], limit=4, data=data, model="nowhere")
    assert sorted(again.answers, key=str) == sorted(first.answers, key=str)

    kept = json.loads((run / "qa" / "found.json").read_text())
    assert kept["programs"] == "found"
    assert {row["order"] for row in kept["answers"]} == {"iou"}
    table = polars.read_parquet(run / "qa" / "found.parquet").to_dicts()
    assert table == kept["answers"]
    assert len(table) == 4

    for changed in ({"limit": 5}, {"fractions": [0.25]}, {"tasks": ["sciq"]}):
        asked: dict[str, Any] = {"tasks": ["piqa"], "fractions": [0.0], "limit": 4} | changed
        with pytest.raises(HeadscriptError, match="nowhere"):
            evaluate_run(run, data=data, model="nowhere", **asked)


def test_answers_of_two_orders_are_told_apart(run: Path, data: Path) -> None:
    def asked(*fractions: float, **others: Any) -> Evaluation:
        return evaluate_run(run, ["piqa"], fractions, limit=4, data=data, **others)

    def kept() -> dict[tuple[str | None, int], dict[str, Any]]:
        rows = json.loads((run / "qa" / "found.json").read_text())["answers"]
        found = {(row["order"], row["heads"]): row for row in rows}
        assert len(found) == len(rows)
        return found

    assert asked(0.0, 0.25, 1.0).order == "iou"
    by_iou = [str(head) for head in ranking(Run.open(run), "found", "iou")]
    (run / "costs").mkdir()
    costs = {head: float(place) for place, head in enumerate(reversed(by_iou))}
    (run / "costs" / "found.json").write_text(json.dumps(costs))

    # All heads, and none, are the same in any order; a few are not.
    found = asked(0.0, 1.0, model="nowhere")
    assert (found.order, {row.order for row in found.answers}) == ("cost", {"cost"})
    with pytest.raises(HeadscriptError, match="nowhere"):
        asked(0.25, model="nowhere")
    assert {row.order for row in asked(0.0, 0.25, 1.0).answers} == {"cost"}
    rows = kept()
    assert set(rows) == {(order, heads) for order in ("iou", "cost") for heads in (0, 3, 5)}
    for heads in (0, 3, 5):
        same = rows["iou", heads]["key"] == rows["cost", heads]["key"]
        assert same == (heads != 3)
    again = asked(0.25, order="iou", model="nowhere")
    assert again.answers[0].key == rows["iou", 3]["key"]

    # Files from before the order was kept are read, and say it from then on.
    before = {(None, heads): row | {"order": None} for (order, heads), row in rows.items()}
    unsaid = [{k: v for k, v in row.items() if k != "order"} for row in before.values()]
    content = json.dumps({"programs": "found", "answers": unsaid})
    (run / "qa" / "found.json").write_text(content)
    asked(0.25, model="nowhere")
    assert set(kept()) == {(None, 0), ("cost", 3), (None, 5)}


def test_an_edited_program_or_question_is_asked_anew(run: Path, data: Path, tmp_path: Path) -> None:
    own = shutil.copytree(data, tmp_path / "own")

    def asked(**others: Any) -> Evaluation:
        return evaluate_run(run, ["piqa"], [0.0, 1.0], limit=4, data=own, **others)

    asked()
    program = run / "programs" / "L01H01.py"
    program.write_text(program.read_text().replace("softmax(", "softmax(7 * text.first + "))
    with pytest.raises(HeadscriptError, match="nowhere"):
        asked(model="nowhere")
    asked()
    first, *others = lines_of(own / "piqa.jsonl")
    (own / "piqa.jsonl").write_text("\n".join([first.replace("w", "w5 w", 1), *others]))
    with pytest.raises(HeadscriptError, match="nowhere"):
        asked(model="nowhere")


def test_an_interrupted_evaluation_goes_on_with_what_is_missing(
    run: Path, data: Path, tmp_path: Path
) -> None:
    names = ["piqa", "copa", "sciq"]
    whole = evaluate_run(
        shutil.copytree(run, tmp_path / "whole"), names, [0.0, 0.5], limit=4, data=data
    )

    def interrupt(event: Any) -> None:
        if event.stage == "copa":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, names, [0.0, 0.5], limit=4, data=data, on_event=interrupt)
    kept = json.loads((run / "qa" / "found.json").read_text())["answers"]
    assert {row["task"] for row in kept} == {"piqa"}
    asked: list[str] = []
    resumed = evaluate_run(
        run, names, [0.0, 0.5], limit=4, data=data, on_event=lambda e: asked.append(e.stage)
    )
    assert resumed == whole
    assert "piqa" not in asked


def test_a_damaged_file_of_answers_is_told(run: Path, data: Path) -> None:
    (run / "qa").mkdir()
    (run / "qa" / "found.json").write_text('{"answers": [{"task": "piqa"}]}')
    with pytest.raises(HeadscriptError, match=r"found\.json is damaged"):
        evaluate_run(run, ["piqa"], [0.0], data=data)

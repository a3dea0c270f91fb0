"""Which heads go first: nothing that was measured of another program, nothing of test texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headscript.assignment import default_order, ranking
from headscript.costs import costs_file, known_costs, measured_file
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.report.figures.measured import Measured, NotMeasured
from headscript.runs import Run

EDITED = (
    "from headscript.language import softmax\n\n\n"
    "def attend(text, near=3.0):\n    return softmax(-near * text.distance)\n"
)


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy of the finished run, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


def keep_costs(run: Run, version: str = "found") -> list[Head]:
    """Write down costs of all programs as 'replace' does; gives the heads, least cost first."""
    programs = run.programs(version)
    order = sorted(programs, reverse=True)
    costs = {str(head): 0.25 * place for place, head in enumerate(order)}
    alone = {str(h): {"program": programs[h].key, "kl": costs[str(h)]} for h in programs}
    run.write_json(costs_file(version), costs)
    run.write_json(measured_file(version), {"tokens": 30, "alone": alone, "greedy": {}})
    return order


def test_a_program_that_was_edited_since_goes_last(run: Run) -> None:
    order = keep_costs(run)
    assert ranking(run, "found") == ranking(run, "found", "cost") == order
    first = order[0]
    run.program_file(first).write_text(EDITED)
    assert ranking(run, "found") == [*order[1:], first]
    assert known_costs(run, "found") == Measured(run).costs
    assert list(known_costs(run, "found")) == sorted(order[1:])
    for head in order:
        run.program_file(head).write_text(EDITED)
    assert default_order(run, "found") == "iou"
    with pytest.raises(HeadscriptError, match="no measured costs of its programs 'found'"):
        ranking(run, "found", "cost")
    with pytest.raises(NotMeasured, match="what each head alone costs was not measured"):
        _ = Measured(run).costs


def test_costs_that_were_not_measured_to_the_end_order_nothing(run: Run) -> None:
    keep_costs(run)
    (run.directory / costs_file("found")).unlink()
    assert known_costs(run, "found") == {}
    assert default_order(run, "found") == "iou"


def test_a_head_whose_program_failed_has_no_cost(run: Run) -> None:
    order = keep_costs(run)
    measured = run.read_json(measured_file("found"))
    measured["alone"][str(order[0])]["kl"] = None
    run.write_json(measured_file("found"), measured)
    assert ranking(run, "found", "cost") == [*order[1:], order[0]]


@pytest.mark.parametrize(
    "content", ["[1]", '{"alone": 3}', '{"alone": {"L00H01": {}}}', '{"alone": {"L00H01": 5}}']
)
def test_damaged_costs_are_told(run: Run, content: str) -> None:
    keep_costs(run)
    (run.directory / measured_file("found")).write_text(content)
    with pytest.raises(HeadscriptError, match=r"found\.measured\.json is damaged"):
        ranking(run, "found")


def test_a_program_that_came_to_a_tuned_version_goes_last(run: Run) -> None:
    heads = run.covered_heads()
    shutil.copytree(run.program_folder(), run.program_folder("tuned"))
    order = [heads[3], heads[1], heads[4], heads[2]]
    run.write_json("versions/tuned/version.json", {"order": [str(head) for head in order]})
    assert default_order(run, "tuned") == "tuning"
    assert ranking(run, "tuned") == [*order, heads[0]]


def test_heads_are_never_ordered_by_their_iou_on_test_texts(run: Run) -> None:
    def change(row: dict[str, Any], number: int) -> None:
        row["iou"] = 0.9 - 0.1 * number  # on the test texts: the other way round
        row["select_iou"] = 0.1 + 0.1 * number if number else None

    results = run.read_json("results.json")
    for number, row in enumerate(results["heads"]):
        change(row, number)
    run.write_json("results.json", results)
    heads = [Head(row["layer"], row["head"]) for row in results["heads"]]
    assert ranking(run, "found", "iou") == [*reversed(heads[1:]), heads[0]]
    for row in results["heads"]:
        row["select_iou"] = None
    (run.directory / "results.json").write_text(json.dumps(results))
    with pytest.raises(HeadscriptError, match="no IoU on select texts"):
        ranking(run, "found", "iou")

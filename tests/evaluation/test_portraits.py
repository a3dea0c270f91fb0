"""One head closely."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headscript.errors import HeadscriptError
from headscript.evaluation import portrait
from headscript.heads import Head
from headscript.language.gate import GateError
from headscript.runs import Run


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(small_run, tmp_path / "run"))


def test_a_portrait_shows_program_scores_and_both_patterns(run: Run) -> None:
    shown = portrait(run, "L1H2")
    assert shown.head == Head(1, 2)
    assert shown.program is not None
    assert "def attend(" in shown.program.source
    assert not shown.edited
    assert shown.best is not None
    assert shown.worst is not None
    assert shown.best.iou >= shown.worst.iou
    assert shown.scores.iou == pytest.approx((shown.best.iou + shown.worst.iou) / 2, abs=1e-4)
    n = len(shown.best.surfaces)
    for pattern in (shown.best.real, shown.best.predicted):
        assert pattern.shape == (n, n)
        assert pattern.sum(1).tolist() == pytest.approx([1] * n, abs=1e-2)
    found = plain(run)
    assert found["head"] == "L01H02"
    assert len(found["best"]["model"]) == n


def test_an_edit_shows_and_a_comment_is_none(run: Run) -> None:
    file = run.program_file(Head(1, 2))
    source = file.read_text()
    file.write_text(source + "\n# a note\n")
    assert not portrait(run, "L1H2").edited
    file.write_text(source.replace("return softmax(", "return softmax(0.5 * text.first + "))
    assert portrait(run, "L1H2").edited


def plain(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(portrait(run, "L1H2").as_json()))
    return found


def test_what_was_kept_is_what_the_program_gives(run: Run) -> None:
    kept = plain(run)
    (run.directory / "portraits.safetensors").unlink()
    anew = plain(run)
    for name in ("best", "worst"):
        one, other = kept.pop(name), anew.pop(name)
        assert one["iou"] == pytest.approx(other["iou"], abs=1e-5)
        assert one["tokens"] == other["tokens"]
        assert one["model"] == other["model"]
        assert np.allclose(one["program"], other["program"], atol=2e-4)
    assert kept == anew


def test_what_was_kept_needs_no_recording_and_counts_until_an_edit(run: Run) -> None:
    shutil.rmtree(run.recording_folder("test"))
    assert plain(run)["best"] is not None
    file = run.program_file(Head(1, 2))
    file.write_text(file.read_text() + "\n# a note\n")
    shown = portrait(run, "L1H2")
    assert shown.program is not None
    assert shown.best is None
    assert "no recording" in shown.note


def test_a_damaged_file_of_portraits_is_done_without(run: Run) -> None:
    expected = plain(run)
    (run.directory / "portraits.safetensors").write_bytes(b"no portraits")
    assert plain(run)["best"]["text"] == expected["best"]["text"]


def test_without_a_program_the_note_says_why(run: Run) -> None:
    run.program_file(Head(1, 2)).unlink()
    shown = portrait(run, "L1H2")
    assert shown.program is None
    assert "no program" in shown.note


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("L9H0", "no layer 9"),
        ("L1H7", "no head L01H07"),
        ("L0H0", "did not explain L00H00: it was asked for L0H1,L1"),
        ("five", "is not the name of a head"),
    ],
)
def test_a_head_that_is_not_there_is_named(run: Run, head: str, sentence: str) -> None:
    with pytest.raises(HeadscriptError, match=sentence):
        portrait(run, head)


def test_a_refused_program_is_named_by_line(run: Run) -> None:
    run.program_file(Head(1, 2)).write_text("import os\n")
    with pytest.raises(GateError, match=r"L01H02\.py.*line 1"):
        portrait(run, "L1H2")

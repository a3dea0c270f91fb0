"""A run's programs on other texts, as they are in its folder."""

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.small_run import save_model, save_texts

from headscript import similarity
from headscript.errors import HeadscriptError
from headscript.evaluation import mean_patterns, score_run
from headscript.evaluation.scoring_recorded import score_recorded
from headscript.events import Event
from headscript.language.gate import GateError
from headscript.models import load_model
from headscript.runs import Run
from headscript.similarity import MeanByPosition
from headscript.texts import Document, Trace, load_texts
from headscript.used_texts import LibraryRecord, settle_library

UNIFORM = '''
from headscript.language import run, softmax


def attend(text, tilt=0.0):
    """Looks at all tokens alike."""
    return softmax(tilt * text.distance)
'''


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Run:
    """A copy that a test may change."""
    return Run.open(shutil.copytree(small_run, tmp_path / "run"))


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    return load_texts(save_texts(tmp_path / "other.txt", number=4, seed=9))


def test_the_test_texts_score_as_the_run_said(small_run: Path) -> None:
    run = Run.open(small_run)
    texts = [Document(text.id, text.text) for text in run.texts("test")]
    score, summary = score_run(run, texts), run.results().summary
    # To 0.002, since the run scored what it had recorded in float16.
    assert score.iou.mean == pytest.approx(summary.iou.mean, abs=2e-3)
    assert score.iou.median == pytest.approx(summary.iou.median, abs=2e-3)
    assert score.iou.ci95 == pytest.approx(summary.iou.ci95, abs=2e-3)
    assert score.baselines == pytest.approx(summary.baselines, abs=2e-3)
    assert (score.heads, score.texts, score.coverage) == (5, 2, 1.0)
    assert score.terms == summary.terms
    rows = {row.head: row.iou for row in score.by_head}
    for row in run.results().heads:
        assert rows[f"L{row.layer:02d}H{row.head:02d}"] == pytest.approx(row.iou, abs=2e-3)


def test_texts_that_the_programs_were_made_on_are_counted(
    run: Run, documents: list[Document], tmp_path: Path
) -> None:
    assert score_run(run, documents).seen == 0
    assert score_recorded(run).seen == 0
    fit, select = run.texts("fit")[0].text, run.texts("select")[0].text
    edited = Document("edited", " ".join([*fit.split()[:-1], "w5"]))
    longer = Document("longer", f"{select} {documents[0].text}")
    other = Document("other", f"{documents[1].text} {select}")
    texts = [*documents, Document("fit", fit), edited, longer, other]
    score = score_run(run, texts)
    assert (score.texts, score.seen) == (8, 4)
    # Cut to the twelve words of a text, the last one is another.
    assert score_run(run, texts, max_tokens=12).seen == 3
    assert json.loads(score.model_dump_json())["seen"] == 4


def test_texts_of_the_library_of_a_run_are_counted(run: Run, documents: list[Document]) -> None:
    texts = tuple(str(Trace.short(document.text)) for document in documents[:3])
    library = LibraryRecord(name="some", sha256="0" * 64, programs=1, texts=texts)
    with Run.open_for_writing(run.directory) as opened:
        settle_library(opened, library)
    assert score_run(run, documents).seen == 3
    (run.directory / "library.json").write_text('{"name": "some"}')
    with pytest.raises(HeadscriptError, match=r"library\.json is damaged"):
        score_run(run, documents)


@pytest.mark.parametrize("longest", [5, 512])
def test_the_mean_pattern_is_one_baseline_however_programs_are_scored(
    small_run: Path, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the recording, as `explain` does, and on texts; also beyond what it knows."""
    monkeypatch.setattr(similarity, "LONGEST_MEAN", longest)
    run = Run.open(small_run)
    own = score_run(run, [Document(text.id, text.text) for text in run.texts("test")])
    recorded = score_recorded(run)
    for one, other in zip(own.by_head, recorded.by_head, strict=True):
        # To 0.002, since the recording is in float16.
        assert one.baselines["mean by position"] == pytest.approx(
            other.baselines["mean by position"], abs=2e-3
        )
    known = run.results().summary.baselines["mean by position"]
    assert (recorded.baselines["mean by position"] == pytest.approx(known, abs=1e-6)) is (
        longest == 512
    )


def test_the_mean_patterns_of_one_layer_are_held_at_a_time(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[MeanByPosition] = weakref.WeakSet()
    numbers = []

    class Counted(MeanByPosition):
        def __init__(self, heads: int, longest: int, causal: bool) -> None:
            super().__init__(heads, longest, causal)
            alive.add(self)
            numbers.append(len(alive))

    monkeypatch.setattr(mean_patterns, "MeanByPosition", Counted)
    score_recorded(Run.open(small_run))
    assert numbers == [1, 1]


def test_an_edited_program_is_scored_as_edited(run: Run, documents: list[Document]) -> None:
    file = run.directory / "programs" / "L01H02.py"
    file.write_text(UNIFORM)
    row = next(row for row in score_run(run, documents).by_head if row.head == "L01H02")
    assert row.iou == pytest.approx(row.baselines["uniform"], abs=1e-5)
    assert row.terms == 1


def test_a_program_that_the_gate_refuses_is_named_by_line(
    run: Run, documents: list[Document]
) -> None:
    file = run.directory / "programs" / "L01H02.py"
    file.write_text(UNIFORM.replace("tilt * text.distance", "open('x')"))
    with pytest.raises(GateError, match=r"L01H02\.py.*line 7"):
        score_run(run, documents)


def test_a_missing_program_is_not_covered_and_not_counted(
    run: Run, documents: list[Document]
) -> None:
    (run.directory / "programs" / "L01H02.py").unlink()
    score = score_run(run, documents)
    assert score.heads == 4
    assert score.coverage == 0.8
    assert score.iou.mean == pytest.approx(sum(row.iou for row in score.by_head) / 4)


def test_a_program_that_fails_on_the_texts_counts_as_zero_with_its_reason(
    run: Run, documents: list[Document]
) -> None:
    file = run.directory / "programs" / "L01H02.py"
    failing = UNIFORM.replace("run, softmax", "log, run, softmax").replace(
        "tilt * text.distance", "(tilt + 1.0) * (log(text.distance) - log(text.distance))"
    )
    file.write_text(failing)
    score = score_run(run, documents)
    row = next(row for row in score.by_head if row.head == "L01H02")
    assert row.iou == 0
    assert "no attention pattern" in row.status
    assert (score.heads, score.coverage) == (5, 0.8)


def test_texts_are_cut_and_too_long_ones_refused(run: Run, documents: list[Document]) -> None:
    assert score_run(run, documents, max_tokens=5).tokens == 4 * 5
    assert score_run(run, documents, max_tokens=5_000).tokens == 4 * 12
    long = Document("tome", " ".join(["w4 w5"] * 100))
    with pytest.raises(HeadscriptError, match="200 tokens is longer than the 64"):
        score_run(run, [long])
    assert score_run(run, [long], max_tokens=5_000).tokens == 64


def test_without_the_recording_the_mean_pattern_is_left_out(
    run: Run, documents: list[Document]
) -> None:
    assert "mean by position" in score_run(run, documents).baselines
    shutil.rmtree(run.directory / "recording")
    assert "mean by position" not in score_run(run, documents).baselines


def test_the_model_may_have_moved_but_not_changed(
    small_run: Path, run: Run, documents: list[Document], tmp_path: Path
) -> None:
    moved = shutil.copytree(small_run.parent / "model", tmp_path / "moved")
    loaded = load_model(moved)
    assert score_run(run, documents, model=moved) == score_run(run, documents, model=loaded)
    with pytest.raises(HeadscriptError, match=r"is not the model of .* another hash"):
        score_run(run, documents, model=save_model(tmp_path / "other", seed=1))


def test_a_model_whose_attention_is_not_finite_is_named_by_head(
    small_run: Path, run: Run, documents: list[Document], tmp_path: Path
) -> None:
    broken = shutil.copytree(small_run.parent / "model", tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.self_attn.q_proj.weight"][:] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HeadscriptError, match="NaN"):
        score_run(run, documents, model=broken)


def test_progress_is_told_text_by_text(run: Run, documents: list[Document]) -> None:
    events: list[Event] = []
    score_run(run, documents, on_event=events.append)
    assert [event.done for event in events if event.stage == "scoring"] == [1, 2, 3, 4]


def test_an_unfinished_run_is_not_scored(run: Run, documents: list[Document]) -> None:
    (run.directory / "results.json").unlink()
    with pytest.raises(HeadscriptError, match="not finished"):
        score_run(run, documents)


def test_a_score_is_plain_json(small_run: Path, documents: list[Document]) -> None:
    score = json.loads(score_run(Run.open(small_run), documents).model_dump_json())
    assert {"iou", "baselines", "coverage", "terms", "heads", "texts"} <= score.keys()
    assert {"mean", "median", "ci95"} <= score["iou"].keys()
    assert score["terms"].keys() == {"median", "mean", "max"}

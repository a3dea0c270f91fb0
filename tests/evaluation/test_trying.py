"""An idea of one's own beside the run's program of a head, on the run's recorded texts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import headscript
from headscript.errors import HeadscriptError
from headscript.evaluation.portraits import RunReader
from headscript.evaluation.scoring_recorded import score_recorded
from headscript.evaluation.trials import Trial
from headscript.events import Event
from headscript.heads import Head
from headscript.language.gate import GateError
from headscript.models import load_model
from headscript.packing import pack_rows
from headscript.programs import Program
from headscript.programs.freeform import FreeForm
from headscript.programs.loading import load_program
from headscript.recording import Recording
from headscript.recording_runs import record_run
from headscript.runs import Run
from headscript.sandbox import isolation
from headscript.similarity import iou

NEAR = '''def attend(text, sink=2.0, near=0.5):
    """Rests on the first token and prefers nearer ones."""
    return softmax(sink * text.first - near * log(text.distance + 1))
'''
FREE = '''import numpy as np


def before(sentence, tokenizer):
    """The token before."""
    n = len(tokenizer([sentence], return_tensors="pt").input_ids[0])
    return "before", np.eye(n, k=-1)
'''
sandboxed = pytest.mark.skipif(
    isolation().level != "full", reason="needs a system with Landlock and seccomp"
)


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Run:
    """A copy that a test may change."""
    return Run.open(shutil.copytree(small_run, tmp_path / "run"))


def written(folder: Path, source: str) -> Path:
    file = folder / "mine.py"
    file.write_text(source)
    return file


def change_recording(run: Run, split: str) -> None:
    """Put other patterns in the place of those recorded: each head looks at all tokens alike."""
    for file in run.recording_folder(split).rglob("*.safetensors"):
        kept = load_file(file)
        for name, cells in kept.items():
            n = int((2 * cells.shape[-1]) ** 0.5)
            even = pack_rows(torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None], True)
            kept[name] = even.to(cells.dtype).expand_as(cells).contiguous()
        save_file(kept, file)


# What is scored ----------------------------------------------------------------------------------


def test_the_runs_own_program_gives_no_difference_and_the_scores_of_the_run(
    small_run: Path, tmp_path: Path
) -> None:
    run = Run.open(small_run)
    for row in run.results().heads:
        head = Head(row.layer, row.head)
        own = load_program(run.program_file(head))
        found = headscript.try_program(run, head, own, on="test")
        assert found.against is not None
        assert found.against.difference.by_text == (0.0, 0.0)
        assert found.against.difference.ci95 == (0.0, 0.0)
        assert found.against.texts_ahead == 0
        assert (found.iou.mean, found.iou.ci95) == (row.iou, row.ci95)
        assert (found.against.iou.mean, found.against.version) == (row.iou, "found")
        baselines = {name: each.mean for name, each in found.baselines.items()}
        assert baselines == pytest.approx(row.baselines, abs=1e-6)
        assert found.worst.text_id == row.worst_text
        assert found.worst.iou == min(found.iou.by_text)
        select = headscript.try_program(small_run, str(head), run.program_file(head))
        assert select.on == "select"
        assert select.iou.mean == pytest.approx(row.select_iou, abs=1e-5)
    # The same program in other words, of the last head.
    other = written(tmp_path, f"# mine\n{own.source}")
    again = headscript.try_program(run, head, other, on="test").against
    assert again is not None
    assert again.difference.by_text == (0.0, 0.0)


def test_another_heads_program_scores_what_score_says_of_it(run: Run) -> None:
    head, other = Head(1, 0), Head(1, 3)
    tried = headscript.try_program(run, head, run.program_file(other), on="test")
    shutil.copy(run.program_file(other), run.program_file(head))
    scored = next(row for row in score_recorded(run).by_head if row.head == str(head))
    assert tried.iou.mean == pytest.approx(scored.iou, abs=1e-6)
    assert tried.iou.ci95 == pytest.approx(scored.ci95, abs=1e-6)
    assert {name: each.mean for name, each in tried.baselines.items()} == pytest.approx(
        scored.baselines, abs=1e-6
    )


def test_the_difference_is_taken_text_by_text(run: Run) -> None:
    found = headscript.try_program(run, "L1H2", NEAR)
    assert found.against is not None
    pairs = list(zip(found.iou.by_text, found.against.iou.by_text, strict=True))
    assert found.text_ids == tuple(text.id for text in run.texts("select"))
    assert found.against.difference.by_text == tuple(idea - its for idea, its in pairs)
    assert found.against.texts_ahead == sum(idea > its for idea, its in pairs)
    low, high = found.against.difference.ci95
    assert low <= found.against.difference.mean <= high
    recording = Recording.open(run.recording_folder("select"))
    read = RunReader(run, frozenset())
    for number, text in enumerate(run.texts("select")):
        pattern = Program.parse(NEAR)(read(text.token_ids)).detach()
        real = recording.pattern(Head(1, 2), number)
        expected = float(iou(pattern.flatten(), real.flatten()))
        assert found.iou.by_text[number] == pytest.approx(expected, abs=1e-5)


def test_where_it_goes_most_wrong(run: Run) -> None:
    found = headscript.try_program(run, "L1H2", NEAR)
    off = abs(found.worst.real - found.worst.predicted)
    assert len(found.misses) == 5
    largest = np.sort(off.ravel())[::-1][:5]
    assert [abs(miss.model - miss.idea) for miss in found.misses] == pytest.approx(largest)
    for miss in found.misses:
        assert miss.model == found.worst.real[miss.query, miss.key]
        assert found.worst.surfaces[miss.query] == miss.query_token
        assert found.worst.surfaces[miss.key] == miss.key_token


def test_a_recording_without_programs_is_enough(small_run: Path, tmp_path: Path) -> None:
    folder = small_run.parent
    recorded = record_run(folder / "model", folder / "texts.txt", tmp_path / "bare", heads="L1")
    found = headscript.try_program(recorded, "L1H2", NEAR)
    assert found.against is None
    assert found.as_json()["program"] is found.as_json()["difference"] is None
    assert repr(found) == f"Trial(L01H02 on 2 select texts: idea {found.iou.mean:.3f})"
    explained = headscript.try_program(small_run, "L1H2", NEAR)
    assert explained.iou.by_text == found.iou.by_text


def test_the_model_is_needed_for_its_embeddings_alone(run: Run) -> None:
    alike = "def attend(text, alike=2.0):\n    return softmax(alike * text.similarity)\n"
    found = headscript.try_program(run, "L1H2", alike, fit=True)
    read = load_model(run.model_name).reader([found.idea])
    recording = Recording.open(run.recording_folder("select"))
    pattern = found.idea(read(run.texts("select")[0].token_ids)).detach()
    expected = float(iou(pattern.flatten(), recording.pattern(Head(1, 2), 0).flatten()))
    assert found.iou.by_text[0] == pytest.approx(expected, abs=1e-5)

    record = json.loads((run.directory / "run.json").read_text())
    record["config"]["model"] = str(run.directory / "gone")
    (run.directory / "run.json").write_text(json.dumps(record))
    headscript.try_program(run.directory, "L1H2", NEAR, fit=True)
    with pytest.raises(HeadscriptError, match="gone"):
        headscript.try_program(run.directory, "L1H2", alike)


def test_progress_names_the_texts(small_run: Path) -> None:
    seen: list[Event] = []
    headscript.try_program(small_run, "L1H2", NEAR, on_event=seen.append)
    assert {event.stage for event in seen} == {"scoring on the select texts"}
    assert (seen[-1].done, seen[-1].total) == (2, 2)


# Constants ---------------------------------------------------------------------------------------


def constants(found: Trial) -> dict[str, float]:
    assert found.fitted is not None
    assert found.fitted.program is found.idea
    assert found.fitted.iou > found.fitted.proposed_iou
    return found.idea.constants


@pytest.mark.parametrize(
    "source", [NEAR, NEAR.replace("near * log(text.distance + 1)", "(text.distance + 1) ** near")]
)
def test_constants_are_fitted_on_the_fit_texts_alone(run: Run, source: str) -> None:
    before = headscript.try_program(run, "L1H2", source, fit=True)
    for split in ("select", "test"):
        change_recording(run, split)
    after = headscript.try_program(run, "L1H2", source, fit=True)
    assert constants(after) == constants(before)
    assert after.iou.mean != before.iou.mean
    change_recording(run, "fit")
    other = headscript.try_program(run, "L1H2", source, fit=True)
    assert other.idea.constants != before.idea.constants


def test_what_is_scored_is_the_fitted_program_as_it_is_written(run: Run) -> None:
    fitted = headscript.try_program(run, "L1H2", NEAR, fit=True)
    again = headscript.try_program(run, "L1H2", fitted.idea.source)
    assert again.iou == fitted.iou
    assert again.fitted is None
    assert "Rests on the first token and prefers nearer ones." in fitted.idea.source
    assert set(constants(fitted)) == {"sink", "near"}


def test_a_sign_that_the_fit_turns_is_told(run: Run) -> None:
    fitted = headscript.try_program(run, "L1H2", NEAR, fit=True).idea
    right, wrong = fitted.constants, {n: -value for n, value in fitted.constants.items()}
    scores = "sink * text.first - near * log(text.distance + 1)"
    named = NEAR.replace(
        f"return softmax({scores})", f"scores = {scores}\n    return softmax(scores)"
    )
    for source in (NEAR, named):
        program = Program.parse(source)
        told = [
            headscript.try_program(run, "L1H2", program.with_constants(values), fit=True).turned
            for values in (right, wrong)
        ]
        assert told[0] == ()
        assert len(told[1]) == 2


# Free-form programs ------------------------------------------------------------------------------


@sandboxed
def test_free_form_code_is_tried_as_it_comes(run: Run, tmp_path: Path) -> None:
    found = headscript.try_program(run, "L1H2", written(tmp_path, FREE))
    assert isinstance(found.idea, FreeForm)
    assert found.idea.prefix_consistent
    assert found.isolation == str(isolation())
    assert found.iou.by_text == pytest.approx(found.baselines["previous token"].by_text, abs=1e-6)
    # As 'headscript import' leaves it, its first line says what it is; an edit is tested anew.
    edited = found.idea.source.replace("k=-1)", "k=-1) + 1 / n")
    ahead = headscript.try_program(run, "L1H2", written(tmp_path, edited))
    assert not ahead.idea.prefix_consistent
    assert ahead.iou.mean != found.iou.mean


@sandboxed
@pytest.mark.parametrize(
    ("source", "told"),
    [
        (FREE.replace("k=-1", "k=-1)[:2]").replace("[:2])", "[:2]"), "before fails .* wrong shape"),
        (FREE + FREE.replace("def before", "def after"), r"2 programs \(before, after\).*import"),
        (FREE.replace("    n = len", "    import socket\n    n = len"), "import of socket"),
    ],
)
def test_free_form_code_that_cannot_be_tried(
    run: Run, tmp_path: Path, source: str, told: str
) -> None:
    with pytest.raises(HeadscriptError, match=told):
        headscript.try_program(run, "L1H2", written(tmp_path, source))


@sandboxed
def test_free_form_code_has_nothing_to_fit(run: Run, tmp_path: Path) -> None:
    with pytest.raises(HeadscriptError, match="free-form program, which has no constants"):
        headscript.try_program(run, "L1H2", written(tmp_path, FREE), fit=True)


# What cannot be tried ----------------------------------------------------------------------------


def test_an_idea_that_fails_on_a_text_has_0_there(run: Run) -> None:
    first, second = (RunReader(run, frozenset())(t.token_ids) for t in run.texts("select"))
    begins = first.surfaces[0]
    assert begins != second.surfaces[0]
    source = (
        "def attend(text, a=1.0):\n"
        f"    return softmax(a * key(log(1.0 * ~text.one_of({begins!r}))) + text.first)\n"
    )
    found = headscript.try_program(run, "L1H2", source)
    assert found.iou.by_text[0] == 0 < found.iou.by_text[1]
    assert "no attention pattern" in found.status
    assert found.worst.text_id == run.texts("select")[1].id


def test_an_idea_that_works_nowhere_is_refused(run: Run) -> None:
    source = NEAR.replace("near * log(text.distance + 1)", "near * (log(text.later) - log(0))")
    with pytest.raises(HeadscriptError):
        headscript.try_program(run, "L1H2", source)
    nowhere = NEAR.replace(
        "near * log(text.distance + 1)", "near * (log(text.distance) - log(text.distance))"
    )
    with pytest.raises(HeadscriptError, match="no attention pattern"):
        headscript.try_program(run, "L1H2", nowhere)


def test_a_program_of_the_run_that_fails_is_said_to(run: Run) -> None:
    broken = NEAR.replace("log(text.distance + 1)", "(log(text.distance) - log(text.distance))")
    run.program_file(Head(1, 2)).write_text(broken)
    found = headscript.try_program(run, "L1H2", NEAR)
    assert found.against is not None
    assert found.against.iou.mean == 0
    assert "no attention pattern" in found.against.status


@pytest.mark.parametrize(
    ("head", "source", "options", "told"),
    [
        ("L1H9", NEAR, {}, "no head L01H09"),
        ("L2H0", NEAR, {}, "did not record L02H00: it was asked for L0H1,L1"),
        ("two", NEAR, {}, "write it like L5H3"),
        ("L1H2", NEAR, {"on": "fit"}, "select or test texts, not on 'fit'"),
        ("L1H2", NEAR, {"version": "tuned"}, "no programs 'tuned'; it has found"),
        ("L1H2", "def attend(text):\n    import os\n", {}, "line 2"),
        ("L1H2", "nowhere.py", {}, "no program file nowhere.py"),
    ],
)
def test_mistakes_are_told(
    small_run: Path, head: str, source: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(HeadscriptError, match=told):
        headscript.try_program(small_run, head, source, **options)  # type: ignore[arg-type]


def test_a_program_without_constants_is_not_fitted(small_run: Path) -> None:
    source = "def attend(text):\n    return where(text.itself, 1.0, 0.0)\n"
    found = headscript.try_program(small_run, "L1H2", source)
    assert found.iou.by_text == pytest.approx(found.baselines["the token itself"].by_text)
    with pytest.raises(HeadscriptError, match="no constants to fit"):
        headscript.try_program(small_run, "L1H2", source, fit=True)


def test_without_a_recording_nothing_can_be_tried(run: Run) -> None:
    with pytest.raises(GateError):
        headscript.try_program(run, "L1H2", "import os\n")
    shutil.rmtree(run.recording_folder("fit"))
    found = headscript.try_program(run, "L1H2", NEAR)
    assert "mean by position" not in found.baselines
    with pytest.raises(HeadscriptError, match="no recording of its fit texts"):
        headscript.try_program(run, "L1H2", NEAR, fit=True)
    shutil.rmtree(run.recording_folder("select"))
    with pytest.raises(HeadscriptError, match="no recording of its select texts"):
        headscript.try_program(run, "L1H2", NEAR)
    headscript.try_program(run, "L1H2", NEAR, on="test")

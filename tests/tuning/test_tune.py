"""A run's programs tuned: a new version, the old one untouched, resumed after a stop."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from headscript.assignment import default_order, ranking
from headscript.cli import app
from headscript.errors import HeadscriptError
from headscript.programs import Program
from headscript.runs import Run
from headscript.tuning.tune import TuneSettings, tune

QUICK = TuneSettings(steps=12, step_tokens=60, dtype="float32")


@pytest.fixture
def own_run(small_run, tmp_path):
    """A copy of the finished run, to write to."""
    return shutil.copytree(small_run, tmp_path / "run")


def sources(folder):
    return {file.name: file.read_text() for file in sorted(folder.glob("L*.py"))}


def test_a_version_beside_the_old(own_run):
    before = sources(own_run / "programs")
    record = tune(own_run, settings=QUICK)
    assert sources(own_run / "programs") == before
    run = Run.open(own_run)
    assert run.versions() == ["found", "tuned"]
    found, tuned = run.programs("found"), run.programs("tuned")
    assert found.keys() == tuned.keys()
    assert run.programs() == tuned  # the newest is the default
    for head, program in found.items():
        # The same program but for its constants.
        assert program.terms == tuned[head].terms
        assert program.entries == tuned[head].entries
        assert "tuned" in tuned[head].source.splitlines()[0]
    assert any(found[head].key != tuned[head].key for head in found)
    assert set(record.before.kl) == {"0.25", "0.5", "1"}
    assert 0 <= record.after.iou <= 1
    assert not (own_run / "versions/tuned/checkpoint.safetensors").exists()


def test_fewer_terms(own_run):
    settings = QUICK.model_copy(update={"terms": 2.0})
    tune(own_run, settings=settings)
    tuned = Run.open(own_run).programs("tuned")
    assert sum(program.terms for program in tuned.values()) <= 2 * len(tuned)
    assert all(all(program.constants.values()) for program in tuned.values())


def test_the_same_again_costs_nothing_and_other_settings_are_refused(own_run):
    first = tune(own_run, settings=QUICK)
    assert tune(own_run, settings=QUICK) == first
    with pytest.raises(HeadscriptError, match="steps was 12 and is now 13"):
        tune(own_run, settings=QUICK.model_copy(update={"steps": 13}))


def test_stopped_and_started_again(own_run, tmp_path, monkeypatch):
    other = shutil.copytree(own_run, tmp_path / "other")
    whole = tune(own_run, settings=QUICK)
    monkeypatch.setattr("headscript.tuning.tune._CHECKPOINT_SECONDS", 0)

    class Stopped(Exception):
        pass

    def stop(event):
        if event.stage == "tuning" and event.done == 7:
            raise Stopped

    with pytest.raises(Stopped):
        tune(other, settings=QUICK, on_event=stop)
    assert Run.open(other).versions() == ["found"]  # half a version is none
    resumed = tune(other, settings=QUICK)
    assert resumed.after == whole.after
    assert sources(other / "versions/tuned") == sources(own_run / "versions/tuned")


def test_held_out_texts_are_not_tuned_on(own_run, tmp_path):
    run = Run.open(own_run)
    test_text, fit_text = run.texts("test")[0].text, run.texts("fit")[0].text
    file = tmp_path / "texts.txt"
    file.write_text(f"{test_text}\n\n{fit_text}")
    record = tune(own_run, settings=QUICK.model_copy(update={"texts": str(file)}))
    assert (record.texts, record.set_aside) == (1, 1)
    file.write_text(test_text)
    with pytest.raises(HeadscriptError, match="repeat select or test texts"):
        tune(own_run, "again", settings=QUICK.model_copy(update={"texts": str(file)}))


def test_the_command(own_run):
    runner = CliRunner()
    arguments = ["tune", str(own_run), "--steps", "4", "--step-tokens", "40", "--dtype", "float32"]
    answer = runner.invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["version"] == "tuned"
    assert found["after"]["kl"].keys() == found["before"]["kl"].keys()
    again = runner.invoke(app, arguments)
    assert "IoU with the heads' own patterns" in again.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stages", "0.5,2"], "between 0 and 1"),
        (["--stages", "a"], "no list of fractions"),
        (["--stages", "1,0.5"], "grow"),
        (["--name", "found"], "choose another"),
        (["--name", "zero"], "names a baseline"),
        (["--name", "../x"], "cannot name a version"),
        (["--start", "none"], "has no programs 'none'"),
        (["--order", "size"], "no order 'size'"),
        (["--order", "cost"], "no measured costs"),
    ],
)
def test_bad_input(own_run, options, said):
    answer = CliRunner().invoke(app, ["tune", str(own_run), *options])
    assert isinstance(answer.exception, HeadscriptError)
    assert said in str(answer.exception)
    assert not (own_run / "versions").exists()


def test_a_damaged_checkpoint(own_run):
    folder = own_run / "versions/tuned"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(QUICK.model_dump_json())
    (folder / "checkpoint.safetensors").write_bytes(b"no tensors")
    with pytest.raises(HeadscriptError, match="damaged"):
        tune(own_run, settings=QUICK)


def test_programs_that_are_not_log_linear_keep_their_words(own_run):
    program = (
        '"""By hand."""\nfrom headscript.language import exp, softmax\n\n\n'
        'def attend(text, rate=0.5):\n    """Fades."""\n'
        "    return softmax(exp(-rate * text.distance))\n"
    )
    (own_run / "programs/L00H01.py").write_text(program)
    tune(own_run, settings=QUICK)
    tuned = Program.load(own_run / "versions/tuned/L00H01.py")
    assert tuned.explanation == "Fades."
    assert tuned.constants["rate"] != 0.5


def test_programs_whose_scores_are_infinite_are_tuned_and_told(own_run):
    header = "from headscript.language import exp, log, softmax\n\n\n"
    mask = "log(text.first | text.within(3))"
    for name, scores in (
        ("L01H02", f"mask * {mask} + first * text.first"),
        ("L01H03", f"mask * {mask} + exp(-first * text.distance)"),
    ):
        source = f"{header}def attend(text, mask=1.0, first=0.5):\n    return softmax({scores})\n"
        (own_run / f"programs/{name}.py").write_text(source)
    tune(own_run, settings=QUICK.model_copy(update={"keep": 0.5, "terms": 1.0}))
    tuned = Run.open(own_run).programs("tuned")
    sums, other = (tuned[head] for head in tuned if str(head) in ("L01H02", "L01H03"))
    assert next(iter(sums.constants.values())) == other.constants["mask"] == 1
    assert other.constants["first"] != 0.5
    assert "tokens at most 3 away" in sums.explanation
    assert "nan" not in f"{sums.source} {other.source}"


def test_a_program_that_fails_on_the_texts_is_named(own_run):
    source = "from headscript.language import log, softmax\n\n\n"
    source += "def attend(text, a=1.0):\n    return softmax(a * log(text.distance))\n"
    (own_run / "programs/L01H02.py").write_text(source)
    with pytest.raises(HeadscriptError, match=r"L01H02 gives no attention pattern.*avoid log\(0\)"):
        tune(own_run, settings=QUICK)
    assert Run.open(own_run).versions() == ["found"]


def test_heads_go_in_the_order_of_the_tuning(own_run):
    tune(own_run, settings=QUICK)
    record = own_run / "versions/tuned/version.json"
    found = json.loads(record.read_text())
    found["order"].reverse()
    record.write_text(json.dumps(found))
    run = Run.open(own_run)
    assert [str(head) for head in ranking(run, "tuned")] == found["order"]
    assert default_order(run, "tuned") == "tuning"
    assert default_order(run, "found") == "iou"
    assert ranking(run, "tuned", "iou") == ranking(run, "found")
    (own_run / "costs").mkdir(exist_ok=True)
    costs = {name: number for number, name in enumerate(sorted(found["order"]))}
    (own_run / "costs/tuned.json").write_text(json.dumps(costs))
    assert [str(head) for head in ranking(run, "tuned")] == sorted(found["order"])
    assert [str(head) for head in ranking(run, "tuned", "tuning")] == found["order"]
    with pytest.raises(HeadscriptError, match="were not tuned"):
        ranking(run, "found", "tuning")


def test_tuned_programs_go_into_the_model_by_default(own_run):
    tune(own_run, settings=QUICK)
    arguments = ["generate", str(own_run), "Once upon a time", "--max-new-tokens", "3"]
    answer = CliRunner().invoke(app, [*arguments, "--replace", "0.5"])
    assert answer.exit_code == 0, answer.exception
    assert "as they were tuned" in answer.stdout
    answer = CliRunner().invoke(app, [*arguments, "--replace", "0.5", "--json"])
    assert json.loads(answer.stdout)["order"] == "tuning"


def test_the_words_of_a_tuned_program_are_of_the_models_embeddings(own_run):
    head = min(Run.open(own_run).programs("found"))
    file = own_run / "programs" / f"{head}.py"
    file.write_text(
        "from headscript.language import softmax\n\n\n"
        "def attend(text, near=9.0, start=0.5):\n"
        "    return softmax(near * text.similarity + start * text.first)\n"
    )
    tune(own_run, settings=QUICK)
    tuned = Run.open(own_run).programs("tuned")[head]
    assert tuned.constants["similarity"] != 9.0
    assert "Mostly looks back more to a token the more alike the embeddings are." in tuned.source

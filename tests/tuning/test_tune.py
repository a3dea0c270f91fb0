"""A run's programs tuned: a new version, the old one untouched, resumed after a stop."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from headscript.assignment import default_order, ranking
from headscript.cli import app
from headscript.errors import HeadscriptError
from headscript.programs import Program
from headscript.runs import Run
from headscript.tuning.causal import CausalFit
from headscript.tuning.tune import tune
from headscript.tuning.versions import TuneSettings

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


def test_the_newest_version_is_told_by_its_record(own_run):
    for name in ("b", "a"):
        tune(own_run, name, settings=QUICK)
    for place, name in enumerate(("a", "b")):  # as a copy may leave them
        os.utime(own_run / f"versions/{name}/version.json", (place, place))
    assert Run.open(own_run).versions() == ["found", "b", "a"]
    # Of a version that does not tell, the time of its file is taken.
    record = own_run / "versions/a/version.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"made": None}))
    os.utime(record, (0, 0))
    assert Run.open(own_run).versions() == ["found", "a", "b"]
    record.write_text('{"made": "yesterday"}')
    with pytest.raises(HeadscriptError, match=r"a/version\.json is damaged"):
        Run.open(own_run).versions()


class Stopped(Exception):
    pass


def stopped(run, settings=QUICK, name="tuned"):
    """Begin to tune a run, and stop after seven steps with the last of them kept."""

    def stop(event):
        if event.stage == "tuning" and event.done == 7:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headscript.tuning.tune._CHECKPOINT_SECONDS", 0)
        with pytest.raises(Stopped):
            tune(run, name, settings=settings, on_event=stop)
    assert (run / f"versions/{name}/checkpoint.safetensors").is_file()


def test_stopped_and_started_again(own_run, tmp_path):
    other = shutil.copytree(own_run, tmp_path / "other")
    whole = tune(own_run, settings=QUICK)
    stopped(other)
    assert Run.open(other).versions() == ["found"]  # half a version is none
    # Costs that were measured meanwhile order heads, but not those of a fit that was begun.
    heads = [str(head) for head in ranking(Run.open(other), "found")]
    (other / "costs").mkdir()
    costs = {head: -place for place, head in enumerate(heads)}
    (other / "costs/found.json").write_text(json.dumps(costs))
    assert [str(head) for head in ranking(Run.open(other), "found")] == heads[::-1]
    resumed = tune(other, settings=QUICK)
    assert resumed.order == whole.order == tuple(heads)
    assert resumed.after == whole.after
    assert sources(other / "versions/tuned") == sources(own_run / "versions/tuned")


def test_a_fit_that_was_begun_from_other_programs_is_refused(own_run):
    stopped(own_run)
    file = own_run / "programs/L01H02.py"
    before = file.read_text()
    header = "from headscript.language import softmax\n\n\n"
    call = "def attend(text, a=1.0{}):\n    return softmax(a * text.first{})\n"
    for source in (call.format("", ""), call.format(", b=2.0, c=1.0, d=1.0", " + b + c + d")):
        file.write_text(header + source)
        with pytest.raises(
            HeadscriptError,
            match=r"'found' are not .* 'tuned' was begun from \(different: L01H02\)",
        ):
            tune(own_run, settings=QUICK)
    file.unlink()
    with pytest.raises(HeadscriptError, match=r"different: L01H02\); undo .* another --name"):
        tune(own_run, settings=QUICK)
    file.write_text(before + "\n# A comment changes nothing.\n")
    tune(own_run, settings=QUICK)
    file.write_text(header + call.format("", ""))
    tune(own_run, settings=QUICK)  # what is done stays


def test_a_fit_that_was_begun_on_other_texts_is_refused(own_run, tmp_path):
    file = tmp_path / "texts.txt"
    fit = [text.text for text in Run.open(own_run).texts("fit")]
    file.write_text("\n\n".join(fit))
    settings = QUICK.model_copy(update={"texts": str(file)})
    stopped(own_run, settings)
    file.write_text("\n\n".join(reversed(fit)))
    with pytest.raises(HeadscriptError, match="are not those that the version 'tuned' was begun"):
        tune(own_run, settings=settings)
    file.write_text("\n\n".join(fit))
    tune(own_run, settings=settings)


@pytest.mark.parametrize("own", [True, False])
def test_no_more_tokens_of_a_text_than_are_asked_for(own_run, tmp_path, monkeypatch, own):
    seen: list[int] = []
    fit = CausalFit.__init__

    def looking(self, model, programs, order, texts, schedule):
        seen.extend(len(text) for text in texts)
        fit(self, model, programs, order, texts, schedule)

    monkeypatch.setattr(CausalFit, "__init__", looking)
    texts = Run.open(own_run).texts("fit")
    assert max(len(text.token_ids) for text in texts) > 5
    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(text.text for text in texts))
    given = {"max_tokens": 5, "texts": None if own else str(file)}
    tune(own_run, settings=QUICK.model_copy(update=given))
    assert seen == [5] * len(texts)


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
    stopped(own_run)
    (folder / "checkpoint.safetensors").write_bytes(b"no tensors")
    with pytest.raises(HeadscriptError, match=r"checkpoint\.safetensors is damaged"):
        tune(own_run, settings=QUICK)
    (folder / "begun.json").write_text("{}")
    with pytest.raises(HeadscriptError, match=r"begun\.json is damaged"):
        tune(own_run, settings=QUICK)
    (folder / "begun.json").unlink()
    tune(own_run, settings=QUICK)  # begins anew


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

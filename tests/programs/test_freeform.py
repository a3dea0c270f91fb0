"""Free-form programs where programs of the language stand: in files, runs, and the model."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.sandbox.tokenizers import SENTENCES, byte_level

from headscript.errors import HeadscriptError
from headscript.evaluation import score_run
from headscript.evaluation.portraits import portrait
from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.heads import Head
from headscript.language.text import Text, TextReader
from headscript.models import load_model
from headscript.programs import Program, ProgramError
from headscript.programs.freeform import MARKER, FreeForm
from headscript.programs.loading import load_program
from headscript.replacement import replaced
from headscript.runs import Run
from headscript.sandbox import isolation
from headscript.texts import load_texts
from headscript.tuning.tune import tune
from headscript.tuning.versions import TuneSettings

pytestmark = pytest.mark.skipif(
    isolation().level != "full", reason="needs a system with Landlock and seccomp"
)

PREVIOUS = '''import numpy as np


def previous(sentence, tokenizer):
    """The token before, and a little of the first."""
    n = len(tokenizer([sentence], return_tensors="pt").input_ids[0])
    out = np.eye(n, k=-1)
    out[:, 0] += 0.25
    return "previous", out
'''
AHEAD = PREVIOUS.replace("out[:, 0] += 0.25", "out[:, 0] += 0.25 * n")


def program(code: str = PREVIOUS, consistent: bool | None = True) -> FreeForm:
    return FreeForm(
        code,
        "previous",
        name="previous",
        explanation="The token before, and a little of the first.",
        numbers=4,
        uses_spacy=False,
        prefix_consistent=consistent,
    )


def text() -> Text:
    return TextReader(byte_level())(byte_level()(SENTENCES[0])["input_ids"])


def test_it_is_a_program() -> None:
    found = program()
    assert isinstance(found, Program)
    assert (found.constants, found.entries, found.log_linear) == ({}, frozenset(), None)
    assert found.terms == 4
    assert found.prefix_consistent
    assert found.key == program(consistent=False).key != program(AHEAD).key
    assert found.with_constants({}) is found
    assert bool(found)
    with pytest.raises(HeadscriptError, match="no constant 'sink'"):
        found.with_constants({"sink": 1.0})


def test_its_pattern() -> None:
    on = text()
    pattern = program()(on)
    n = len(on)
    assert pattern.shape == (n, n)
    assert pattern.dtype == torch.float32
    torch.testing.assert_close(pattern[3], torch.tensor([0.2, 0, 0.8] + [0.0] * (n - 3)))
    rest = program()(on.from_first_query(5))
    assert torch.equal(rest, pattern[5:])
    with pytest.raises(HeadscriptError, match="tokenizer"):
        program()(Text(["a", " b"], [0, 1], 2))


def test_a_failure_is_a_program_error() -> None:
    with pytest.raises(
        ProgramError,
        match=r"previous fails in the sandbox: raised NameError in line 7 of the program: ",
    ):
        program(PREVIOUS.replace("np.eye", "eye"))(text())


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "L01H02.py"
    program().save(file)
    found = load_program(file)
    assert isinstance(found, FreeForm)
    assert found == FreeForm.of(file.read_text(), "L01H02")
    assert found.key == program().key
    assert found.prefix_consistent
    assert found.explanation == "The token before, and a little of the first."
    assert found.terms == 4


def test_what_was_tested_is_void_when_the_source_is_edited(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    file.write_text(program().source.replace("0.25", "0.25 * n"))
    assert not load_program(file).prefix_consistent
    file.write_text(program().source.replace("; prefix-consistent", "; looks ahead"))
    assert not load_program(file).prefix_consistent


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (MARKER + "other\n" + PREVIOUS, "no function other"),
        (MARKER + "previous\n" + PREVIOUS.replace(":\n", "\n", 1), "syntax error in line"),
        (MARKER + "previous; trust me\n" + PREVIOUS, "line 1: a free-form program begins with"),
        (MARKER + "previous\n" + "(" * 100_000, "is no free-form program|nested too deeply"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(source: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(source)
    with pytest.raises(HeadscriptError, match=said):
        load_program(file)


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Run:
    """A run one of whose programs is free-form."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    program().save(folder / "programs" / "L01H02.py")
    return Run.open(folder)


def test_a_run_is_scored_and_shown_with_it(run: Run, small_run: Path) -> None:
    documents = load_texts(small_run.parent / "texts.txt")[:3]
    score = score_run(run, documents)
    rows = {row.head: row for row in score.by_head}
    row = rows[str(Head(1, 2))]
    assert row.status == "ok"
    assert row.prefix_consistent
    assert row.iou > row.baselines["first token"] * 0.1
    assert score.isolation is not None
    assert score.isolation.startswith("full")
    shown = portrait(run, "L1H2")
    assert shown.edited
    assert shown.best is not None
    assert shown.best.predicted[3, 2] == pytest.approx(0.8)


def test_it_takes_the_place_of_a_head(run: Run) -> None:
    model = load_model(run.config.model)
    ids = torch.tensor([list(run.texts("test")[0].token_ids)])

    def pattern(on: Text) -> torch.Tensor:
        n = len(on)
        weights = torch.eye(n).roll(-1, 1).tril()
        weights[:, 0] += 0.25
        return weights / weights.sum(1, keepdim=True)

    with torch.no_grad():
        with replaced(model, {Head(1, 2): program()}) as network:
            found = network(ids).logits
            generated = network.generate(ids[:, :4], max_new_tokens=6, do_sample=False)  # type: ignore[operator]
        with replaced(model, {Head(1, 2): pattern}) as network:
            expected = network(ids).logits
            again = network.generate(ids[:, :4], max_new_tokens=6, do_sample=False)  # type: ignore[operator]
        original = model.network(ids).logits
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, original)
    assert generated.tolist() == again.tolist()


def test_one_that_looks_ahead_needs_to_be_admitted(run: Run) -> None:
    model = load_model(run.config.model)
    for consistent in (False, None):
        with (
            pytest.raises(HeadscriptError, match="not prefix-consistent"),
            replaced(model, {Head(1, 2): program(AHEAD, consistent)}),
        ):
            pass
    with (
        torch.no_grad(),
        replaced(model, {Head(1, 2): program(AHEAD, False)}, allow_inconsistent=True) as network,
    ):
        assert network(torch.tensor([list(run.texts("test")[0].token_ids)])).logits.isfinite().all()


def test_the_word_of_a_file_is_not_taken_for_it(run: Run, tmp_path: Path) -> None:
    """Whoever writes a program can write what headscript would write of one that keeps to it."""
    liar = PREVIOUS.replace("out[:, 0] += 0.25", "out += np.eye(n)\n    out[:, 0] += n")
    digest = hashlib.sha256(liar.encode()).hexdigest()[:12]
    file = tmp_path / "L01H02.py"
    file.write_text(f"{MARKER}previous; prefix-consistent, tested as {digest}\n{liar}")
    found = load_program(file)
    assert found.prefix_consistent
    said = r"L01H02 fails .* says that it is prefix-consistent, and row \d+ changes by"
    with pytest.raises(ProgramError, match=said):
        found(text())
    ids = torch.tensor([list(run.texts("test")[0].token_ids)])
    model = load_model(run.config.model)
    with pytest.raises(ProgramError, match=said), replaced(model, {Head(1, 2): found}) as network:
        network(ids)
    with Run.open_for_writing(run.directory) as opened:
        shutil.copy(file, opened.program_file(Head(1, 2)))
        curve = replacement_curve(opened, fractions=(0.0, 5 / 12), orders=("iou",))
    assert "says that it is prefix-consistent" in curve.failures["L01H02"]
    # As long as it says nothing of the kind, it is what it is.
    assert program(liar, None)(text()).shape == (len(text()), len(text()))


def test_a_short_beginning_on_which_it_breaks_down_proves_nothing() -> None:
    def often(least: int) -> None:
        """Runs of one that works on seven tokens, and on beginnings of at least so many."""
        line = f"    assert n == 7 or n >= {least}\n    out = "
        broken, on = program(PREVIOUS.replace("    out = ", line, 1)), text().prefix(7)
        for _ in range(80):  # each is cut elsewhere
            on.forget()
            assert broken(on).shape == (7, 7)

    often(4)
    with pytest.raises(ProgramError, match=r"fails on a prefix of 4 tokens: raised AssertionError"):
        often(5)


def test_a_run_is_tuned_around_it(run: Run) -> None:
    tune(run.directory, settings=TuneSettings(steps=3, step_tokens=60, dtype="float32"))
    tuned = run.programs("tuned")[Head(1, 2)]
    assert tuned.source == program().source
    assert isinstance(tuned, FreeForm)
    assert tuned.prefix_consistent


def test_replacement_is_measured_with_it(run: Run) -> None:
    def curve(**more: Any) -> ReplacementCurve:
        return replacement_curve(
            run, fractions=(0.0, 5 / 12), orders=("iou",), baseline_fractions=(), **more
        )

    with Run.open_for_writing(run.directory) as run:
        found = curve()
        assert found.prefix_consistent
        assert found.failures == {}
        assert found.isolation is not None
        assert found.isolation.startswith("full")
        program(AHEAD, False).save(run.program_file(Head(1, 2)))
        with pytest.raises(HeadscriptError, match="not prefix-consistent"):
            curve()
        assert not curve(allow_inconsistent=True).prefix_consistent

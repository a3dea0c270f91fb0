"""record as a person or a program runs it, and what can be done with an imported run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attention_files.files import save_files, save_tokenizer
from tests.cli.commands import Command, command

from headscript.library.entries import Library
from headscript.runs import Run


@pytest.fixture(scope="module")
def some_library(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("library") / "some.jsonl"
    Library.load(small_run).save(file)
    return file


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, some_library: Path) -> Path:
    """A run of imported attention, matched; for reading only."""
    folder = tmp_path_factory.mktemp("imported")
    words = save_tokenizer(folder / "words")
    files = save_files(folder / "files")
    run = folder / "run"
    made = command("record", "--import", *files, "--tokenizer", words, "--out", run, "--json")
    assert made.code == 0, made.err
    found = json.loads(made.out)
    assert found["architecture"] == "imported"
    assert found["texts"] == {"fit": 3, "select": 1, "test": 1}
    assert (found["heads"], found["left_out"]) == (6, [])
    assert found["bytes"] > 0
    assert "no programs yet" in command("show", run, "L0H0").err
    matched = command("match", run, "--library", some_library, "--out", run, "--leave-one-out")
    assert matched.code == 0, matched.err
    assert "one text left out, refitted" in matched.out
    return run


def test_a_model_is_recorded_and_explained(
    small_run: Path, tmp_path: Path, headscript: Command
) -> None:
    model, texts, run = small_run.parent / "model", small_run.parent / "texts.txt", tmp_path / "run"
    arguments = [model, "--texts", texts, "--heads", "L1", "--out", run]
    told = headscript("record", *arguments)
    assert told.code == 0, told.err
    assert "headscript explain" in told.out
    found = json.loads(headscript("record", *arguments, "--json").out)
    assert found["run"] == str(run)
    assert (found["heads"], found["architecture"]) == (4, "LlamaForCausalLM")
    assert sum(found["texts"].values()) == 10
    explained = headscript("explain", *arguments, "--max-terms", 2, "--workers", 1, "--json")
    assert len(json.loads(explained.out)["heads"]) == 4


def test_an_imported_run_does_what_needs_no_model(
    imported: Path, tmp_path: Path, headscript: Command
) -> None:
    scored = json.loads(headscript("score", imported, "--json").out)
    results = Run.open(imported).results()
    assert scored["iou"]["mean"] == pytest.approx(results.summary.iou.mean, abs=1e-5)
    assert scored["coverage"] == 1
    assert "the run's test texts" in headscript("score", imported).out
    shown = json.loads(headscript("show", imported, "L1H2", "--json").out)
    assert shown["best"]["iou"] == pytest.approx(shown["scores"]["iou"], abs=2e-3)
    searched = headscript(
        *("explain", imported, "--out", tmp_path / "searched", "--workers", 1, "--json"),
        *("--max-terms", 2),
    )
    assert len(json.loads(searched.out)["heads"]) == 6
    assert Run.open(tmp_path / "searched").model.imported
    built = headscript("library", "build", imported, "--out", tmp_path / "built.jsonl")
    assert built.code == 0, built.err


def test_an_imported_run_has_an_atlas(imported: Path, tmp_path: Path, headscript: Command) -> None:
    pytest.importorskip("jinja2", reason="needs the extra 'report'")
    assert headscript("report", imported, "--out", tmp_path / "atlas.html").code == 0
    assert "imported" in (tmp_path / "atlas.html").read_text()


def test_no_questions_are_fetched_for_an_imported_run(
    imported: Path, refused: Callable[..., str]
) -> None:
    pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")
    assert "holds imported attention of toy and no model" in refused("evaluate", imported)


def test_an_imported_run_refuses_what_needs_the_model(
    imported: Path, small_run: Path, refused: Callable[..., str]
) -> None:
    texts = small_run.parent / "texts.txt"
    for arguments in (
        ["replace", imported],
        ["tune", imported],
        ["generate", imported, "w4 w5"],
        ["score", imported, "--texts", texts],
        ["score", imported, "--texts", texts, "--model", small_run.parent / "model"],
    ):
        assert "holds imported attention of toy and no model that could be run" in refused(
            *arguments
        )
    assert "is for other texts" in refused("score", imported, "--max-texts", 2)


def test_what_cannot_be_recorded_is_one_sentence(
    small_run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    words, (file, *_) = save_tokenizer(tmp_path / "words"), save_files(tmp_path / "files")
    out = ["--out", tmp_path / "run"]
    model, texts = small_run.parent / "model", small_run.parent / "texts.txt"
    both = ["--tokenizer", words]
    assert "--texts is for recording a model" in refused(
        "record", "--import", file, *both, "--texts", texts, *out
    )
    assert "--recording-bits is for recording a model" in refused(
        "record", "--import", file, *both, "--recording-bits", 8, *out
    )
    assert "name it, --tokenizer" in refused("record", "--import", file, *out)
    assert "--tokenizer is for --import" in refused("record", model, "--texts", texts, *both, *out)
    assert "for --import alone" in refused("record", model, "--texts", texts, "--causal", *out)
    assert "is a model, not a run: say on which texts" in refused("record", model, *out)
    assert "Name one model" in refused("record", model, model, "--texts", texts, *out)
    assert "such as 3/1/1" in refused("record", "--import", file, *both, "--shares", "a/b", *out)
    assert "too few to split" in refused("record", "--import", file, *both, *out)
    (tmp_path / "a.pt").touch()
    assert "run any code" in refused("record", "--import", tmp_path / "a.pt", *both, *out)
    assert not (tmp_path / "run").exists()

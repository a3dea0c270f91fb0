"""Runs that hold a recording alone: made, gone on from, matched, and kept apart."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.small_run import HEADS, save_model, save_texts

from headscript.errors import HeadscriptError
from headscript.explaining import explain
from headscript.library.entries import Library
from headscript.library.matching import match
from headscript.recorded import Recorded
from headscript.recording import Recording
from headscript.recording_runs import record_run
from headscript.records import SPLITS
from headscript.runs import Run

SETTINGS: dict[str, Any] = {"heads": HEADS, "max_texts": 9, "max_tokens": 11, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and texts."""
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "model")
    save_texts(folder / "texts.txt")
    return folder


def recorded(made: Path, out: Path) -> Run:
    return record_run(str(made / "model"), made / "texts.txt", out, **SETTINGS)


def explained(made: Path, out: Path, **more: Any) -> Run:
    model, texts = str(made / "model"), made / "texts.txt"
    return explain(model, texts, out, max_terms=2, workers=1, **(SETTINGS | more))


def lasting(run: Run) -> tuple[Any, Any]:
    """What a run found, without what it took."""
    results = run.read_json("results.json")
    for name in ("seconds", "peak_memory_mb"):
        results["summary"].pop(name)
    return results, {str(h): p.source for h, p in run.programs().items()}


def files_of(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def straight(made: Path) -> tuple[Any, Any]:
    """What explain finds without a recording before it."""
    return lasting(explained(made, made / "straight"))


@pytest.fixture(scope="module")
def small_library(small_run: Path) -> Library:
    """The programs of another run."""
    return Library.load(small_run)


def test_explain_goes_on_from_a_recording(
    made: Path, straight: tuple[Any, Any], tmp_path: Path
) -> None:
    run = recorded(made, tmp_path / "run")
    assert {file.name for file in run.directory.iterdir() if "lock" not in file.name} == {
        "recording",
        "run.json",
        "texts.jsonl",
        "tokenizer",
    }
    with pytest.raises(HeadscriptError, match="holds a recording and no programs yet"):
        run.results()
    facts = Recorded(run).facts()
    assert facts["texts"] == {"fit": 5, "select": 2, "test": 2}
    assert (facts["heads"], facts["layers"], facts["causal"]) == (5, 3, True)
    before = files_of(run.directory / "recording")
    went_on = explained(made, tmp_path / "run")
    assert files_of(run.directory / "recording") == before
    assert went_on.config.max_terms == 2
    assert lasting(went_on) == straight
    # All is there already, and nothing is changed.
    finished = files_of(run.directory)
    recorded(made, tmp_path / "run")
    assert files_of(run.directory) == finished
    assert Run.open(tmp_path / "run").config == went_on.config


def test_a_run_is_explained_like_its_model(
    made: Path, straight: tuple[Any, Any], tmp_path: Path
) -> None:
    run = recorded(made, tmp_path / "run")
    before = files_of(run.directory / "recording")
    of_run = explain(run.directory, None, tmp_path / "other", max_terms=2, workers=1)
    assert lasting(of_run) == straight
    in_place = explain(run.directory, None, run.directory, max_terms=2, workers=1)
    assert lasting(in_place) == straight
    assert files_of(run.directory / "recording") == before
    shutil.rmtree(run.directory / "recording")  # a finished run is read, not made anew
    assert explain(run.directory, None, run.directory, max_terms=2, workers=1).finished
    assert not (run.directory / "recording").exists()
    with pytest.raises(HeadscriptError, match="leave out --texts, --seed"):
        explain(run.directory, "stories", tmp_path / "new", seed=0)
    with pytest.raises(HeadscriptError, match="say on which texts"):
        explain(made / "model", None, tmp_path / "new")
    with pytest.raises(HeadscriptError, match="has its recording already"):
        record_run(str(run.directory), None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_a_recording_hangs_on_binds(made: Path, tmp_path: Path) -> None:
    recorded(made, tmp_path / "run")
    for name, value in {"seed": 4, "max_tokens": 10, "heads": "L1", "recording_bits": 8}.items():
        with pytest.raises(HeadscriptError, match=f"{name} was"):
            explained(made, tmp_path / "run", **{name: value})
    with pytest.raises(HeadscriptError, match="takes 8 or 16 bits, not 9"):
        record_run(str(made / "model"), made / "texts.txt", tmp_path / "new", recording_bits=9)
    assert not (tmp_path / "new").exists()


def test_a_run_is_matched_like_its_model(
    made: Path, small_library: Library, tmp_path: Path
) -> None:
    run = recorded(made, tmp_path / "run")
    of_model = match(
        made / "model", made / "texts.txt", library=small_library, **SETTINGS
    ).model_dump(exclude={"seconds"})
    before = files_of(run.directory)
    of_run = match(run.directory, library=small_library, out=tmp_path / "other")
    assert of_run.model_dump(exclude={"seconds"}) == of_model
    assert {k: v for k, v in files_of(run.directory).items() if "lock" not in k} == {
        k: v for k, v in before.items() if "lock" not in k
    }
    other = Run.open(tmp_path / "other")
    assert other.texts() == run.texts()
    assert other.model.weights_hash == run.model.weights_hash
    for split in SPLITS:
        theirs, ours = (Recording.open(each.recording_folder(split)) for each in (run, other))
        assert theirs.manifest == ours.manifest
    shutil.rmtree(tmp_path / "other" / "recording")
    assert Recorded(run).facts()  # a file that is shared stays where it is left
    in_place = match(run.directory, library=small_library, out=run.directory)
    assert in_place.model_dump(exclude={"seconds"}) == of_model
    assert Run.open(run.directory).finished
    assert match(run.directory, library=small_library, out=run.directory) == in_place


def test_a_match_that_was_killed_goes_on(
    made: Path, small_library: Library, tmp_path: Path
) -> None:
    run = recorded(made, tmp_path / "run")
    whole = match(run.directory, library=small_library, out=tmp_path / "other")
    (tmp_path / "other" / "results.json").unlink()
    shutil.rmtree(tmp_path / "other" / "recording" / "test")
    again = match(run.directory, library=small_library, out=tmp_path / "other")
    assert again.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})


def test_what_cannot_be_matched(
    made: Path, small_library: Library, small_run: Path, tmp_path: Path
) -> None:
    run = recorded(made, tmp_path / "run")
    asked: dict[str, Any] = {"texts": "stories", "max_tokens": 5, "heads": "L1", "seed": 1}
    for name, value in asked.items():
        option = "--" + name.replace("_", "-")
        with pytest.raises(HeadscriptError, match=f"has its texts and heads: leave out {option}"):
            match(run.directory, library=small_library, **{name: value})
    with pytest.raises(HeadscriptError, match="is a model, not a run: say on which texts"):
        match(made / "model", library=small_library)
    with pytest.raises(HeadscriptError, match="begun with other settings"):
        match(small_run, library=small_library, out=shutil.copytree(small_run, tmp_path / "copy"))
    shutil.rmtree(run.directory / "recording" / "select")
    with pytest.raises(HeadscriptError, match="holds no recording"):
        match(run.directory, library=small_library)
    record = json.loads((run.directory / "run.json").read_text())
    (run.directory / "run.json").write_text(json.dumps(record | {"model": None}))
    with pytest.raises(HeadscriptError, match="is not finished"):
        match(run.directory, library=small_library)

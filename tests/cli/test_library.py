"""match and library as a person or a program runs them."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import Command
from tests.small_run import HEADS

from headscript.library.entries import Library
from headscript.runs import Run


def test_a_library_is_built_listed_and_matched(
    small_run: Path, tmp_path: Path, headscript: Command
) -> None:
    file, run = tmp_path / "some.jsonl", tmp_path / "run"
    built = json.loads(headscript("library", "build", small_run, "--out", file, "--json").out)
    assert built["library"] == str(file)
    assert built["kept"] == len(Library.load(file))
    assert "kept" in headscript("library", "build", small_run, "--out", file).out

    listed = json.loads(headscript("library", "list", "--library", file, "--json").out)
    assert [row["name"] for row in listed["found"]] == [e.name for e in Library.load(file).entries]
    assert all(row["explanation"] and row["source"] for row in listed["found"])
    text = headscript("library", "list", "--library", file).out
    assert listed["found"][0]["name"] in text
    word = listed["found"][0]["name"]
    found = headscript("library", "list", "--library", file, "--search", word, "--json")
    assert json.loads(found.out)["found"][0]["name"] == word

    arguments = ["match", small_run.parent / "model", "--texts", small_run.parent / "texts.txt"]
    arguments += ["--library", file, "--heads", HEADS]
    matched = json.loads(headscript(*arguments, "--out", run, "--json").out)
    assert matched["run"] == str(run)
    assert matched["heads"] == len(matched["by_head"]) == 5
    assert matched["refitted"]["iou"]["mean"] > 0
    told = headscript(*arguments, "--no-refit").out
    assert "IoU, as they are" in told
    assert "refitted" not in told
    # The same texts and seed as the run from which the library was built; then another seed.
    assert matched["seen"] == 0
    assert "too good" not in told
    again = [*arguments, "--no-refit", "--seed", 1, "--out", tmp_path / "again"]
    other = json.loads(headscript(*again, "--json").out)
    used = {text.id for text in Run.open(small_run).texts() if text.split != "test"}
    ids = [text.id for text in Run.open(tmp_path / "again").texts("test")]
    assert other["seen"] == sum(each in used for each in ids) > 0
    told = headscript(*again).out
    assert f"fitted or chosen on {other['seen']} of the test texts" in told
    shown = headscript("show", run, "L0H1").out
    assert matched["by_head"][0]["refitted"]["name"] in shown
    scored = headscript("score", run, "--texts", small_run.parent / "texts.txt", "--json")
    assert json.loads(scored.out)["heads"] == 5
    replaced = headscript(
        "replace", run, "--texts", small_run.parent / "texts.txt", "--fractions", "0.2"
    )
    assert replaced.code == 0


def test_what_cannot_be_done_is_one_sentence(
    small_run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "no library at" in refused("library", "list", "--library", tmp_path / "none.jsonl")
    named = ["--library", small_run]
    assert "has the category" in refused("library", "list", *named, "--category", "nothing")
    assert ".jsonl" in refused("library", "build", small_run, "--out", tmp_path / "library")
    texts = small_run.parent / "texts.txt"
    assert "There is no model" in refused("match", tmp_path / "m", "--texts", texts, *named)
    model = small_run.parent / "model"
    assert "no file" in refused("match", model, "--texts", tmp_path / "t.txt", *named)
    refused("match", model, "--texts", texts, *named, "--out", texts)
    refused("match", model, "--texts", texts, *named, "--heads", "L9")
    assert not (tmp_path / "library").exists()

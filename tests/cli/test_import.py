"""headscript import, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Command

from headscript.runs import Run
from headscript.sandbox import isolation

pytestmark = pytest.mark.skipif(
    isolation().level != "full", reason="needs a system with Landlock and seccomp"
)

JOINED = Path(__file__).parents[1] / "programs" / "published" / "joined.py"


def test_programs_are_tried_written_and_scored(
    run: Path, headscript: Command, tmp_path: Path, small_run: Path
) -> None:
    texts = small_run.parent / "texts.txt"
    options = ["--tokenizer", run, "--texts", texts, "--max-texts", "2", "--workers", "1"]
    answer = headscript("import", JOINED, *options, "--out", tmp_path / "kept", "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert found["found"] == 6
    assert len(found["accepted"]) == 6
    assert found["failed"] == []
    assert found["texts"] == 2
    file = tmp_path / "kept" / "previous_word.py"
    head = Run.open(run).covered_heads()[0]
    Run.open(run).program_file(head).write_text(file.read_text())
    scored = headscript("score", run, "--texts", texts, "--max-texts", "2", "--json")
    assert scored.code == 0, scored.err
    score = json.loads(scored.out)
    row = next(row for row in score["by_head"] if row["head"] == str(head))
    assert row["status"] == "ok"
    assert score["isolation"].startswith("full")


def test_the_table(run: Path, headscript: Command, tmp_path: Path) -> None:
    broken = JOINED.with_name("module.py")
    answer = headscript("import", broken, "--tokenizer", run, "--max-texts", "1", "--workers", "1")
    assert answer.code == 0, answer.err
    assert "7 found" in answer.out
    assert "prefix-consistent" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_mistakes_are_one_sentence(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    assert "There is no program file" in refused("import", tmp_path / "none.py", "--tokenizer", run)
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    assert "holds no program" in refused("import", empty, "--tokenizer", run)
    assert "There is no model" in refused("import", JOINED, "--tokenizer", tmp_path / "none")


def test_doctor_says_what_isolation_is_active(headscript: Command) -> None:
    found = json.loads(headscript("doctor", "--json").out)
    assert found["sandbox"] == isolation().as_json()
    assert "seccomp" in headscript("doctor").out

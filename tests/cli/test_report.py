"""headscript report, as a person or a program runs it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import Command


def test_it_writes_a_page_and_says_where(run: Path, headscript: Command) -> None:
    answer = headscript("report", run)
    assert answer.code == 0, answer.err
    page = run / "atlas.html"
    size = f"{page.stat().st_size / 1e6:.1f} MB"
    assert answer.out == (
        f"{page}: 5 heads with the programs 'found', {size}; open it in a browser.\n"
    )
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    for stage in ("reading programs: 5 of 5", "looking at heads", "writing down programs: 5 of 5"):
        assert stage in answer.err


def test_for_programs_there_is_one_json_object(
    run: Path, headscript: Command, tmp_path: Path
) -> None:
    shutil.rmtree(run / "recording")
    out = tmp_path / "page.html"
    answer = headscript("report", run, "--out", out, "--programs", "found", "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert found == {
        "file": str(out),
        "bytes": out.stat().st_size,
        "version": "found",
        "heads": 5,
        "sample": None,
        "note": found["note"],
    }
    assert "There are no patterns" in found["note"]
    assert not (run / "atlas.html").exists()
    assert found["note"] in headscript("report", run, "--out", out).out


def test_two_runs(run: Path, headscript: Command, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    answer = headscript("report", run, "--compare", other, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["bytes"] > 10_000


def test_mistakes_are_one_sentence(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    assert "There is no run at" in refused("report", tmp_path / "none")
    assert "has no programs 'tuned'; it has found" in refused("report", run, "--programs", "tuned")
    assert "is a folder; name a file" in refused("report", run, "--out", tmp_path)
    assert "compared with themselves" in refused("report", run, "--compare", run)
    assert "compared with themselves" in refused("report", run, "--compare-programs", "found")
    assert not (run / "atlas.html").exists()
    (run / "programs" / "L01H02.py").write_text("import os\n")
    assert "L01H02.py" in refused("report", run)
    (run / "results.json").unlink()
    assert "is not finished" in refused("report", run)
    assert not (run / "atlas.html").exists()

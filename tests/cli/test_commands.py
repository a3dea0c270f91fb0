"""The commands as a person or a program runs them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.cli.commands import Command
from tests.small_run import HEADS, save_model, save_texts

from headscript.runs import Run


def test_help_names_the_commands(headscript: Command) -> None:
    answer = headscript("--help")
    assert answer.code == 0
    for command in ("explain", "show", "score", "try", "replace", "generate", "doctor"):
        assert command in answer.out
        assert "--json" in headscript(command, "--help").out


def test_version(headscript: Command) -> None:
    assert headscript("--version").out == f"{version('headscript')}\n"


def test_a_wrong_option_is_a_usage_error(headscript: Command) -> None:
    answer = headscript("explain", "m", "--text", "stories", "--out", "x")
    assert answer.code == 2
    assert answer.out == ""
    assert "--texts" in answer.err


def test_an_interrupt_is_exit_code_130(
    headscript: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headscript.diagnosis.diagnose", interrupted)
    assert headscript("doctor").code == 130


def test_doctor_says_what_is_here(headscript: Command) -> None:
    found = json.loads(headscript("doctor", "--json").out)
    assert found["versions"]["torch"]
    assert set(found["cache"]["models"]) == {"smollm2-135m", "minilm-l6"}
    assert {"linguistics", "hub"} <= found["extras"].keys()
    assert not {"all", "dev"} & found["extras"].keys()
    text = headscript("doctor").out
    assert "torch" in text
    assert "extra hub" in text


def test_explain_killed_goes_on_where_it_was_and_ends_the_same(
    small_run: Path, tmp_path: Path, headscript: Command
) -> None:
    run = tmp_path / "run"
    command = ["explain", str(small_run.parent / "model"), "--heads", HEADS, "--max-terms", "3"]
    command += ["--texts", str(small_run.parent / "texts.txt"), "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "headscript", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (run / "search" / "L00.json").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not Run.open(run).finished
    finished = (run / "search" / "L00.json").stat().st_mtime_ns

    answer = headscript(*command, "--json")
    assert answer.code == 0, answer.err
    assert "Recording 50 patterns of 5 heads on 10 texts" in answer.err
    assert (run / "search" / "L00.json").stat().st_mtime_ns == finished
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    expected = json.loads((small_run / "results.json").read_text())
    assert found["run"] == str(run)
    assert found["heads"] == expected["heads"]
    assert found["summary"]["iou"] == expected["summary"]["iou"]
    assert (run / "run.json").read_text() == (small_run / "run.json").read_text()
    for program in (small_run / "programs").iterdir():
        assert (run / "programs" / program.name).read_text() == program.read_text()

    begin = time.time()
    again = headscript(*command)
    assert again.code == 0, again.err
    assert "5 heads, IoU on 2 test texts" in again.out
    assert "95 % interval" in again.out
    assert str(run) in again.out
    assert all(file.stat().st_mtime < begin for file in run.rglob("*.json"))


def test_show_prints_program_scores_and_patterns(run: Path, headscript: Command) -> None:
    answer = headscript("show", run, "L1H2")
    assert answer.code == 0, answer.err
    for part in ("Layer 1, head 2", "def attend(", "IoU, test", "Best test text", "Worst", "█"):
        assert part in answer.out
    assert "headscript try RUN L1H2 FILE" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100
    found = json.loads(headscript("show", run, "L1H2", "--json").out)
    assert found["source"] in (run / "programs" / "L01H02.py").read_text()


def test_show_does_not_break_the_lines_of_a_program(
    run: Path, headscript: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (run / "programs" / "L01H02.py").read_text().strip()
    monkeypatch.setenv("COLUMNS", str(max(map(len, source.splitlines())) // 2))
    said = headscript("show", run, "L1H2").out
    lines = [line.rstrip() for line in said.splitlines()]
    first = lines.index(source.splitlines()[0])
    assert "\n".join(lines[first:]).startswith(source)


def test_show_without_a_head_is_of_all(headscript: Command, run: Path) -> None:
    said = headscript("show", run)
    assert said.code == 0, said.err
    assert "IoU, mean" in said.out
    found = json.loads(headscript("show", run, "--json").out)
    assert found == {"run": str(run)} | json.loads((run / "results.json").read_text())


def test_score_prints_what_its_json_says(run: Path, tmp_path: Path, headscript: Command) -> None:
    texts = save_texts(tmp_path / "other.txt", number=3, seed=5)
    answer = headscript("score", run, "--texts", texts, "--max-texts", 2, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["heads"], found["texts"]) == (5, 2)
    assert found["iou"].keys() == {"mean", "median", "ci95"}
    printed = headscript("score", run, "--texts", texts, "--max-texts", 2).out
    assert f"{found['iou']['mean']:.3f}" in printed
    assert "5 heads, IoU on 2 texts" in printed
    assert found["seen"] == 0
    assert "too good" not in printed


def test_score_says_that_texts_were_fitted_on(
    run: Path, tmp_path: Path, headscript: Command
) -> None:
    rows = [json.loads(line) for line in (run / "texts.jsonl").read_text().splitlines()]
    texts = tmp_path / "seen.txt"
    texts.write_text("\n\n".join(f"{row['text']} w9" for row in rows))
    found = json.loads(headscript("score", run, "--texts", texts, "--json").out)
    assert (found["texts"], found["seen"]) == (10, 8)
    printed = headscript("score", run, "--texts", texts).out
    assert "fitted or chosen on 8 of these texts, or on others that these repeat" in printed


def test_mistakes_are_one_sentence_and_exit_code_2(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    texts = save_texts(tmp_path / "texts.txt")
    explain = ["explain", "--out", tmp_path / "new", "--texts"]
    assert "did you mean smollm2-135m" in refused(*explain, texts, "smollm2-135")
    assert "There is no file" in refused("score", run, "--texts", tmp_path / "none.txt")
    assert "no such folder" in refused("show", tmp_path / "nowhere", "L0H0")
    assert "no head L01H09" in refused("show", run, "L1H9", "--json")
    (run / "programs" / "L01H02.py").write_text("import os\n")
    assert "line 1" in refused("score", run, "--texts", texts, "--json")


def test_a_finished_run_is_not_passed_off_as_one_of_another_model(
    small_run: Path, run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.json")}
    other = save_model(tmp_path / "other", seed=1)
    told = refused(
        *("explain", other, "--texts", small_run.parent / "texts.txt", "--out", run),
        *("--heads", HEADS, "--max-terms", 3),
    )
    assert "model was" in told
    assert "choose another --out" in told
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*.json")} == before

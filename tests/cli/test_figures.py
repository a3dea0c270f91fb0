"""headscript figures, as a person or a program runs it."""

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Command

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")

from headscript.cli.figures import figures
from headscript.report.figures.drawing import FIGURES
from headscript.report.figures.style import FORMATS

QUICK = ("--fractions", "0.25", "--baseline-fractions", "none", "--no-figures")


def test_figures_are_drawn_and_the_command_for_what_is_missing_works(
    run: Path, tmp_path: Path, headscript: Command
) -> None:
    out = tmp_path / "for the paper"
    options = ("--out", out, "--format", "svg", "--only", "map,cost,perplexity")
    answer = headscript("figures", run, *options, "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert found["run"] == str(run)
    assert found["folder"] == str(out)
    assert found["figures"] == [{"name": "map", "files": ["map.svg", "map.csv"]}]
    assert sorted(file.name for file in out.iterdir()) == ["map.csv", "map.svg"]
    missing = {one["name"]: one for one in found["left_out"]}
    assert missing.keys() == {"cost", "perplexity"}

    name, *command = shlex.split(missing["cost"]["command"])
    assert name == "headscript"
    answer = headscript(*command, *QUICK)
    assert answer.code == 0, answer.err
    answer = headscript("figures", run, *options)
    assert answer.code == 0, answer.err
    assert "drawing: 3 of 3" in answer.err
    assert "perplexity-test" in answer.out
    assert "svg, csv" in answer.out
    assert str(out) in answer.out.replace("\n", "")
    assert "Left out" not in answer.out
    assert {file.stem for file in out.iterdir()} == {"map", "cost", "perplexity-test"}


def test_what_is_left_out_is_told(run: Path, headscript: Command) -> None:
    answer = headscript("figures", run, "--only", "terms,questions", "--format", "png")
    assert answer.code == 0, answer.err
    assert "questions: no questions were asked" in answer.out
    assert f"headscript evaluate {run}" in answer.out
    assert sorted(file.name for file in (run / "figures").iterdir()) == ["terms.csv", "terms.png"]


def test_mistakes_are_one_sentence_and_leave_nothing(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for arguments, words in (
        (("--only", "score"), "did you mean 'scores'?"),
        (("--only", ","), "No figure is asked for"),
        (("--format", "gif"), "no format 'gif'"),
        (("--programs", "tuned"), "no programs 'tuned'"),
        (("--only", "questions"), "has no data for questions"),
        (("--only", "terms", "--format", "svg", "--out", tmp_path / "file"), "cannot be written"),
    ):
        assert words in refused("figures", run, *arguments), arguments
    assert not (run / "figures").exists()
    assert (tmp_path / "file").read_text() == "mine"
    assert "no such folder" in refused("figures", tmp_path / "nowhere")
    (run / "results.json").unlink()
    assert "not finished" in refused("figures", run)


def test_without_matplotlib_it_is_said_what_to_install(
    run: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    assert "pip install 'headscript[figures]'" in refused("figures", run)


def test_the_command_and_the_library_have_the_same_defaults() -> None:
    defaults = {name: p.default for name, p in inspect.signature(figures).parameters.items()}
    assert tuple(defaults["only"].split(",")) == FIGURES
    assert tuple(defaults["formats"].split(",")) == FORMATS

"""The pages made from the code are current, and what they show is true."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.small_run import save_texts

from headscript.evaluation.trials import Trial
from headscript.language import VOCABULARY
from headscript.programs import Program

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_of_the_language_is_current():
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_language_shows_a_program_that_passes_and_every_entry():
    page = (DOCS / "language.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert Program.parse(examples[0]).terms == 3
    for example in examples[1:]:
        compile(example, "example.py", "exec")
    for entry in VOCABULARY:
        if entry.compute.__module__.startswith("headscript."):
            assert f"`text.{entry.name}" in page or f"`{entry.name}(" in page


def test_the_idea_that_the_page_on_runs_tries_is_a_program():
    (example,) = re.findall(
        r"```python\n(.*?)```", (DOCS / "runs.md").read_text(encoding="utf-8"), flags=re.S
    )
    assert list(Program.parse(example).constants) == ["sink", "near", "the"]


def test_the_page_on_python_runs_block_by_block(
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    model = str(small_run.parent / "model")
    here = {
        '"smollm2-135m"': repr(model),
        '"HuggingFaceTB/SmolLM2-135M"': repr(model),
        '"stories"': repr(str(save_texts(tmp_path / "texts.txt", number=12, seed=3))),
    }
    shutil.copytree(small_run, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = list(re.finditer(r"```python\n(.*?)```", page, flags=re.S))
    assert len(blocks) == page.count("```") // 2
    for block in blocks:
        code = block[1]
        for name, place in here.items():
            code = code.replace(name, place)
        # As many lines before it as there are on the page, so that a failure names its line.
        before = "\n" * page[: block.start(1)].count("\n")
        exec(compile(before + code, "docs/python.md", "exec"), names)
        assert "print(" not in code or capsys.readouterr().out
    trials = [found for found in names.values() if isinstance(found, Trial)]
    assert [found.on for found in trials] == ["select", "select"]
    assert all(found.against is not None for found in trials)

"""What `import headscript` gives."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import headscript


def test_every_public_name_is_there() -> None:
    for name in headscript.__all__:
        assert getattr(headscript, name) is not None
    assert set(headscript.__all__) <= set(dir(headscript))
    assert headscript.__version__ == version("headscript")
    assert callable(headscript.explain)
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        headscript.explian  # noqa: B018


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, headscript, headscript.cli\n"
        "heavy = {'torch', 'transformers', 'numpy', 'polars', 'pydantic', 'spacy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


def test_a_run_is_loaded_and_its_programs_read(small_run: Path) -> None:
    run = headscript.load_run(small_run)
    program = headscript.Program.load(run.program_file(headscript.Head(1, 0)))
    assert len(program) == program.terms == len(program.constants)

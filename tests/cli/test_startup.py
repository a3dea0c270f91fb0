"""What is loaded before a command says anything: nothing that takes long."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "numba", "polars", "scipy")
LOADED = """
import sys
from headscript.cli import main
sys.argv = ["headscript", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sorted(sys.modules), file=sys.stderr)
"""


def loaded(*arguments: object) -> set[str]:
    """The modules that a command has loaded when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("loaded: "))
    return set(line.split()[1:])


def test_help_loads_no_arrays() -> None:
    assert not loaded("--help") & {*HEAVY, "numpy", "pydantic"}


@pytest.mark.parametrize("arguments", [(), ("L1H2",), ("L1H2", "--json")], ids=str)
def test_show_loads_no_model(small_run: Path, arguments: tuple[str, ...]) -> None:
    assert not loaded("show", small_run, *arguments) & {*HEAVY}

"""Compiled functions are kept on disk as long as no file of their folder changes."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import headscript.kernels
from headscript.kernels import available

pytestmark = pytest.mark.skipif(
    available("numba") is not None, reason=f"numba: {available('numba')}"
)

USER = """
from kept.compiled import compiled, written
from kept.vectors import INT, exp, load, store

@written()
def replace(builder, values):
    store(builder, exp(builder, load(builder, values.data, INT(0))), values.data, INT(0))

def _run(values):
    replace(values)

run = compiled("void(float32[::1])", _run)
"""


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ModuleType]:
    """Imports anew what uses a copy of `compiled` and `vectors`, in the folder `kept`."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in ("compiled", "vectors"):
        source = Path(headscript.kernels.__file__).with_name(f"{name}.py").read_text("utf-8")
        (folder / f"{name}.py").write_text(source, "utf-8")
    (folder / "__init__.py").touch()
    (folder / "user.py").write_text(USER, "utf-8")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which tells files by whole seconds

    def anew() -> ModuleType:
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "kept"]:
            monkeypatch.delitem(sys.modules, name)
        return import_module("kept.user")

    return anew


def of_minus_one(module: ModuleType) -> float:
    values = np.full(16, -1, np.float32)
    module.run(values)
    return float(values[3])


def from_disk(module: ModuleType) -> int:
    return sum(module.run.stats.cache_hits.values())


def test_a_change_of_a_file_that_is_used_makes_code_anew(
    imported: Callable[[], ModuleType], tmp_path: Path
) -> None:
    first = imported()
    assert of_minus_one(first) == pytest.approx(np.exp(-1))
    assert from_disk(first) == 0
    again = imported()
    assert of_minus_one(again) == of_minus_one(first)
    assert from_disk(again) == 1
    with (tmp_path / "kept" / "vectors.py").open("a") as file:
        file.write("\n\ndef exp(builder, value):\n    return builder.fadd(value, value)\n")
    changed = imported()
    assert of_minus_one(changed) == -2
    assert from_disk(changed) == 0


@pytest.mark.parametrize("name", ["gauss_newton", "loglinear", "derived"])
def test_code_of_several_files_is_kept_by_all_of_them(name: str) -> None:
    from numba.core.dispatcher import Dispatcher

    from headscript.kernels import compiled

    module = import_module(f"headscript.kernels.{name}")
    functions = [value for value in vars(module).values() if isinstance(value, Dispatcher)]
    kept = [function.py_func for function in functions if function.stats.cache_path]
    assert kept
    for function in kept:
        assert function.__qualname__ == f"{function.__name__}_{compiled._hash_of_sources()}"


def test_code_that_cannot_be_kept_on_disk_is_compiled_all_the_same() -> None:
    from headscript.kernels.compiled import compiled

    namespace: dict[str, Any] = {}
    exec(
        "def doubled(values):\n    for i in range(len(values)):\n        values[i] *= 2", namespace
    )
    values = np.arange(3.0)
    compiled("void(float64[::1])", namespace["doubled"])(values)
    assert values.tolist() == [0, 2, 4]

"""Processes that work for another one, also on systems that lack what Linux has."""

import subprocess
import sys

import pytest

from headscript.engines.processes import peak_bytes

ELSEWHERE = """
import signal, sys
import headscript.explaining  # brings what others have made, which is not what is tried here

for name in [name for name in sys.modules if name.split(".")[0] == "headscript"]:
    del sys.modules[name]
sys.platform = "win32"
sys.modules["resource"] = None  # any import of it fails
del signal.SIGKILL
import headscript.explaining
from headscript.engines import processes

def no_table(path):
    raise FileNotFoundError(path)

processes.Path.read_text = no_table
print(processes.peak_bytes())
"""


def test_explaining_can_be_imported_where_there_is_no_module_resource() -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"  # nobody says how much memory it has had


def test_memory_is_told_without_the_table_of_linux_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource", reason="needs a system that counts memory in this way")
    told = peak_bytes()
    monkeypatch.setattr("headscript.engines.processes.Path", lambda path: NoTable())
    assert told / 2 < peak_bytes() < told * 4 + 1e9


class NoTable:
    def read_text(self) -> str:
        raise FileNotFoundError

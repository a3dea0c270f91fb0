"""What isolation is active here, found out by trying."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from headscript.errors import HeadscriptError
from headscript.sandbox.frames import Kind, json_frame
from headscript.sandbox.policy import Layers
from headscript.sandbox.worker import Worker, WorkerDied

Level = Literal["full", "partial", "none"]


@dataclass(frozen=True)
class Isolation:
    """The layers around a program; each that is named was seen to refuse what it should."""

    level: Level
    """"full" is all four; "partial" at least a process of its own; "none" cannot run programs."""
    fork: bool
    """Each run has a process of its own, forked from one without secrets."""
    rlimits: bool
    landlock: int
    """The version of Landlock; 0 for none."""
    seccomp: bool
    note: str = ""
    """What is missing, and what that means."""

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return dict(vars(self))

    def __str__(self) -> str:
        layers = {
            "a process for each run": self.fork,
            "limits of memory and time": self.rlimits,
            f"Landlock {self.landlock}": bool(self.landlock),
            "seccomp": self.seccomp,
        }
        return f"{self.level}: {', '.join(name for name, on in layers.items() if on) or 'nothing'}"


@lru_cache(maxsize=1)
def isolation() -> Isolation:
    """Start a parent process and see which layers hold in its children; a third of a second."""
    try:
        worker = Worker()
    except HeadscriptError as error:
        return Isolation("none", False, False, 0, False, str(error))
    try:
        here = worker.layers
        landlock = Layers(rlimits=False, landlock=here.landlock, seccomp=False)
        rlimits = Layers(rlimits=True, landlock=0, seccomp=False)
        seccomp = Layers(rlimits=False, landlock=0, seccomp=True)
        holds_landlock = bool(here.landlock) and _refused(worker, landlock, "file")
        holds_rlimits = here.rlimits and _refused(worker, rlimits, "memory")
        holds_seccomp = here.seccomp and _refused(worker, seccomp, "socket")
    except WorkerDied as error:
        return Isolation("none", False, False, 0, False, f"the sandbox's process ended: {error}")
    finally:
        worker.close()
    missing = [
        name
        for name, on in (
            ("limits of memory", holds_rlimits),
            ("Landlock", holds_landlock),
            ("seccomp", holds_seccomp),
        )
        if not on
    ]
    note = ""
    if missing:
        system = "macOS" if sys.platform == "darwin" else "this system"
        note = (
            f"{' and '.join(missing)} cannot be had on {system}: a hostile program could reach "
            "files and the network"
        )
    return Isolation(
        "partial" if missing else "full",
        True,
        holds_rlimits,
        here.landlock if holds_landlock else 0,
        holds_seccomp,
        note,
    )


def _refused(worker: Worker, layers: Layers, attempt: str) -> bool:
    """Whether a child with only these layers was kept from what it tried."""
    answer = worker.ask(json_frame(Kind.PROBE, {"layers": vars(layers), "attempt": attempt}), 10)
    if answer.kind is Kind.VALUE:
        return answer.value() is False
    return answer.text() == "forbidden system call"

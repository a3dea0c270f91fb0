"""What a child gives up before it reads a program."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headscript.sandbox import landlock, seccomp

if sys.platform != "win32":  # where nothing is run
    import resource

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


@dataclass(frozen=True)
class Limits:
    """What one run of a program on one sentence may use."""

    cpu_seconds: int = 2
    """Seconds of computing, whole ones, as the system counts them."""
    seconds: float = 10.0
    """Seconds by the clock until the child is killed from outside."""
    memory_mb: int = 512
    """Address space in MB (10^6 bytes) beyond what the child begins with."""
    questions: int = 512
    """How often a program may ask how another text than the sentence is tokenised or parsed."""
    question_bytes: int = 100_000
    """Bytes of all its questions: what it can have the host read."""

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Layers:
    """Which layers a child puts on itself; all that work here, except in tests of single ones."""

    rlimits: bool
    landlock: int
    """The version of Landlock; 0 leaves it out."""
    seccomp: bool


def layers_here() -> Layers:
    """The layers that this system has."""
    return Layers(os.name == "posix", landlock.version(), seccomp.supported())


def address_space() -> int:
    """Bytes of address space that this process has; 0 where the system does not say."""
    table = Path("/proc/self/statm")
    if not table.is_file():
        return 0
    return int(table.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def confine(limits: Limits, layers: Layers, *, base: int, parent: int) -> None:
    """Give up everything but computing and the channel; raises OSError where a layer fails.

    `base` is the address space the process begins with and `parent` the process that must outlive
    it. All descriptors but the channel must be closed before.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        for option, value in (
            (_PR_SET_PDEATHSIG, signal.SIGKILL),
            (_PR_SET_DUMPABLE, 0),
            (_PR_SET_NO_NEW_PRIVS, 1),
        ):
            if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != parent:  # it died before its death was of interest
            os._exit(1)
    if layers.landlock:
        landlock.restrict(layers.landlock)
    if layers.rlimits:
        _limit(limits, base)
    if layers.seccomp:
        seccomp.restrict(os.getpid())


def _limit(limits: Limits, base: int) -> None:
    if sys.platform == "win32":
        return
    soft_cpu = max(1, limits.cpu_seconds)
    wanted = {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_CPU": (soft_cpu, soft_cpu + 1),
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_NOFILE": (0, 0),
    }
    if base:
        space = base + limits.memory_mb * 1_000_000
        wanted["RLIMIT_AS"] = (space, space)
    for name, values in wanted.items():
        number = getattr(resource, name, None)
        if number is None:
            continue
        if sys.platform == "linux":
            resource.setrlimit(number, values)
        else:  # other systems refuse some of them, and the level says that this is weaker
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, values)

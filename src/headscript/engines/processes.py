"""Processes that work for another one: started without keys, gone when it is."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from headscript.explainers.keys import environment_without_keys

if sys.platform != "win32":  # which has no such module
    import resource

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Workers on as many cores do more than threads on small matrices, and sums come out the same."""


def start(
    module: str,
    *arguments: str,
    variables: Mapping[str, str],
    quiet: bool = False,
    folder: str | None = None,
) -> subprocess.Popen[str]:
    """Run a module in a process with pipes; it ends with this one, by `work_for`.

    Its environment is this one's without keys and with `variables`. `quiet` drops what it writes to
    standard error. `folder` is where it starts.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        cwd=folder,
        env={**environment_without_keys(), **variables},
    )


def work_for(parent: int, *, ended_by: signal.Signals | None = None) -> TextIO:
    """Make this process one that works for `parent`; gives the stream that answers go to.

    What libraries print goes to standard error from now on. Ctrl-C is left to the parent. On Linux
    the kernel sends this process the signal `ended_by` (None: SIGKILL) when its parent ends, also
    after kill -9; elsewhere it ends when it next reads from the parent's pipe.
    """
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ended_by = signal.SIGKILL if ended_by is None else ended_by
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, ended_by)
        if os.getppid() != parent:  # it had died before
            os.kill(os.getpid(), ended_by)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_bytes() -> int:
    """The most memory that this process has had; 0 where the system does not say."""
    try:
        # The other number counts what the process was forked from, too.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        if sys.platform == "win32":
            return 0
        scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale

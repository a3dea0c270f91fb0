"""One process at a time writes a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from headscript.errors import HeadscriptError


def locked(directory: Path, what: str) -> FileLock:
    """Take the lock of a folder; the system gives it back when a process dies.

    `what` is in it, "run" or "study". Raises HeadscriptError, saying who, where another process has
    the lock, and OSError where it cannot be written.
    """
    lock = FileLock(directory / "lock", thread_local=False)
    # The lock file itself is not written to: some versions of filelock empty it at every attempt.
    holder = directory / "lock.pid"
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        try:
            name = f"process {holder.read_text().strip()}"
        except OSError:  # the other has the lock, but has not yet said its name
            name = "another process"
        raise HeadscriptError(
            f"The {what} in {directory} is being written by {name}; wait for it, or choose another "
            "--out."
        ) from error
    try:
        holder.write_text(f"{os.getpid()} on {socket.gethostname()}")
    except OSError:
        lock.release()
        raise
    return lock

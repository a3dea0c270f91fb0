"""Who is asking what: so that two processes do not pay for the same answer.

A process claims a request in the store before it asks. A claim holds while its owner lives, which
shows in a lock on a file of the owner's that the system lets go of however the process ends.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from filelock import FileLock, Timeout


class Claims:
    """The claims of one process in the store at `path`."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self._owner = uuid.uuid4().hex
        self._lock = FileLock(self._file_of(self._owner), thread_local=False)
        self._lock.acquire()
        for file in path.parent.glob(f"{path.name}.*.lock"):  # of processes that were killed
            self._lives(file.name.removeprefix(f"{path.name}.").removesuffix(".lock"))

    def take(self, key: str) -> bool:
        """Claim a request; False where another process that lives has done so."""
        while True:
            taken = self._database.execute(
                "INSERT OR IGNORE INTO claims VALUES (?, ?)", (key, self._owner)
            ).rowcount
            row = self._database.execute(
                "SELECT owner FROM claims WHERE key = ?", (key,)
            ).fetchone()
            if taken or (row and row[0] == self._owner):
                return True
            if row and self._lives(row[0]):
                return False

    def give_up(self, key: str) -> None:
        """Let others ask."""
        self._database.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))

    def close(self) -> None:
        """Give up all claims, and the file that shows that this process lives."""
        self._clear(self._owner)
        self._lock.release()

    def _lives(self, owner: str) -> bool:
        """Whether a process lives; the claims of one that does not are cleared away."""
        if owner == self._owner:
            return True
        lock = FileLock(self._file_of(owner))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        try:
            self._clear(owner)
        finally:
            lock.release()
        return False

    def _clear(self, owner: str) -> None:
        self._database.execute("DELETE FROM claims WHERE owner = ?", (owner,))
        self._file_of(owner).unlink(missing_ok=True)

    def _file_of(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{owner}.lock")

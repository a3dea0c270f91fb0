"""Jobs done in parts and put together at the end: what is asked, and what came of each part.

They lie in RUN/parts/KIND-KEY/ while the job lasts, keyed by what is asked: a job that was killed
goes on with the parts that are missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headscript.disk import clear_disk_errors, write_atomically
from headscript.engines.engine import Engine
from headscript.errors import HeadscriptError
from headscript.models import Model
from headscript.runs import Run

_FOLDER = "parts"
_JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """A job of a kind, as the one who asks and those who work on a part of it see it."""

    run: Run
    name: str
    """KIND-KEY."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.run.directory / _FOLDER / self.name

    def asked(self) -> dict[str, Any]:
        """What is asked; raises HeadscriptError where there is no such job."""
        found: dict[str, Any] = self.run.read_json(f"{_FOLDER}/{self.name}/{_JOB}")
        return found

    def write(self, part: int, found: Any) -> None:
        """Keep what came of a part, a JSON value; numbers that are not finite may be in it."""
        write_atomically(self._file(part), json.dumps(found).encode())

    def read(self, part: int) -> Any:
        """What came of a part."""
        return self.run.read_json(f"{_FOLDER}/{self.name}/{part:05d}.json")

    def do(
        self, engine: Engine, parts: int, model: Model | None, on_part: Callable[[int], None]
    ) -> None:
        """Let an engine do the parts that are missing; `on_part` hears of each, done before too."""
        missing = [part for part in range(parts) if not self._file(part).exists()]
        for part in set(range(parts)).difference(missing):
            on_part(part)
        kind = self.name.rpartition("-")[0]
        for item in engine.run([f"{kind} {self.name} {part}" for part in missing], model=model):
            on_part(int(item.split()[-1]))

    def _file(self, part: int) -> Path:
        return self.folder / f"{part:05d}.json"


@contextmanager
def job_of(run: Run, kind: str, asked: Mapping[str, Any]) -> Iterator[Job]:
    """A job while inside; when it ends well its files are removed, else kept to go on with.

    What is asked is the same job where it comes in the same order.
    Raises HeadscriptError where another process does the same.
    """
    content = json.dumps(asked).encode()
    job = Job(run, f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}")
    with clear_disk_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(job.folder.with_name(f"{job.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise HeadscriptError(
            f"Another process does the same on the run in {run.directory}; wait for it."
        ) from error
    try:
        if not (job.folder / _JOB).exists():
            write_atomically(job.folder / _JOB, content)
        yield job
        shutil.rmtree(job.folder, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()

"""The engine of one machine: processes that are told items line by line, one a core."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING

from headscript.engines import processes
from headscript.engines.engine import place_of
from headscript.engines.team import Died, Team
from headscript.engines.worker import Answer, Post, Worker
from headscript.errors import HeadscriptError
from headscript.runs import Run

if TYPE_CHECKING:
    from headscript.models import Model

_SHORT = ("judge", "combine")  # jobs that take less than a process takes to start


class LocalEngine(Team):
    """Works on a run in `workers` processes (None: one a core).

    The files do not depend on the number of workers or on the order in which items end.
    """

    elsewhere = False

    def __init__(self, run: Run, workers: int | None = None) -> None:
        super().__init__()
        self._run = run
        self._workers = workers or processes.available_cores()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._numbers = count()

    def run(self, items: Sequence[str], *, model: Model | None = None) -> Generator[str]:
        """As `Engine.run`. Short items for one worker are done in this process."""
        place, weights = ("", 0) if model is None else place_of(model)
        post = Post(str(self._run.directory.resolve()), place)
        short = all(item.startswith(_SHORT) for item in items)
        if short and min(len(items), self._workers) == 1:
            return _here(post, items)
        return self.work(post, items, weights)

    def room(self, weights: int) -> int:
        """As many as were asked for."""
        return self._workers

    def start(self, post: Post, weights: int) -> int:
        """Start a process."""
        number = next(self._numbers)
        self._processes[number] = processes.start(
            "headscript.engines.worker", json.dumps(asdict(post)), variables=processes.ONE_THREAD
        )
        return number

    def give(self, worker: int, item: str) -> None:
        """Write the item to the process; one that has died is noticed by `wait`."""
        stream = self._processes[worker].stdin
        assert stream is not None
        try:
            stream.write(f"{item}\n")
            stream.flush()
        except OSError:
            pass

    def wait(self, workers: Sequence[int]) -> list[tuple[int, Answer | Died]]:
        """Read the lines that are there."""
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                stream = self._processes[worker].stdout
                assert stream is not None
                selector.register(stream, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select()]
        return [(worker, self._answer(worker)) for worker in ready]

    def end(self, worker: int) -> None:
        """Kill the process."""
        process = self._processes.pop(worker)
        process.kill()  # idle by now, unless something went wrong
        process.communicate()

    def _answer(self, worker: int) -> Answer | Died:
        process = self._processes[worker]
        assert process.stdout is not None
        line = process.stdout.readline()  # a worker answers one line an item, so no other is lost
        if line.endswith("\n"):
            return Answer.read(line)
        code = process.wait()
        ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return Died(ended)


def _here(post: Post, items: Sequence[str]) -> Generator[str]:
    """Do items in this process, as a worker would."""
    import torch

    worker = Worker(post)
    threads = torch.get_num_threads()
    for item in items:
        torch.set_num_threads(1)
        try:
            answer = worker.do(item)
        finally:
            torch.set_num_threads(threads)
        if answer.error:
            raise HeadscriptError(answer.error)
        if answer.broke:
            raise RuntimeError(f"{item} broke:\n{answer.broke}")
        yield item

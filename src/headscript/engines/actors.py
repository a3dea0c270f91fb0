"""The go-between of a run and a Ray cluster: one actor a worker, given one item after another."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from typing import Any, TextIO

from headscript.engines.processes import ONE_THREAD, work_for
from headscript.engines.team import Died, Team
from headscript.engines.worker import Answer, Post, Worker
from headscript.errors import HeadscriptError
from headscript.explainers.keys import environment_without_keys, names_of_keys

_LOADING = 1.5  # times the weights that a process takes while it loads them
_PATIENCE = 10  # seconds after which one looks whether the cluster still has room
_SECONDS_TO_REACH = 5
_OBJECTS = 80 << 20  # bytes for Ray's objects, of which we have none; as few as it admits
_HANDED_ON = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Actors(Team):
    """Actors of the cluster that this process is connected to."""

    def __init__(self, workers: int | None) -> None:
        super().__init__()
        import ray

        self._ray: Any = ray
        self._workers = workers
        self._class: Any = ray.remote(_Actor)
        self._numbers = count()
        self._actors: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        self._needs: dict[int, dict[str, int]] = {}

    def room(self, weights: int) -> int:
        """A worker a core, or a GPU where there are some and it loads a model; less for memory."""
        needs = self._needs_of(weights)
        places = sum(_places(node, needs) for node in self._nodes())
        if not places:
            said = " and ".join(_spoken(name, amount) for name, amount in needs.items())
            raise HeadscriptError(
                f"No node of the Ray cluster has {said} for a worker; add one that has, or name "
                "another cluster."
            )
        return min(places, self._workers or places)

    def start(self, post: Post, weights: int) -> int:
        """Ask for an actor; Ray places it when there is room."""
        self.room(weights)  # nodes may have gone
        number = next(self._numbers)
        needs = self._needs_of(weights)
        actor = self._class.options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            memory=needs.get("memory"),
            max_restarts=0,  # another is asked for, and told which item to do
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _environment()},
        ).remote(asdict(replace(post, gpu="GPU" in needs)))
        self._needs[number], self._actors[number] = needs, actor
        self._answers[number] = actor.prepare.remote()
        return number

    def give(self, worker: int, item: str) -> None:
        """Call the actor."""
        self._answers[worker] = self._actors[worker].do.remote(item)

    def wait(self, workers: Sequence[int]) -> list[tuple[int, Answer | Died]]:
        """Wait for answers; a worker that no node has room for any more counts as dead."""
        of_answer = {self._answers[worker]: worker for worker in workers}
        while True:
            ready, _ = self._ray.wait(list(of_answer), num_returns=1, timeout=_PATIENCE)
            if ready:
                break
            nodes = self._nodes()
            for worker in workers:
                if not any(_places(node, self._needs[worker]) for node in nodes):
                    return [(worker, Died("its node is gone"))]
        ready, _ = self._ray.wait(list(of_answer), num_returns=len(of_answer), timeout=0)
        return [(of_answer[answer], self._answer(answer)) for answer in ready]

    def end(self, worker: int) -> None:
        """Kill the actor, or take it back where it was never placed."""
        del self._answers[worker], self._needs[worker]
        self._ray.kill(self._actors.pop(worker))

    def _answer(self, call: Any) -> Answer | Died:
        try:
            return Answer.read(self._ray.get(call))
        except self._ray.exceptions.RayError as error:
            return Died(_reason(error))

    def _nodes(self) -> list[dict[str, float]]:
        """What the nodes have that are alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _needs_of(self, weights: int) -> dict[str, int]:
        """What a worker takes of a node."""
        needs = {"CPU": 1}
        if weights:
            needs["memory"] = int(_LOADING * weights)
            if any(node.get("GPU", 0) >= 1 for node in self._nodes()):
                needs["GPU"] = 1
        return needs


class _Actor:
    """A worker in a process of Ray's; what goes to and fro is text."""

    def __init__(self, post: dict[str, Any]) -> None:
        for name in names_of_keys():  # blank by now
            os.environ.pop(name, None)
        self._worker = Worker(Post(**post))

    def prepare(self) -> str:
        return self._worker.prepare().write()

    def do(self, item: str) -> str:
        return self._worker.do(item).write()


def _places(node: dict[str, float], needs: dict[str, int]) -> int:
    """How many workers a node takes when nothing else is on it."""
    return min(int(node.get(name, 0) // amount) for name, amount in needs.items())


def _spoken(name: str, amount: int) -> str:
    return {"CPU": "a core", "GPU": "a GPU"}.get(name, f"{amount / 1e9:.1f} GB of memory")


def _environment() -> dict[str, str]:
    """Variables of the actors: blank keys, one thread, and what of ours decides how one works."""
    ours = {
        name: value
        for name, value in environment_without_keys().items()
        if name.startswith("HEADSCRIPT_") or name in _HANDED_ON
    }
    return {**ours, **dict.fromkeys(names_of_keys(), ""), **ONE_THREAD}


def _reason(error: Exception) -> str:
    """One line of what Ray tells."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "Error: " in line), lines[0] if lines else "")
    return (told or type(error).__name__).rstrip(".")[:300]


@contextmanager
def _connected(address: str | None, folder: str, workers: int | None) -> Iterator[None]:
    """Ray in this process; raises HeadscriptError where there is no cluster.

    Without an address it is a cluster of its own, with so many workers and its files in `folder`.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        quiet |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
        quiet |= {"num_cpus": workers, "_temp_dir": folder}
    elif ":" in address:
        _reach(address)
    try:
        ray.init(address=address or "local", **quiet)
    except Exception as error:
        reason = _reason(error)
        if address is None:
            raise HeadscriptError(f"Ray cannot start on this machine: {reason}.") from error
        raise HeadscriptError(
            f"There is no Ray cluster at {address} that this machine can join ({reason}); start "
            "one with 'ray start', or leave out --address."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _reach(address: str) -> None:
    """Raise HeadscriptError where nothing listens at HOST:PORT; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_REACH).close()
    except (OSError, ValueError) as error:
        raise HeadscriptError(
            f"There is no Ray cluster at {address} ({error}); start one with 'ray start', or leave "
            "out --address."
        ) from error


def _serve(answers: TextIO) -> None:
    """Take orders line by line: how to connect, then lists of items."""

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        asked = json.loads(sys.stdin.readline())
        with _connected(asked["address"], asked["folder"], asked["workers"]):
            team = Actors(asked["workers"])
            say(ready=True)
            while line := sys.stdin.readline():
                order = json.loads(line)
                for item in team.work(Post(**order["post"]), order["items"], order["weights"]):
                    say(done=item)
                    if not sys.stdin.readline():  # it takes no more
                        return
                say(peak=team.peak_bytes)
    except HeadscriptError as error:
        say(error=str(error))
    except Exception:
        say(broke=traceback.format_exc())


def main() -> None:
    """Work for the process that is named."""
    # Which Ray takes for an orderly end: it takes along what it has started.
    _serve(work_for(int(sys.argv[1]), ended_by=signal.SIGTERM))


if __name__ == "__main__":
    main()

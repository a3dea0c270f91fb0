"""The one who does work items, and keeps what it made for them: texts, features, a model."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscript.engines.processes import peak_bytes, work_for
from headscript.errors import HeadscriptError

if TYPE_CHECKING:
    from headscript.models import Model
    from headscript.propose.bench import Bench
    from headscript.runs import Run

READY = ""
"""What a worker answers first, in the place of an item."""


@dataclass(frozen=True)
class Post:
    """What a worker is told when it is made."""

    directory: str
    """The run's folder."""
    model: str = ""
    """Where the run's model is; empty is what the run calls it."""
    gpu: bool = False
    """Whether it has a GPU of its own."""
    standing: str = ""
    """`standing_of` the one who gives the items; empty within one machine."""


@dataclass(frozen=True)
class Answer:
    """What a worker says of an item."""

    item: str
    error: str = ""
    """The sentence of a HeadscriptError."""
    broke: str = ""
    """The traceback of any other."""
    peak: int = 0
    """The most memory the worker has had, in bytes."""

    @classmethod
    def read(cls, line: str) -> Answer:
        """What `write` wrote."""
        return cls(**json.loads(line))

    def write(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self))


class Worker:
    """Does items of one run, one after another."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._part_workers: dict[str, Callable[[int], None]] = {}

    def prepare(self) -> Answer:
        """Answer READY once this process can work as the one who gives the items would."""
        return self._tried(READY, self._prepare)

    def do(self, item: str) -> Answer:
        """Do an item, and answer whatever comes of it; its file is there then."""
        return self._tried(item, lambda: self._do(*item.split()))

    # Private -------------------------------------------------------------------------------------

    def _tried(self, item: str, job: Any) -> Answer:
        try:
            job()
        except HeadscriptError as error:
            return Answer(item, error=str(error), peak=peak_bytes())
        except MemoryError:
            sentence = f"There is not enough memory for {item!r}; try fewer --workers."
            return Answer(item, error=sentence, peak=peak_bytes())
        except Exception:
            return Answer(item, broke=traceback.format_exc(), peak=peak_bytes())
        return Answer(item, peak=peak_bytes())

    def _prepare(self) -> None:
        import torch

        torch.set_num_threads(1)
        if self._post.standing:
            _compare(self._post, json.loads(self._post.standing))

    def _do(self, job: str, *arguments: str) -> None:
        if job == "search":
            self._bench.search(int(arguments[0]))
        elif job == "judge":
            from headscript.propose.judging import judge_layer

            judge_layer(self._bench, arguments[0], int(arguments[1]))
        elif job == "combine":
            from headscript.propose.combining import combine_layer

            combine_layer(self._bench, int(arguments[0]))
        elif job == "record":
            from headscript.stages import record_part

            record_part(self._run, self._model, arguments[0], int(arguments[1]))
        elif job in ("score", "cost", "sweep"):
            self._part_worker(job, arguments[0])(int(arguments[1]))
        else:
            raise ValueError(f"no job is called {job!r}")

    @cached_property
    def _run(self) -> Run:
        from headscript.runs import Run

        return Run.open(self._post.directory)

    @cached_property
    def _bench(self) -> Bench:
        from headscript.propose.bench import Bench

        return Bench(self._run)

    @cached_property
    def _model(self) -> Model:
        import torch

        from headscript.assignment import check_model
        from headscript.models import load_model

        device = "cuda" if self._post.gpu and torch.cuda.is_available() else "cpu"
        model = load_model(self._post.model or self._run.model_name, device=device)
        check_model(self._run, model)
        return model

    def _part_worker(self, job: str, name: str) -> Callable[[int], None]:
        """Who does the parts of a job of that name."""
        from headscript.evaluation import replacing_parts, scoring_parts

        makers: dict[str, Callable[[Run, Model, str], Callable[[int], None]]] = {
            scoring_parts.KIND: scoring_parts.PartScorer,
            replacing_parts.COST: replacing_parts.PartCosts,
            replacing_parts.SWEEP: replacing_parts.PartSweep,
        }
        if name not in self._part_workers:
            self._part_workers[name] = makers[job](self._run, self._model, name)
        return self._part_workers[name]


def standing_of(directory: Path) -> str:
    """A run as it is now, and the versions here that decide what comes of it."""
    return json.dumps(_standing(directory))


def _standing(directory: Path) -> dict[str, Any]:
    from headscript.records import RECORD, Maker

    maker = Maker.here()
    record = (directory / RECORD).read_bytes()
    return {
        "headscript": maker.headscript,
        "vocabulary": str(maker.vocabulary),
        **maker.libraries,
        "run": hashlib.sha256(record).hexdigest(),
    }


def _compare(post: Post, given: dict[str, str]) -> None:
    """Raise HeadscriptError where this machine would do other work than was asked for."""
    host = socket.gethostname()
    try:
        here = _standing(Path(post.directory))
    except OSError:
        here = {}
    if here.get("run") != given["run"]:
        raise HeadscriptError(
            f"A worker on {host} does not see the run in {post.directory}; a run that several "
            "machines work on must lie in a folder that all of them share under that path."
        )
    for name, version in given.items():
        if here[name] != version:
            raise HeadscriptError(
                f"A worker on {host} has {name} {here[name]} and this machine has {version}; "
                "install the same versions on all machines."
            )


def main() -> None:
    """Work for the process that is named first on the run named second; items come line by line."""
    parent, post = sys.argv[1:]
    answers = work_for(int(parent))
    worker = Worker(Post(**json.loads(post)))
    answers.write(worker.prepare().write() + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(worker.do(line.rstrip("\n")).write() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

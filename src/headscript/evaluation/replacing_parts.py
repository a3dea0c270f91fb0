"""Replacing heads, some of them or some texts a part: what workers elsewhere do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headscript.engines.engine import Engine
from headscript.engines.parts import Job, job_of
from headscript.evaluation.causal_cost import CostBench, cost_texts
from headscript.evaluation.passes import Placed
from headscript.evaluation.substitutes import Source
from headscript.evaluation.sweep import BatchSums, Measure, sweep_batches
from headscript.events import Event, Listener
from headscript.heads import Head
from headscript.models import Model
from headscript.programs import Program
from headscript.programs.freeform import isolation_of
from headscript.programs.loading import read_program
from headscript.runs import Run

COST = "cost"
SWEEP = "sweep"

_PART_HEADS = 6


# Costs of heads alone ----------------------------------------------------------------------------


def costs_in_parts(
    run: Run,
    model: Model,
    programs: Mapping[Head, Program],
    missing: Sequence[Head],
    tokens: int,
    engine: Engine,
    on_heads: Callable[[int], None],
) -> dict[Head, float | None]:
    """Let an engine measure what replacing each missing head costs; None where its program fails.

    `tokens` are those of the select texts to measure on. `on_heads` hears how many heads are done.
    All programs are told, as they are evaluated together.
    """
    heads = [str(head) for head in missing]
    parts = [heads[at : at + _PART_HEADS] for at in range(0, len(heads), _PART_HEADS)]
    asked = {"programs": _sources(programs), "parts": parts, "tokens": tokens}
    done = 0

    def on_part(part: int) -> None:
        nonlocal done
        done += len(parts[part])
        on_heads(done)

    found: dict[Head, float | None] = {}
    with job_of(run, COST, asked) as job:
        job.do(engine, len(parts), model, on_part)
        for part in range(len(parts)):
            found |= {Head.parse(head): cost for head, cost in job.read(part).items()}
    return found


class PartCosts:
    """Does parts of one job of `costs_in_parts` with one model."""

    def __init__(self, run: Run, model: Model, name: str) -> None:
        self._job = Job(run, name)
        self._asked = self._job.asked()
        self._programs = _read_sources(self._asked["programs"])
        self._bench = CostBench(model, self._programs, cost_texts(run, self._asked["tokens"]))
        self._bench.__enter__()  # until the worker ends

    def __call__(self, part: int) -> None:
        """Measure the heads of a part, and write what they cost."""
        heads = [Head.parse(name) for name in self._asked["parts"][part]]
        costs = {
            str(head): self._bench.cost_alone(head, self._programs[head].key) for head in heads
        }
        self._job.write(part, costs)


# Sweeps ------------------------------------------------------------------------------------------


class SweepElsewhere:
    """Lets an engine measure sets of heads, a batch of texts (token ids) a part."""

    def __init__(
        self,
        run: Run,
        model: Model,
        texts: Sequence[Sequence[int]],
        engine: Engine,
        on_event: Listener,
    ) -> None:
        self._run, self._model, self._texts = run, model, texts
        self._engine, self._on_event = engine, on_event
        self.isolations: set[str] = set()
        """What was around free-form programs while they ran."""

    def __call__(self, stage: str, wanted: Sequence[Placed], source: Source) -> Iterator[BatchSums]:
        """What came of each batch, in the order of the batches; progress is that of `stage`."""
        batches = [batch.members for batch in sweep_batches(self._model, self._texts)]
        asked = {
            "version": source.version,
            "programs": _sources(source.programs),
            "needed": sorted(source.needed),
            "longest": source.longest,
            "seed": source.seed,
            "texts": [list(tokens) for tokens in self._texts],
            "wanted": [[[str(head), name] for head, name in sorted(placed)] for placed in wanted],
        }
        done = 0
        self._on_event(Event(stage, 0, len(self._texts)))

        def on_part(part: int) -> None:
            nonlocal done
            done += len(batches[part])
            self._on_event(Event(stage, done, len(self._texts)))

        with job_of(self._run, SWEEP, asked) as job:
            job.do(self._engine, len(batches), self._model, on_part)
            for part in range(len(batches)):
                found = job.read(part)
                self.isolations.update(filter(None, [found.pop("isolation")]))
                yield BatchSums(
                    batches[part],
                    np.array(found["surprise"]),
                    [np.array(of_set) for of_set in found["sums"]],
                    found["failures"],
                )


class PartSweep:
    """Does parts of one job of `SweepElsewhere` with one model."""

    def __init__(self, run: Run, model: Model, name: str) -> None:
        self._job = Job(run, name)
        asked = self._job.asked()
        self._programs = _read_sources(asked["programs"])
        source = Source(
            asked["version"], self._programs, asked["needed"], asked["longest"], asked["seed"]
        )
        wanted = [
            frozenset((Head.parse(head), name) for head, name in placed)
            for placed in asked["wanted"]
        ]
        self._batches = list(sweep_batches(model, asked["texts"]))
        self._measure = Measure(model, wanted, source.patterns_of(run, model))
        self._measure.__enter__()  # until the worker ends

    def __call__(self, part: int) -> None:
        """Measure the sets on a batch, and write the sums."""
        found = self._measure(self._batches[part])
        told: dict[str, Any] = {
            "surprise": found.surprise.tolist(),
            "sums": [of_set.tolist() for of_set in found.sums],
            "failures": dict(found.failures),
            "isolation": isolation_of(self._programs.values()),
        }
        self._job.write(part, told)


def _sources(programs: Mapping[Head, Program]) -> dict[str, str]:
    return {str(head): program.source for head, program in programs.items()}


def _read_sources(sources: Mapping[str, str]) -> dict[Head, Program]:
    return {Head.parse(head): read_program(source, head) for head, source in sources.items()}

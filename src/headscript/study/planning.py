"""What a study will take, before anything is downloaded or loaded.

Time comes from unit costs that were measured where `REFERENCE` says, scaled by how fast this
machine multiplies matrices; the report of a study puts what each step took beside its plan.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headscript.engines.processes import available_cores
from headscript.explainers.budget import parse_budget
from headscript.explainers.prices import price_of
from headscript.heads import parse_heads
from headscript.study.spec import Study, StudyModel, StudyTexts, open_study
from headscript.study.steps import Step, steps_of

REFERENCE = 1.1e11
"""Operations a second of the machine on which the unit costs were measured, by `Speed.here`."""

_SPLIT = {"fit": 0.6, "select": 0.2, "test": 0.2}  # shares of the texts
_PROBE = 768  # size of the matrices that are multiplied
_PROBE_SECONDS = 0.3
_EFFICIENCY = 0.45  # of a forward pass, beside a product of large matrices
_BACKWARD = 2.3  # times a forward pass, in a step of tuning
_SEARCH = 1.3  # core seconds a head, at 50,000 cells and 24 terms
_COMPARE = 2.0e-9  # seconds for a cell of a pair of patterns
_PATTERN = 4.0e-8  # seconds for a cell of a program's pattern
_OVERHEAD = 6.0  # seconds of any step: loading, reading
_ATLAS = 0.09  # seconds a head
_QUESTION = 0.02  # seconds for a question at a fraction, beside the passes
_QUESTION_TOKENS = 115  # that it passes: answers share what stands before them
_PROMPT, _ANSWER = 7_500, 2_200  # tokens of a request to an explainer, without its first rounds
_WORKER = 0.9e9  # bytes of a worker that searches


@dataclass(frozen=True)
class Speed:
    """How fast a machine is."""

    operations: float
    """A second, in products of matrices on all cores."""
    workers: int

    @classmethod
    def here(cls, workers: int | None = None) -> Speed:
        """Measured on this machine, in a third of a second."""
        import torch

        matrix = torch.ones(_PROBE, _PROBE)
        best = 0.0
        end = time.perf_counter() + _PROBE_SECONDS
        while (begin := time.perf_counter()) < end:
            matrix @ matrix
            best = max(best, 2 * _PROBE**3 / (time.perf_counter() - begin))
        return cls(best, workers or available_cores())


@dataclass(frozen=True)
class PlannedStep:
    """A step of a plan."""

    kind: str
    name: str
    says: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a study will take."""

    steps: list[PlannedStep]
    left_out: dict[str, str]
    """What this machine has not, and why it is left out."""
    downloads: dict[str, float]
    """Bytes by model."""
    memory: float
    """Bytes at most at a time."""
    disk: float
    """Bytes of recordings."""
    dollars: float | None
    """For the explainer; None where its price is not known."""
    requests: int
    """To the explainer."""

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)

    def by_kind(self) -> dict[str, list[PlannedStep]]:
        """The steps of each kind, in their order."""
        found: dict[str, list[PlannedStep]] = {}
        for step in self.steps:
            found.setdefault(step.kind, []).append(step)
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "steps": [
                {
                    "kind": step.kind,
                    "name": step.name,
                    "says": step.says,
                    "seconds": round(step.seconds, 1),
                }
                for step in self.steps
            ],
            "seconds": round(self.seconds, 1),
            "left_out": self.left_out,
            "downloads": self.downloads,
            "memory": self.memory,
            "disk": self.disk,
            "dollars": self.dollars,
            "requests": self.requests,
        }


def plan_study(
    name_or_file: str | Path,
    *,
    models: Sequence[str] | None = None,
    data: str | Path | None = None,
    quick: bool = False,
    workers: int | None = None,
) -> Plan:
    """Foresee what a study takes on this machine; arguments and errors are those of `open_study`.

    The speed of the machine is measured, which takes a third of a second.
    """
    opened = open_study(name_or_file, models=models, data=data, quick=quick)
    steps = steps_of(opened.study)
    return plan(opened.study, steps, Speed.here(workers), left_out=opened.left_out)


def plan(
    study: Study, steps: Sequence[Step], speed: Speed, *, left_out: dict[str, str] | None = None
) -> Plan:
    """Foresee what the steps of a study take on a machine of this speed."""
    dollars, requests = _price(study)
    return Plan(
        [
            PlannedStep(step.kind, step.name, str(step), seconds_of(step, study, speed))
            for step in steps
        ],
        left_out or {},
        {model.name: model.download for model in study.models if model.download},
        max(_memory(model, speed) for model in study.models),
        sum(
            num_heads(model) * texts.max_texts * _cells(model, texts) * 2
            for model in study.models
            for texts in study.texts
        ),
        dollars,
        requests,
    )


def seconds_of(step: Step, study: Study, speed: Speed) -> float:
    """About how long a step takes, in seconds."""
    model, texts = study.model(step.model), study.domain(step.texts)
    slower = REFERENCE / speed.operations
    heads = num_heads(model)
    cells = {
        split: share * texts.max_texts * _cells(model, texts) for split, share in _SPLIT.items()
    }
    tokens = {split: share * texts.max_texts * texts.mean_tokens for split, share in _SPLIT.items()}
    forward = 2 * model.parameters / (_EFFICIENCY * speed.operations)  # a token
    compare = _COMPARE * slower * heads * heads * min(cells["select"], 100_000)
    scoring = _PATTERN * slower * heads * cells["test"]
    fixed = _OVERHEAD * slower
    if step.kind == "explain":
        search = _SEARCH * slower * heads / speed.workers
        search *= float((min(study.explain.fit_cells, cells["fit"]) / 50_000) ** 0.8)
        search *= study.explain.max_terms / 24
        return fixed + 1.3 * forward * sum(tokens.values()) + search + compare + 3 * scoring
    if step.kind == "protocol":
        return fixed + compare / 10 + 2 * scoring
    if step.kind in ("domains", "transfer"):
        return fixed / 2 + compare + 2 * scoring
    if step.kind == "replace":
        asked = study.replace
        sweeps = len(asked.fractions) * len(asked.orders) + 5 * len(asked.baseline_fractions)
        costs = heads * asked.cost_tokens if "cost" in asked.orders else 0
        return fixed + 1.3 * forward * (costs + sweeps * tokens["test"])
    if step.kind == "tune":
        return fixed + _BACKWARD * forward * study.tune.steps * study.tune.step_tokens * 1.5
    if step.kind == "ask":
        asked_of = study.ask
        questions = len(asked_of.tasks) * asked_of.limit * len(asked_of.fractions)
        return fixed + questions * (_QUESTION * slower + 1.3 * forward * _QUESTION_TOKENS)
    return fixed + _ATLAS * slower * heads


def num_heads(model: StudyModel) -> int:
    """How many heads of a model the study explains."""
    return len(parse_heads(model.heads, [model.heads_per_layer] * model.layers))


def _cells(model: StudyModel, texts: StudyTexts) -> float:
    """Cells of a pattern on a text of mean length."""
    n = texts.mean_tokens
    return n * (n + 1) / 2 if model.causal else n * n


def _memory(model: StudyModel, speed: Speed) -> float:
    """While it is loaded, or while its heads are searched."""
    return max(1.5 * 4 * model.parameters, speed.workers * _WORKER) + 1e9


def _price(study: Study) -> tuple[float | None, int]:
    asked = study.explain
    if asked.explainer is None or "llm" not in asked.proposers:
        return 0.0, 0
    heads = sum(num_heads(model) for model in study.models)
    requests = heads * len(study.texts) * (1 + asked.rounds)
    price = price_of(asked.explainer)
    dollars = None if price is None else price.of(requests * _PROMPT, requests * _ANSWER)
    if asked.budget is not None:
        budget = parse_budget(asked.budget)
        if budget.unit == "usd":
            most = budget.limit * len(study.models) * len(study.texts)
            dollars = most if dollars is None else min(dollars, most)
    return dollars, requests

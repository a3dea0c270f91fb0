"""Programs on texts that the run has not seen, some texts a part: what workers elsewhere do.

A text is scored by itself, so the parts say the same however the texts are shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from headscript.engines.engine import Engine
from headscript.engines.parts import Job, job_of
from headscript.evaluation.scoring import TextScorer, TextScores
from headscript.events import Event, Listener
from headscript.heads import Head
from headscript.models import Model
from headscript.programs import Program
from headscript.programs.freeform import isolation_of
from headscript.programs.loading import read_program
from headscript.runs import Run

KIND = "score"

_PART_TOKENS = 2048  # of the texts of a part, or one longer text


def score_in_parts(
    run: Run,
    model: Model,
    programs: Mapping[Head, Program],
    ids: Sequence[Sequence[int]],
    longest: int,
    seed: int,
    add: Callable[[int, TextScores], None],
    engine: Engine,
    on_event: Listener,
) -> str | None:
    """Let an engine score texts (token ids) and `add` each with its number, in their order.

    Returns what was around free-form programs, on each machine where it differs.
    """
    parts = _shared_out(ids)
    asked = {
        "programs": {str(head): program.source for head, program in programs.items()},
        "texts": [list(tokens) for tokens in ids],
        "parts": parts,
        "longest": longest,
        "seed": seed,
    }
    done = 0

    def on_part(part: int) -> None:
        nonlocal done
        done += len(parts[part])
        on_event(Event("scoring", done, len(ids)))

    isolations = set()
    with job_of(run, KIND, asked) as job:
        job.do(engine, len(parts), model, on_part)
        for part in range(len(parts)):
            found = job.read(part)
            isolations.add(found["isolation"])
            for number, scores in found["texts"]:
                add(number, _read(scores))
    return "; ".join(sorted(filter(None, isolations))) or None


class PartScorer:
    """Does parts of one job with one model."""

    def __init__(self, run: Run, model: Model, name: str) -> None:
        self._job = Job(run, name)
        self._asked = self._job.asked()
        self._programs = {
            Head.parse(head): read_program(source, head)
            for head, source in self._asked["programs"].items()
        }
        self._score = TextScorer(
            run, model, self._programs, self._asked["longest"], self._asked["seed"]
        )

    def __call__(self, part: int) -> None:
        """Score the texts of a part, and write what they score."""
        texts = [
            (number, _written(self._score(number, self._asked["texts"][number])))
            for number in self._asked["parts"][part]
        ]
        isolation = isolation_of(self._programs.values())
        self._job.write(part, {"texts": texts, "isolation": isolation})


def _shared_out(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """The numbers of the texts of each part."""
    parts: list[list[int]] = []
    filled = 0
    for number, tokens in enumerate(ids):
        if not parts or filled + len(tokens) > _PART_TOKENS:
            parts.append([])
            filled = 0
        parts[-1].append(number)
        filled += len(tokens)
    return parts


def _written(scores: TextScores) -> dict[str, Any]:
    """Scores as a JSON value; float32 comes through to the last digit."""
    return {
        "programs": scores.programs.tolist(),
        "baselines": {name: values.tolist() for name, values in scores.baselines.items()},
        "failures": {str(head): reason for head, reason in scores.failures.items()},
    }


def _read(written: Mapping[str, Any]) -> TextScores:
    return TextScores(
        torch.tensor(written["programs"]),
        {name: torch.tensor(values) for name, values in written["baselines"].items()},
        {Head.parse(head): reason for head, reason in written["failures"].items()},
    )

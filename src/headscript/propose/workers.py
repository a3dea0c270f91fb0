"""The search spread over processes: one work item a layer, each result one file of the run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from headscript.heads import Head
from headscript.language import Text
from headscript.programs.terms import Term
from headscript.propose.search import SearchSettings, SharedRows, Step, search_layer
from headscript.recording import Recording
from headscript.rows import Rows, share_for


@dataclass(frozen=True)
class Frontier:
    """What the search found for a head."""

    head: Head
    steps: tuple[Step, ...]
    """Programs, fewest terms first."""
    held_out: tuple[float, ...]
    """IoU of each on (a sample of rows of) the select texts."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for a file of the run."""
        return {
            "head": str(self.head),
            "held_out": list(self.held_out),
            "steps": [asdict(step) for step in self.steps],
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Frontier:
        """Read what `as_json` wrote."""
        steps = [
            Step(
                tuple(Term(**term) for term in step["terms"]),
                tuple(step["weights"]),
                tuple(step["strengths"]),
                step["iou"],
            )
            for step in found["steps"]
        ]
        return cls(Head.parse(found["head"]), tuple(steps), tuple(found["held_out"]))


@dataclass(frozen=True)
class SearchJob:
    """All that a worker needs, the same for every layer."""

    fit_texts: tuple[Text, ...]
    select_texts: tuple[Text, ...]
    fit_recording: Path
    select_recording: Path
    settings: SearchSettings


class _Bench:
    """A worker's texts and features, made at its first layer and kept for the next."""

    def __init__(self, job: SearchJob) -> None:
        self.job = job
        self.shared = SharedRows(job.fit_texts, job.settings)
        self.fit = Recording.open(job.fit_recording)
        self.select = Recording.open(job.select_recording)
        self.select_rows = Rows(
            job.select_texts,
            share=share_for(job.select_texts, job.settings.max_cells),
            generator=torch.Generator().manual_seed(job.settings.seed + 1),
        )

    def search(self, layer: int) -> list[Frontier]:
        frontiers = search_layer(self.shared, self.fit.layer(layer), self.job.settings)
        actual = self.select_rows.gather(self.select.layer(layer))
        return [
            Frontier(head, tuple(steps), tuple(self._held_out(steps, actual[:, index])))
            for index, (head, steps) in enumerate(
                zip(self.fit.heads_of(layer), frontiers, strict=True)
            )
        ]

    def _held_out(self, steps: Sequence[Step], actual: torch.Tensor) -> list[float]:
        """Mean IoU of each step on the select rows."""
        rows = self.select_rows
        terms = list(dict.fromkeys(term for step in steps for term in step.terms))
        features = rows.columns(terms)
        place = {term: index for index, term in enumerate(terms)}
        scores = []
        for step in steps:
            columns = features[:, [place[term] for term in step.terms]]
            pattern = rows.softmax(columns @ torch.tensor(step.weights))
            scores.append(float(rows.iou(pattern[:, None], actual[:, None])))
        return scores


_bench: _Bench | None = None


def _set_up(job: SearchJob) -> None:
    global _bench
    _die_with_parent()
    torch.set_num_threads(1)  # as many processes as cores do more than threads on small matrices
    _bench = _Bench(job)


def _search(layer: int) -> tuple[int, list[dict[str, Any]]]:
    if _bench is None:
        raise RuntimeError("the worker was not set up")
    return layer, [frontier.as_json() for frontier in _bench.search(layer)]


def search_layers(
    job: SearchJob, layers: Sequence[int], *, workers: int | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Search layers in `workers` processes (None: one a core); yields (layer, frontiers as JSON).

    The results do not depend on the number of workers or on the order in which layers end.
    """
    from loky import ProcessPoolExecutor

    workers = min(len(layers), workers or available_cores())
    pool = ProcessPoolExecutor(workers, initializer=_set_up, initargs=(job,), timeout=600)
    futures: list[Future[tuple[int, list[dict[str, Any]]]]] = []
    try:
        futures = [pool.submit(_search, layer) for layer in layers]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, kill_workers=any(not future.done() for future in futures))


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _die_with_parent() -> None:
    """On Linux, ask the kernel to end this process with its parent, also after kill -9."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

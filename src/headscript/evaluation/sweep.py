"""A model on some texts with one set of heads replaced after another, beside the model as it is.

On each text the model runs once as it is and once for every set. What is kept of a text are sums
over its predicted tokens, so that intervals can resample texts and memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from headscript.evaluation.passes import Batch, Passes, Placed, batches
from headscript.events import Event, Listener, ignore
from headscript.models import Model
from headscript.models.probe import padding_id
from headscript.results import Interval

PatternsOf = Callable[[Batch], tuple[Mapping[str, Tensor], Mapping[str, str]]]
"""A batch to the patterns (n, n) or (B, n, n) on it by name, and why others are missing."""

_BATCH_TOKENS = 512
_BATCH_LOGITS = 2**26  # numbers in a batch's logits, at most: 256 MB
_CHUNK = 64  # places whose probabilities are compared at a time: they stay in cache
_RESAMPLES = 2_000
_LARGEST = 700.0  # nats a token; a perplexity beyond is no floating-point number


class Point(BaseModel):
    """The model with some heads replaced, beside the model as it is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    fraction: float
    """Share of all the model's heads whose replacement was asked for."""
    heads: int
    """Heads replaced."""
    perplexity_increase: float
    """Over the model as it is; 0.05 is 5 %."""
    ci95: Interval
    """Of the perplexity increase."""
    kl: float
    """KL(original || replaced) of the next token, in nats a token."""
    kl_ci95: Interval
    top1_agreement: float
    """Share of tokens at which both find the same next token likeliest."""
    top1_ci95: Interval
    coverage: float
    """Heads replaced, as a share of the heads asked for."""
    order: str
    """Which heads were replaced first."""
    programs: str
    """What took their place: the version of the run's programs, or the name of a baseline."""


@dataclass(frozen=True)
class Setting:
    """A set of heads to replace, and by what."""

    order: str
    programs: str
    fraction: float
    asked: int
    """Heads that the fraction asks for."""
    placed: Placed
    """Those of them that something is there for."""


@dataclass(frozen=True)
class BatchSums:
    """What came of a batch: sums over the predicted tokens of each of its texts."""

    members: Sequence[int]
    """Its texts."""
    surprise: np.ndarray
    """(B,) of the model as it is, in nats."""
    sums: Sequence[np.ndarray]
    """For each set of heads (3, B): surprise, KL and agreement."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Patterns that are missing on it, and why; where there are some, nothing was measured."""


class Measure:
    """Measures the same sets of heads on one batch after another; a context manager."""

    def __init__(self, model: Model, wanted: Sequence[Placed], patterns_of: PatternsOf) -> None:
        self._wanted, self._patterns_of = wanted, patterns_of
        self._named = {name for placed in wanted for _, name in placed}
        self._passes = Passes(model)

    def __enter__(self) -> Self:
        self._passes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._passes.__exit__(*error)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> BatchSums:
        """Run the model on a batch as it is, and once for each set."""
        members = list(batch.members)
        patterns, failures = self._patterns_of(batch)
        failures = {name: reason for name, reason in failures.items() if name in self._named}
        if failures:
            return BatchSums(members, np.zeros(0), [], failures)
        logits, trace = self._passes.traced(batch)
        original = _Original(batch, logits)
        del logits
        sums = []
        for placed in self._wanted:
            # Nothing replaced is the model as it is: no rounding, and no pass.
            replaced = self._passes.logits(batch, placed, patterns, after=trace) if placed else None
            sums.append(original.compared(replaced))
        return BatchSums(members, original.compared(None)[0], sums)


Elsewhere = Callable[[str, Sequence[Placed], Any], Iterator[BatchSums]]
"""Measures sets of heads on all batches of the texts, for a stage and by patterns from a source."""


class Sweep:
    """Measures settings on texts (token ids, two or more each), here or `elsewhere`."""

    def __init__(
        self,
        model: Model,
        texts: Sequence[Sequence[int]],
        *,
        seed: int,
        elsewhere: Elsewhere | None = None,
        on_event: Listener = ignore,
    ) -> None:
        self._model, self._texts, self._on_event = model, texts, on_event
        self._elsewhere = elsewhere
        self.failures: dict[str, str] = {}
        """Patterns that are missing on some text, and why; no head is replaced by them."""
        self._predicted = np.array([len(text) - 1 for text in texts], dtype=np.float64)
        self._surprise = np.zeros(len(texts))  # of the model as it is, summed over a text, in nats
        drawn = np.random.default_rng(seed).multinomial(
            len(texts), [1 / len(texts)] * len(texts), _RESAMPLES
        )
        # How often each text comes in the texts as they are, and in each resample.
        self._weights = np.concatenate([np.ones((1, len(texts))), drawn])

    @property
    def perplexity(self) -> tuple[float, Interval]:
        """That of the model as it is, and its interval; known once something was measured."""
        found = np.exp(np.minimum(self._mean(self._surprise), _LARGEST))
        return float(found[0]), _interval(found)

    def points(
        self,
        stage: str,
        settings: Sequence[Setting],
        patterns_of: PatternsOf,
        source: Any = None,
    ) -> list[Point]:
        """Measure the settings; sets of heads that are the same run once.

        A pattern that turns out to be missing on a text is taken out of all settings, which are
        measured anew without it. `source` is what those elsewhere make the same patterns from.
        """
        while True:
            working = [self._working(setting.placed) for setting in settings]
            wanted = list(dict.fromkeys(working))
            if self._elsewhere is None:
                batches_of = self._here(stage, wanted, patterns_of)
            else:
                batches_of = self._elsewhere(stage, wanted, source)
            sums = self._sums(wanted, batches_of)
            if sums is not None:
                return [
                    self._point(setting, placed, sums[placed])
                    for setting, placed in zip(settings, working, strict=True)
                ]

    # Private -------------------------------------------------------------------------------------

    def _working(self, placed: Placed) -> Placed:
        return frozenset((head, name) for head, name in placed if name not in self.failures)

    def _here(
        self, stage: str, wanted: Sequence[Placed], patterns_of: PatternsOf
    ) -> Iterator[BatchSums]:
        done = 0
        self._on_event(Event(stage, 0, len(self._texts)))
        with Measure(self._model, wanted, patterns_of) as measure:
            for batch in sweep_batches(self._model, self._texts):
                found = measure(batch)
                yield found
                if found.failures:
                    return
                done += len(found.members)
                self._on_event(Event(stage, done, len(self._texts)))

    def _sums(
        self, wanted: Sequence[Placed], found_of: Iterator[BatchSums]
    ) -> dict[Placed, np.ndarray] | None:
        """(3, texts): surprise, KL and agreement summed over each text; None for a new failure."""
        sums = {placed: np.zeros((3, len(self._texts))) for placed in wanted}
        failed = False
        for found in found_of:
            members = list(found.members)
            failed |= bool(found.failures)
            self.failures = {**found.failures, **self.failures}
            if not found.failures:
                self._surprise[members] = found.surprise
                for placed, of_set in zip(wanted, found.sums, strict=True):
                    sums[placed][:, members] = of_set
        return None if failed else sums

    def _point(self, setting: Setting, placed: Placed, sums: np.ndarray) -> Point:
        surprise, divergence, agreeing = sums
        lost = self._mean(surprise - self._surprise)
        increase = np.expm1(np.minimum(lost, _LARGEST))
        kl = np.maximum(self._mean(divergence), 0)
        agreement = self._mean(agreeing)
        return Point(
            fraction=setting.fraction,
            heads=len(placed),
            perplexity_increase=float(increase[0]),
            ci95=_interval(increase),
            kl=float(kl[0]),
            kl_ci95=_interval(kl),
            top1_agreement=float(agreement[0]),
            top1_ci95=_interval(agreement),
            coverage=len(placed) / setting.asked if setting.asked else 1.0,
            order=setting.order,
            programs=setting.programs,
        )

    def _mean(self, sums: np.ndarray) -> np.ndarray:
        """A sum over each text to the mean over tokens: of all texts, then of each resample."""
        mean: np.ndarray = (self._weights @ sums) / (self._weights @ self._predicted)
        return mean


def sweep_batches(model: Model, texts: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """The batches that a sweep cuts texts into."""
    size = int(model.network.config.get_text_config().vocab_size)
    tokens = max(1, min(_BATCH_TOKENS, _BATCH_LOGITS // size))
    return batches(texts, tokens, padding_id(model.network))


class _Original:
    """What the model as it is predicts on a batch, to compare with."""

    def __init__(self, batch: Batch, logits: Tensor) -> None:
        self._batch = batch
        self._log_probs = batch.predicting(logits).float().log_softmax(-1)  # (places, vocabulary)
        self._wanted = batch.predicted.to(logits.device)[:, None]

    def compared(self, logits: Tensor | None) -> np.ndarray:
        """(3, B): surprise, KL from the model as it is and agreement with it, summed over places.

        `logits` None stands for the model as it is.
        """
        parts = []
        given = None if logits is None else torch.split(self._batch.predicting(logits), _CHUNK)
        for number, original in enumerate(torch.split(self._log_probs, _CHUNK)):
            found = original if given is None else given[number].float().log_softmax(-1)
            wanted = self._wanted[number * _CHUNK : number * _CHUNK + len(found)]
            surprise = -found.gather(1, wanted)[:, 0]
            apart = torch.nn.functional.kl_div(found, original, reduction="none", log_target=True)
            agree = found.argmax(-1) == original.argmax(-1)
            parts.append(torch.stack([surprise, apart.sum(-1), agree.float()]))
        places = torch.cat(parts, 1).double().cpu()
        sums = torch.zeros(3, len(self._batch.texts), dtype=torch.float64)
        return sums.index_add_(1, self._batch.text_of, places).numpy()


def _interval(values: np.ndarray) -> Interval:
    """95 % percentile interval over resamples, which stand behind the value itself."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(low), float(high)

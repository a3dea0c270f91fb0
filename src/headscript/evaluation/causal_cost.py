"""What replacing heads costs the model, measured on a run's select texts.

The cost of a set of heads is KL(original || replaced) in nats a token. Heads are replaced each
alone, and greedily: again and again the one is taken whose addition costs least, given those
replaced already. Both are kept in the run, so that they are measured once for a program.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headscript.costs import costs_file, measured_file
from headscript.engines.engine import Engine
from headscript.errors import HeadscriptError
from headscript.evaluation.passes import NOTHING, Passes, Placed, Trace, batches
from headscript.evaluation.substitutes import ProgramPatterns
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.models import Model
from headscript.models.probe import padding_id
from headscript.programs.program import Program
from headscript.runs import Run

COST_TOKENS = 1_500
"""Tokens of select texts that costs are measured on, unless one says otherwise."""
_LEAST_TEXTS = 4  # no text has more than this part of the tokens
_BATCH_TOKENS = 512
_KEPT = 512  # tokens of the original's distribution at each place
_LEAST = 1e-7  # of the outcome "any other token": what float32 cannot tell from nothing


class CausalCosts:
    """The costs of a version's heads; what a run has of them is not measured again.

    `tokens` is how many of the select texts are looked at; None takes what the run has. Measuring
    writes the run, which must be open for it. An engine whose workers are elsewhere measures heads
    alone; in greedy order one measurement waits for the other, so these are made here.
    """

    def __init__(
        self,
        run: Run,
        version: str,
        model: Model,
        programs: Mapping[Head, Program],
        *,
        tokens: int | None = None,
        engine: Engine | None = None,
        on_event: Listener = ignore,
    ) -> None:
        self._run, self._version, self._model = run, version, model
        self._programs = dict(sorted(programs.items()))
        self._engine, self._on_event = engine, on_event
        self._bench: CostBench | None = None
        kept: dict[str, Any] = {}
        if run.has(measured_file(version)):
            kept = run.read_json(measured_file(version))
        if tokens is not None and kept.get("tokens") != tokens:
            kept = {}
        self.tokens: int = kept.get("tokens") or tokens or COST_TOKENS
        self._alone: dict[str, Any] = kept.get("alone", {})
        self._greedy: dict[str, Any] = kept.get("greedy", {})

    def alone(self) -> dict[Head, float]:
        """What replacing each head alone costs; a head whose program fails has no cost."""
        keys = {str(head): program.key for head, program in self._programs.items()}
        known = {name: row for name, row in self._alone.items() if keys.get(name) == row["program"]}
        missing = [head for head in self._programs if str(head) not in known]
        if missing:
            self._alone = known
            self._measure_alone(missing)
        costs = {
            head: self._alone[str(head)]["kl"]
            for head in self._programs
            if self._alone[str(head)]["kl"] is not None
        }
        flat = {str(head): cost for head, cost in costs.items()}
        file = costs_file(self._version)
        if not self._run.has(file) or self._run.read_json(file) != flat:
            self._run.write_json(file, flat)
        return costs

    def greedy(self, number: int) -> list[Head]:
        """The heads in greedy order, `number` of them at least; then the others by their cost."""
        alone = self.alone()
        by_cost = sorted(alone, key=lambda head: (alone[head], head))
        of = [f"{head} {program.key}" for head, program in self._programs.items()]
        if self._greedy.get("of") != of:
            first = [[alone[head], str(head), 0] for head in by_cost]
            self._greedy = {"of": of, "taken": [], "queue": first}
        number = min(number, len(by_cost))
        if len(self._greedy["taken"]) < number:
            self._go_on(number)
        taken = [Head.parse(name) for name, _ in self._greedy["taken"]]
        return taken + [head for head in by_cost if head not in set(taken)]

    # Private -------------------------------------------------------------------------------------

    def _measure_alone(self, missing: Sequence[Head]) -> None:
        self._keep()  # fails at once where the run is not open for writing
        # Where it is, all heads are measured.
        (self._run.directory / costs_file(self._version)).unlink(missing_ok=True)
        stage = "cost of each head"
        self._on_event(Event(stage, 0, len(missing)))
        if self._engine is not None and self._engine.elsewhere:
            from headscript.evaluation.replacing_parts import costs_in_parts

            def on_heads(done: int) -> None:
                self._on_event(Event(stage, done, len(missing)))

            found = costs_in_parts(
                self._run,
                self._model,
                self._programs,
                missing,
                self.tokens,
                self._engine,
                on_heads,
            )
            for head, cost in found.items():
                self._alone[str(head)] = {"program": self._programs[head].key, "kl": cost}
            self._keep()
            return
        with self._opened() as bench:
            for number, head in enumerate(missing):
                key = self._programs[head].key
                self._alone[str(head)] = {"program": key, "kl": bench.cost_alone(head, key)}
                last = number + 1 == len(missing)
                if last or missing[number + 1].layer != head.layer:
                    self._keep()
                self._on_event(Event(stage, number + 1, len(missing)))

    def _go_on(self, number: int) -> None:
        """Take heads until there are `number`, as in lazy greedy (Minoux 1978).

        What a head adds seldom gets less when others are replaced too, so a number from before is
        nearly always a lower bound: only the first of the queue is measured again, and taken once
        its number is of the present set.
        """
        taken: list[list[Any]] = self._greedy["taken"]
        queue = [tuple(entry) for entry in self._greedy["queue"]]
        heapq.heapify(queue)
        stage = "greedy order"
        self._on_event(Event(stage, len(taken), number))
        with self._opened() as bench:
            placed = frozenset(self._with_key(name) for name, _ in taken)
            total = bench.settle(placed) if taken else 0.0
            while len(taken) < number:
                _, name, measured_at = heapq.heappop(queue)
                extended = placed | {self._with_key(name)}
                if measured_at < len(taken):
                    cost = bench.cost(extended)
                    heapq.heappush(queue, (cost - total, name, len(taken)))
                    continue
                placed, total = extended, bench.settle(extended)
                taken.append([name, total])
                self._greedy["queue"] = [list(entry) for entry in queue]
                self._keep()
                self._on_event(Event(stage, len(taken), number))

    def _with_key(self, name: str) -> tuple[Head, str]:
        head = Head.parse(name)
        return head, self._programs[head].key

    def _keep(self) -> None:
        kept = {"tokens": self.tokens, "alone": self._alone, "greedy": self._greedy}
        self._run.write_json(measured_file(self._version), kept)

    def _opened(self) -> CostBench:
        if self._bench is None:
            texts = cost_texts(self._run, self.tokens)
            self._bench = CostBench(self._model, self._programs, texts)
        return self._bench


class CostBench:
    """The model on the texts that costs are measured on; all that stays the same is held."""

    def __init__(
        self, model: Model, programs: Mapping[Head, Program], texts: Sequence[Sequence[int]]
    ) -> None:
        self._passes = Passes(model)
        of_programs = ProgramPatterns(model, programs.values())
        self._batches = list(batches(texts, _BATCH_TOKENS, padding_id(model.network)))
        self._patterns: list[dict[str, Tensor]] = []
        self.failures: dict[str, str] = {}
        for batch in self._batches:
            patterns, failures = of_programs.of(batch)
            self._patterns.append(patterns)
            self.failures |= failures
        self._originals: list[_Original] = []
        self._traces: list[Trace] = []
        self._last: tuple[Placed, list[Trace], float] = (NOTHING, [], 0.0)

    def __enter__(self) -> CostBench:
        self._passes.__enter__()
        found = [self._passes.traced(batch) for batch in self._batches]
        self._originals = [
            _Original.of(batch.predicting(logits))
            for batch, (logits, _) in zip(self._batches, found, strict=True)
        ]
        self._traces = [trace for _, trace in found]
        return self

    def __exit__(self, *error: object) -> None:
        self._passes.__exit__(*error)
        self._traces, self._last = [], (NOTHING, [], 0.0)

    def cost(self, placed: Placed) -> float:
        """KL of the model with heads replaced from the original, in nats a token."""
        total, places, traces = 0.0, 0, []
        for batch, patterns, original, trace in zip(
            self._batches, self._patterns, self._originals, self._traces, strict=True
        ):
            logits, after = self._passes.traced(batch, placed, patterns, after=trace)
            traces.append(after)
            total += original.divergence(batch.predicting(logits))
            places += len(batch.predicted)
        self._last = (placed, traces, total / places)
        return total / places

    def cost_alone(self, head: Head, key: str) -> float | None:
        """The cost of one head replaced by the program of that key; None where that fails."""
        return None if key in self.failures else self.cost(frozenset({(head, key)}))

    def settle(self, placed: Placed) -> float:
        """Go on from these heads: their cost, and what follows is measured as a change of them."""
        if self._last[0] != placed:
            self.cost(placed)
        _, self._traces, cost = self._last
        return cost


@dataclass(frozen=True)
class _Original:
    """What the model as it is predicts at the places of a batch: the likeliest tokens."""

    tokens: Tensor
    """(places, k)"""
    log_probs: Tensor
    """(places, k)"""

    @classmethod
    def of(cls, logits: Tensor) -> _Original:
        """The likeliest of logits (places, vocabulary)."""
        best = logits.topk(min(_KEPT, logits.shape[-1]))
        return cls(best.indices, best.values.float() - _log_total(logits)[:, None])

    def divergence(self, logits: Tensor) -> float:
        """Sum over places of KL(original || logits), in nats, all other tokens as one outcome.

        A lower bound of that over the whole vocabulary, for a fraction of the memory.
        """
        given = logits.gather(1, self.tokens).float() - _log_total(logits)[:, None]
        kept = self.log_probs.exp() * (self.log_probs - given)
        rest, given_rest = (
            (1 - log_probs.exp().sum(1)).clamp_min(_LEAST) for log_probs in (self.log_probs, given)
        )
        return float(kept.double().sum() + (rest * (rest / given_rest).log()).double().sum())


def _log_total(logits: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials over the vocabulary, a few places at a time."""
    return torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, 64)])


def cost_texts(run: Run, tokens: int) -> list[list[int]]:
    """Some of the select texts, drawn, with so many tokens together; long ones are cut.

    Raises HeadscriptError where none has two tokens.
    """
    texts = run.texts("select")
    order = torch.randperm(
        len(texts), generator=torch.Generator().manual_seed(run.config.seed)
    ).tolist()
    chosen: list[list[int]] = []
    left = tokens
    for place in order:
        ids = list(texts[place].token_ids[: min(left, max(2, tokens // _LEAST_TEXTS))])
        if len(ids) >= 2:
            chosen.append(ids)
            left -= len(ids)
    if not chosen:
        raise HeadscriptError(
            "No select text of the run has two tokens or more, so there is nothing to measure the "
            "cost of a head on; give more --cost-tokens, or explain on longer texts."
        )
    return chosen

"""A run's programs on texts the run has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from headscript.assignment import check_model
from headscript.engines import LOCAL, EngineSettings, open_engine
from headscript.errors import HeadscriptError
from headscript.evaluation.mean_patterns import MEAN, means_of
from headscript.events import Event, Listener, ignore
from headscript.heads import Head, parse_heads
from headscript.models import Model, load_model, observed
from headscript.models.probe import run_backbone
from headscript.packing import check_rows, pack, pack_rows
from headscript.programs import Program
from headscript.programs.freeform import isolation_of
from headscript.results import Interval, IouSummary, TermsSummary
from headscript.runs import Run
from headscript.similarity import (
    baseline_patterns,
    bootstrap_interval,
    iou,
    mean_bootstrap_interval,
)
from headscript.texts import Document
from headscript.used_texts import count_seen, used_texts


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class HeadScore(_Frozen):
    """One head on the texts scored."""

    head: str
    iou: float
    """Mean over texts; a text on which the program fails counts as 0."""
    ci95: Interval
    terms: int
    prefix_consistent: bool
    baselines: dict[str, float]
    status: str = "ok"
    """"ok", or why the program fails on a text."""


class Score(_Frozen):
    """All heads that have a program, on the texts scored."""

    iou: IouSummary
    baselines: dict[str, float]
    """Mean IoU over the same heads and texts."""
    coverage: float
    """Share of the run's heads whose program works on every text."""
    prefix_consistent: float
    """Share of the programs that are."""
    terms: TermsSummary
    heads: int
    """Heads that have a program; the means are over these."""
    texts: int
    tokens: int
    seen: int
    """How many of the texts repeat texts that the programs were fitted or chosen on."""
    by_head: list[HeadScore]
    isolation: str | None = None
    """What was around free-form programs while they ran; None where there was none of them."""


@dataclass
class Tally:
    """IoU of every head on every text, as it comes in."""

    programs: Tensor  # (heads, texts)
    baselines: dict[str, Tensor]  # each (heads, texts)
    failures: dict[Head, str]

    def add(self, number: int, found: TextScores) -> None:
        """Take in a text; of a head's failures the one on the first text that comes stays."""
        self.programs[:, number] = found.programs
        for name, values in found.baselines.items():
            if name not in self.baselines:
                self.baselines[name] = torch.zeros_like(self.programs)
            self.baselines[name][:, number] = values
        for head, reason in found.failures.items():
            self.failures.setdefault(head, reason)


def score_run(
    run: Run,
    documents: Sequence[Document],
    *,
    version: str | None = None,
    max_tokens: int | None = None,
    model: str | Path | Model | None = None,
    seed: int | None = None,
    engine: EngineSettings = LOCAL,
    on_event: Listener = ignore,
) -> Score:
    """Score the programs in a run's folder, as they are now, on the attention of its model.

    Nothing is written, but what a cluster has found (`engine`) while it works. `version` None is
    the newest of the programs, `max_tokens` None that of the run. `model` says where the run's
    model is, or is that model, where its own name does not lead there; its weights must be those
    the run was made with. `seed` (None: the run's) is that of the random baselines and the
    bootstrap.

    Raises HeadscriptError where the run is not finished, the gate refuses a program (naming its
    line), the model is another one, or a text is longer than the model takes.
    """
    run.results()
    asked = parse_heads(run.config.heads, run.model.heads_per_layer)
    programs = {h: p for h, p in run.programs(version).items() if h in asked}
    if not programs:
        raise HeadscriptError(f"The run in {run.directory} has no programs to score.")
    if not isinstance(model, Model):
        model = load_model(model or run.model_name, on_event=on_event)
    check_model(run, model)
    longest = max_tokens or run.config.max_tokens
    if longest is not None:
        longest = min(longest, model.max_tokens)
    ids = [model.encode(document.text, longest) for document in documents]
    empty = next((number for number, tokens in enumerate(ids) if not tokens), None)
    if empty is not None:
        raise HeadscriptError(
            f"Text {documents[empty].id!r} is empty: it has no tokens to look at."
        )
    seed = run.config.seed if seed is None else seed
    tally = Tally(torch.zeros(len(programs), len(ids)), {}, {})
    isolation = isolation_of(programs.values())
    longest = max(map(len, ids))
    with open_engine(engine, run) as opened:
        if opened.elsewhere:
            from headscript.evaluation.scoring_parts import score_in_parts

            isolation = score_in_parts(
                run, model, programs, ids, longest, seed, tally.add, opened, on_event
            )
        else:
            scorer = TextScorer(run, model, programs, longest, seed)
            for number, tokens in enumerate(ids):
                tally.add(number, scorer(number, tokens))
                on_event(Event("scoring", number + 1, len(ids)))
    seen = count_seen(ids, used_texts(run, model.tokenizer), model.tokenizer)
    return score_of(programs, tally, len(asked), ids, seen, seed, isolation)


@dataclass
class TextScores:
    """How programs and baselines do on one text."""

    programs: Tensor  # (heads,)
    baselines: dict[str, Tensor]  # each (heads,)
    failures: dict[Head, str]


class TextScorer:
    """Scores programs on one text after another, each by itself.

    `longest` is the number of tokens of the longest text, `seed` that of the random baselines.
    """

    def __init__(
        self, run: Run, model: Model, programs: Mapping[Head, Program], longest: int, seed: int
    ) -> None:
        self._model, self._programs, self._seed = model, programs, seed
        self._heads = list(programs)
        self._of_layer: dict[int, list[Head]] = {}
        for head in self._heads:
            self._of_layer.setdefault(head.layer, []).append(head)
        self._means = means_of(run, self._heads, longest)
        self._read = model.reader(programs.values())

    def __call__(self, number: int, tokens: Sequence[int]) -> TextScores:
        """Show the model a text, and compare layer by layer as it computes.

        `number` is the text's place among all, which its random baselines hang on.
        """
        causal = self._model.causal
        text = self._read(tokens)
        # Drawn text by text, so that a text has the same baselines wherever it is scored.
        generator = torch.Generator().manual_seed(self._seed + number)
        simple = baseline_patterns(text, generator)
        place = {head: row for row, head in enumerate(self._heads)}
        empty = torch.zeros(len(place))
        names = [*simple, *([] if self._means is None else [MEAN])]
        found = TextScores(empty, {name: empty.clone() for name in names}, {})

        def compare(layer: int, weights: Tensor) -> None:  # (1, heads of the layer, n, n)
            chosen = self._of_layer[layer]
            weights = weights[:, [head.head for head in chosen]]
            check_rows(weights, weights.new_ones(1, len(text)), chosen, [number])
            actual = pack(weights, [len(text)], causal, torch.float32)[0]  # (chosen, cells)
            places = [place[head] for head in chosen]
            for name, pattern in simple.items():
                found.baselines[name][places] = iou(pattern, actual)
            if self._means is not None:
                mean = self._means[layer].packed(len(text))
                found.baselines[MEAN][places] = iou(mean, actual)
            for row, head in enumerate(chosen):
                try:
                    predicted = pack_rows(self._programs[head](text).detach(), causal)
                except HeadscriptError as error:
                    found.failures[head] = str(error)
                else:
                    found.programs[place[head]] = iou(predicted, actual[row])

        with torch.no_grad(), observed(self._model.network, sorted(self._of_layer), compare):
            row = torch.tensor([list(tokens)], device=self._model.device)
            run_backbone(self._model.network, row, torch.ones_like(row))
        return found


def score_of(
    programs: Mapping[Head, Program],
    tally: Tally,
    asked: int,
    ids: Sequence[Sequence[int]],
    seen: int,
    seed: int,
    isolation: str | None,
) -> Score:
    """Sum up a tally: its rows are `programs`, its columns texts (`ids`), some of them `seen`.

    `asked` is the number of all heads.
    """
    per_head = tally.programs.mean(1)
    by_head = [
        HeadScore(
            head=str(head),
            iou=float(per_head[row]),
            ci95=bootstrap_interval(tally.programs[row].tolist(), seed=seed),
            terms=program.terms,
            prefix_consistent=program.prefix_consistent,
            baselines={name: float(table[row].mean()) for name, table in tally.baselines.items()},
            status=tally.failures.get(head, "ok"),
        )
        for row, (head, program) in enumerate(programs.items())
    ]
    return Score(
        iou=IouSummary(
            mean=float(per_head.mean()),
            median=float(per_head.quantile(0.5)),
            ci95=mean_bootstrap_interval(tally.programs, seed=seed),
        ),
        baselines={name: float(table.mean()) for name, table in tally.baselines.items()},
        coverage=(len(programs) - len(tally.failures)) / asked,
        prefix_consistent=fmean(program.prefix_consistent for program in programs.values()),
        terms=TermsSummary.of([program.terms for program in programs.values()]),
        heads=len(programs),
        texts=len(ids),
        tokens=sum(map(len, ids)),
        seen=seen,
        by_head=by_head,
        isolation=isolation,
    )

"""The causal proof: what it costs the model when programs take the place of its heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from headscript.assignment import check_model, head_count, ranking
from headscript.engines import LOCAL, EngineSettings, open_engine
from headscript.errors import HeadscriptError
from headscript.evaluation.causal_cost import CausalCosts
from headscript.evaluation.correlation import spearman, spearman_interval
from headscript.evaluation.sample import draw, read_sample
from headscript.evaluation.substitutes import Baselines, Source, patterns_from
from headscript.evaluation.sweep import Point, Setting, Sweep
from headscript.evaluation.tables import score_heads
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.programs.freeform import isolation_of
from headscript.programs.program import Program
from headscript.recording import Recording
from headscript.replacement import check_assignment
from headscript.results import Interval
from headscript.runs import Run
from headscript.texts import Document
from headscript.used_texts import count_seen, used_texts

ORDERS = ("cost", "greedy", "iou")
"""Which heads are replaced first: those whose replacement costs least alone, those that cost least
beside the ones replaced already, or those whose programs have the highest IoU, as in the paper."""

FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.25, 0.4, 0.5, 0.75, 1.0)
BASELINE_FRACTIONS = (0.05, 0.25, 0.5, 1.0)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class HeadCost(_Frozen):
    """One head."""

    head: str
    iou: float
    """Mean IoU of the version's program on test texts of the run."""
    cost: float
    """KL(original || this head replaced) on select texts, in nats a token."""


class ReplacementCurve(_Frozen):
    """What replacing heads costs on some texts."""

    version: str
    """Of the programs."""
    base_perplexity: float
    """Of the model as it is."""
    base_ci95: Interval
    curve: list[Point]
    """The best order first, which has the lowest perplexity increase on average over the fractions
    between 0 and 1; then the other orders; then the baselines, in the best order."""
    spearman: float | None
    """Rank correlation of IoU and cost over heads; none where costs were not asked for."""
    spearman_ci95: Interval | None
    """Its interval, heads resampled."""
    by_head: list[HeadCost]
    iou_texts: int | None = None
    """On how many test texts the IoU in `by_head` was measured; none where it is not known."""
    texts: int
    tokens: int
    """Tokens of the texts."""
    predicted: int
    """Tokens that are predicted: all but the first of each text."""
    seen: int
    """How many of the texts repeat texts that the programs were fitted or chosen on."""
    prefix_consistent: bool
    """Whether every program is; where not, these are no perplexities of a language model."""
    failures: dict[str, str]
    """Heads whose program fails on some text, and why; they keep their own attention."""
    left_out: dict[str, str]
    """Baselines, or the IoU of the programs, that could not be measured, and why."""
    isolation: str | None = None
    """What was around free-form programs while they ran; None where there was none of them."""


def replacement_curve(
    run: Run,
    documents: Sequence[Document] | None = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    orders: Sequence[str] = ORDERS,
    baseline_fractions: Sequence[float] = BASELINE_FRACTIONS,
    version: str | None = None,
    model: str | Path | Model | None = None,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    cost_tokens: int | None = None,
    greedy_until: float = 0.25,
    allow_inconsistent: bool = False,
    seed: int | None = None,
    engine: EngineSettings = LOCAL,
    on_event: Listener = ignore,
) -> ReplacementCurve:
    """Replace more and more heads of a run's model by its programs, and measure what is lost.

    `documents` None takes the run's own test texts; `max_texts` bounds their number, `max_tokens`
    (None: that of the run) the tokens of each. Baselines are measured at those of `fractions` that
    are among `baseline_fractions`. `version` None is the newest of the programs. `model` says where
    the run's model is, or is that model. The orders "cost" and "greedy" rest on costs that the run
    keeps; where it has none they are measured on `cost_tokens` tokens of the select texts, for
    which the run must be open for writing. The greedy order is measured until `greedy_until` of all
    heads and goes on by cost. `seed` (None: the run's) is that of the random programs and the
    bootstrap. `engine` says who measures; a cluster takes costs of heads and texts of the curve.

    Raises HeadscriptError for a run that is not finished or of another model, an encoder, an
    unknown version or order, a fraction outside 0 to 1, programs that are not prefix-consistent
    unless `allow_inconsistent` admits them, and texts that are longer than the model takes or have
    no two tokens.
    """
    _check(run, fractions, orders, (*baseline_fractions, greedy_until))
    version = run.versions()[-1] if version is None else version
    programs = run.programs(version)
    if not isinstance(model, Model):
        model = load_model(model or run.model_name, on_event=on_event)
    check_model(run, model)
    check_assignment(model, programs, allow_inconsistent=allow_inconsistent)
    texts, seen = _texts(run, model, documents, max_texts, max_tokens)
    seed = run.config.seed if seed is None else seed

    with open_engine(engine, run) as opened:
        rankings: dict[str, list[Head]] = {order: [] for order in orders}
        costs: dict[Head, float] = {}
        if "cost" in orders or "greedy" in orders:
            kept = CausalCosts(
                run, version, model, programs, tokens=cost_tokens, engine=opened, on_event=on_event
            )
            costs = kept.alone()
            if "greedy" in orders:
                rankings["greedy"] = kept.greedy(head_count(greedy_until, len(model.heads)))
            del kept  # and the patterns it holds
        for order in rankings:
            if order != "greedy":
                rankings[order] = ranking(run, version, order, programs)
        ious, iou_texts = _ious(run, model, {head: programs[head] for head in costs}, on_event)

        asked = {
            fraction: head_count(fraction, len(model.heads)) for fraction in sorted(set(fractions))
        }
        elsewhere = None
        if opened.elsewhere:
            from headscript.evaluation.replacing_parts import SweepElsewhere

            elsewhere = SweepElsewhere(run, model, texts, opened, on_event)
        sweep = Sweep(model, texts, seed=seed, elsewhere=elsewhere, on_event=on_event)
        settings = [
            _setting(order, version, fraction, number, ranked, _keys(programs))
            for order, ranked in rankings.items()
            for fraction, number in asked.items()
        ]
        names = _names(settings)
        own = sweep.points(
            "replacing heads",
            settings,
            patterns_from(model, programs.values(), names),
            Source(version, programs, names),
        )
        best = _best(own)
        failures = {
            str(head): sweep.failures[program.key]
            for head, program in programs.items()
            if program.key in sweep.failures
        }
        working = {head: program for head, program in programs.items() if str(head) not in failures}
        compared: list[Point] = []
        left_out: dict[str, str] = {}
        to_compare = [fraction for fraction in asked if fraction in baseline_fractions]
        if to_compare and working:
            longest = max(map(len, texts))
            baselines = Baselines.of(run, version, working, longest=longest, seed=seed)
            settings = [
                _setting(best, name, fraction, asked[fraction], rankings[best], pattern_of)
                for name, pattern_of in baselines.named.items()
                for fraction in to_compare
            ]
            names = _names(settings)
            patterns_of = patterns_from(model, baselines.programs, names, baselines.patterns)
            source = Source(version, working, names, longest, seed)
            compared = sweep.points("baselines", settings, patterns_of, source)
            left_out = baselines.left_out
    isolation = isolation_of(programs.values())
    if elsewhere is not None:
        isolation = "; ".join(sorted(elsewhere.isolations)) or None
    base, base_ci95 = sweep.perplexity
    by_head = [HeadCost(head=str(head), iou=ious[head], cost=costs[head]) for head in sorted(ious)]
    iou, cost = [row.iou for row in by_head], [row.cost for row in by_head]
    if costs and not iou_texts:
        left_out["IoU"] = "the run's recording of the test texts is gone"
    return ReplacementCurve(
        version=version,
        base_perplexity=base,
        base_ci95=base_ci95,
        curve=sorted(own, key=lambda point: point.order != best) + compared,
        spearman=spearman(iou, cost),
        spearman_ci95=spearman_interval(iou, cost, seed=seed),
        by_head=by_head,
        iou_texts=iou_texts,
        texts=len(texts),
        tokens=sum(map(len, texts)),
        predicted=sum(len(text) - 1 for text in texts),
        seen=seen,
        prefix_consistent=all(program.prefix_consistent for program in programs.values()),
        failures=failures,
        left_out=left_out,
        isolation=isolation,
    )


# What is asked -----------------------------------------------------------------------------------


def _check(
    run: Run, fractions: Sequence[float], orders: Sequence[str], others: Iterable[float]
) -> None:
    run.results()
    if not run.model.causal:
        raise HeadscriptError(
            f"{run.model.name} is an encoder, which predicts no next token, so there is no "
            "perplexity to measure; 'headscript score' scores its programs."
        )
    if not orders or not fractions:
        raise HeadscriptError("Give at least one order, and one fraction of heads to replace.")
    for order in orders:
        if order not in ORDERS:
            raise HeadscriptError(f"There is no order {order!r}; choose among {', '.join(ORDERS)}.")
    for fraction in (*fractions, *others):
        head_count(fraction, 1)


def _texts(
    run: Run,
    model: Model,
    documents: Sequence[Document] | None,
    max_texts: int | None,
    max_tokens: int | None,
) -> tuple[list[list[int]], int]:
    """Token ids of the texts to measure on, and how many of them the programs have seen."""
    longest = max_tokens or run.config.max_tokens
    if longest is not None:
        longest = min(longest, model.max_tokens)
    if documents is None:
        found = [list(text.token_ids[:longest]) for text in run.texts("test")]
    else:
        found = [model.encode(document.text, longest) for document in documents]
    found = [ids for ids in found[:max_texts] if len(ids) > 1]
    if not found:
        raise HeadscriptError(
            "No text has two tokens or more, so there is nothing to predict; give longer texts."
        )
    return found, count_seen(found, used_texts(run, model.tokenizer), model.tokenizer)


def _keys(programs: Mapping[Head, Program]) -> dict[Head, str]:
    return {head: program.key for head, program in programs.items()}


def _names(settings: Sequence[Setting]) -> list[str]:
    """The patterns that settings name, sorted."""
    return sorted({name for setting in settings for _, name in setting.placed})


def _setting(
    order: str,
    name: str,
    fraction: float,
    asked: int,
    heads: Sequence[Head],
    pattern_of: Mapping[Head, str],
) -> Setting:
    """The first heads of an order, each replaced by the pattern named for it, if there is one."""
    placed = ((head, pattern_of[head]) for head in heads[:asked] if head in pattern_of)
    return Setting(order, name, fraction, asked, frozenset(placed))


def _best(points: Sequence[Point]) -> str:
    """The order with the lowest perplexity increase, on average over fractions between 0 and 1."""
    inner = [point for point in points if 0 < point.fraction < 1] or points
    increase: dict[str, float] = {}
    for point in inner:
        increase[point.order] = increase.get(point.order, 0.0) + point.perplexity_increase
    return min(increase, key=lambda order: increase[order])


def _ious(
    run: Run, model: Model, programs: Mapping[Head, Program], on_event: Listener
) -> tuple[dict[Head, float], int | None]:
    """Mean IoU of programs with their heads, and on how many test texts; none where nobody knows.

    The run's results tell it of the programs that they are about, on all test texts. Others, tuned
    or edited, are scored on a sample of these, where their recording is there.
    """
    rows = {Head(row.layer, row.head): row for row in run.results().heads}
    programs = {head: program for head, program in programs.items() if head in rows}
    texts = run.texts("test")
    if all(program.key == rows[head].program_key for head, program in programs.items()):
        return {head: rows[head].iou for head in programs}, len(texts) if programs else None
    if not (folder := run.recording_folder("test")).is_dir():
        return {}, None
    recording, seed = Recording.open(folder), run.config.seed
    read = model.reader(programs.values())
    sample = read_sample(draw(recording, seed=seed), texts, read, causal=True)
    scores = score_heads(
        recording,
        sample.texts,
        programs,
        {},
        mean_by_position=None,
        seed=seed,
        numbers=sample.numbers,
        on_event=on_event,
    )
    return {head: fmean(scores[head].chosen) for head in programs}, len(sample.numbers)

"""Which heads of a model to replace, and by what: fractions, rankings, edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import Model
from headscript.programs.loading import load_program
from headscript.programs.program import Program
from headscript.runs import Run

RANKINGS = ("cost", "tuning", "iou")
"""How heads are ordered for replacement: by measured causal cost, or by IoU as the paper does."""


def costs_file(version: str) -> str:
    """Where a run keeps what replacing each head alone costs: {head: KL in nats a token}."""
    return f"costs/{version}.json"


def ranking(run: Run, version: str, order: str | None = None) -> list[Head]:
    """The heads that have a program, the first to be replaced first.

    `order` is "cost" (least measured cost first), "tuning" (as the stages of 'headscript tune'
    grew), "iou" (highest first), or None for the first of these that the version has. Nothing of
    the test texts enters: IoU is that on the select texts, and so is the cost.

    Raises HeadscriptError for an order that there is not, or that the version does not have.
    """
    heads = run.covered_heads(version)
    order = default_order(run, version) if order is None else order
    if order == "cost":
        if not run.has(costs_file(version)):
            raise HeadscriptError(
                f"The run in {run.directory} has no measured costs of its programs {version!r}; "
                "'headscript replace' measures them."
            )
        costs = run.read_json(costs_file(version))
        return sorted(heads, key=lambda head: (costs.get(str(head), float("inf")), head))
    if order == "tuning":
        tuned = _order_of_tuning(run, version)
        if not tuned:
            raise HeadscriptError(f"The programs {version!r} were not tuned; choose another order.")
        return sorted(heads, key=tuned.index)
    if order != "iou":
        raise HeadscriptError(f"There is no order {order!r}; choose one of {', '.join(RANKINGS)}.")
    scores = {
        Head(row.layer, row.head): row.iou if row.select_iou is None else row.select_iou
        for row in run.results().heads
    }
    return sorted(heads, key=lambda head: (-scores.get(head, 0.0), head))


def default_order(run: Run, version: str) -> str:
    """The order that `ranking` takes if none is asked for."""
    if run.has(costs_file(version)):
        return "cost"
    return "tuning" if _order_of_tuning(run, version) else "iou"


def _order_of_tuning(run: Run, version: str) -> list[Head]:
    """The order in which a version was tuned; empty for one that was not, or not all of it.

    Each program was fitted beside those before it; no other order is known to be better.
    """
    record = f"versions/{version}/version.json"
    found = run.read_json(record).get("order", ()) if run.has(record) else ()
    order = [Head.parse(name) for name in found]
    return order if set(run.covered_heads(version)) <= set(order) else []


def parse_fractions(listed: str) -> tuple[float, ...]:
    """Read "0,0.05,0.25"; raises HeadscriptError for what is no number from 0 to 1."""
    try:
        fractions = tuple(float(number) for number in listed.split(","))
    except ValueError:
        raise HeadscriptError(
            f"{listed!r} is no list of fractions; write them like 0.25,0.5,1."
        ) from None
    for fraction in fractions:
        head_count(fraction, 1)
    return fractions


def head_count(fraction: float, num_heads: int) -> int:
    """How many of a model's heads a fraction is; raises HeadscriptError outside 0 to 1."""
    if not 0 <= fraction <= 1:
        raise HeadscriptError(
            f"A fraction of heads lies between 0 and 1, and {fraction:g} does not."
        )
    return round(fraction * num_heads)


def assign(
    run: Run,
    fraction: float,
    *,
    version: str | None = None,
    order: str | None = None,
    edits: Sequence[tuple[Head, Path]] | Mapping[Head, Path] = (),
) -> dict[Head, Program]:
    """The first programs of the ranking, as many as the fraction says of all the model's heads.

    Heads without a program are never counted as replaced: a run that covers fewer gives fewer.
    `edits` are program files that take the place of a head's own, whether it is among the first or
    not. Raises HeadscriptError for a fraction outside 0 to 1, an unknown version or order, a head
    that is not there or edited twice, and a file the gate refuses.
    """
    version = run.versions()[-1] if version is None else version
    programs = run.programs(version)
    chosen = ranking(run, version, order)[: head_count(fraction, len(run.model.heads))]
    assignment = {head: programs[head] for head in chosen}
    edited: set[Head] = set()
    for head, file in edits.items() if isinstance(edits, Mapping) else edits:
        if head not in run.model.heads:
            raise HeadscriptError(f"{run.model.name} has no head {head}.")
        if head in edited:
            raise HeadscriptError(f"{head} is assigned two programs; give one.")
        edited.add(head)
        assignment[head] = load_program(file)
    return assignment


def check_model(run: Run, model: Model) -> None:
    """Make sure that a model is the one that a run is about; raises HeadscriptError otherwise."""
    run.require_model()  # no model at hand can be known to be that of imported attention
    if model.weights_hash != run.model.weights_hash:
        raise HeadscriptError(
            f"{model.name} is not the model of {run.directory}: its weights have another hash than "
            f"those of {run.model.name}, {run.model.weights_hash[:12]}."
        )

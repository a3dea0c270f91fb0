"""Which heads of a model to replace, and by what: fractions, rankings, edits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from headscript.costs import known_costs
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import Model
from headscript.programs.loading import load_program
from headscript.programs.program import Program
from headscript.runs import Run

RANKINGS = ("cost", "tuning", "iou")
"""How heads are ordered for replacement: by measured causal cost, or by IoU as the paper does."""


def ranking(
    run: Run,
    version: str,
    order: str | None = None,
    programs: Mapping[Head, Program] | None = None,
) -> list[Head]:
    """The heads that have a program, the first to be replaced first.

    `order` is "cost" (least measured cost first), "tuning" (as the stages of 'headscript tune'
    grew), "iou" (highest first), or None for the first of these that the version has. A head of
    which the order does not tell goes last: one whose program was edited since it was measured,
    or came to a version after it was tuned. Nothing of the test texts enters: IoU is that on the
    select texts, and so is the cost. `programs` are the version's, where they were read already.

    Raises HeadscriptError for an order that there is not, or that the version does not have.
    """
    heads = run.covered_heads(version)
    order = default_order(run, version, programs) if order is None else order
    if order == "cost":
        keys = known_costs(run, version, programs)
        if not keys:
            raise HeadscriptError(
                f"The run in {run.directory} has no measured costs of its programs {version!r}; "
                "'headscript replace' measures them."
            )
    elif order == "tuning":
        keys = {head: float(place) for place, head in enumerate(_order_of_tuning(run, version))}
        if not keys:
            raise HeadscriptError(f"The programs {version!r} were not tuned; choose another order.")
    elif order == "iou":
        keys = {
            Head(row.layer, row.head): -row.select_iou
            for row in run.results().heads
            if row.select_iou is not None
        }
        if not keys:
            raise HeadscriptError(
                f"The results in {run.directory} tell no IoU on select texts, by which to order "
                "heads; order them by cost, which 'headscript replace' measures."
            )
    else:
        raise HeadscriptError(f"There is no order {order!r}; choose one of {', '.join(RANKINGS)}.")
    return sorted(heads, key=lambda head: (keys.get(head, math.inf), head))


def default_order(run: Run, version: str, programs: Mapping[Head, Program] | None = None) -> str:
    """The order that `ranking` takes if none is asked for; `programs` are as there."""
    if known_costs(run, version, programs):
        return "cost"
    return "tuning" if _order_of_tuning(run, version) else "iou"


def _order_of_tuning(run: Run, version: str) -> list[Head]:
    """The order in which a version was tuned; empty for one that was not.

    Each program was fitted beside those before it; no other order is known to be better.
    """
    record = f"versions/{version}/version.json"
    found = run.read_json(record).get("order", ()) if run.has(record) else ()
    return [Head.parse(name) for name in found]


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
    chosen = ranking(run, version, order, programs)[: head_count(fraction, len(run.model.heads))]
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

"""What was done: models, texts, settings, versions, the machine, and what is missing."""

from __future__ import annotations

from typing import Any

from headscript.records import Maker
from headscript.study.report.gathering import Gathered
from headscript.study.report.markdown import Table
from headscript.study.report.numbers import listed, share, whole
from headscript.study.report.tables import Tables
from headscript.wording import short_name

KINDS = {
    "explain": "programs",
    "protocol": "the paper's protocol",
    "domains": "programs across domains",
    "transfer": "programs across models",
    "replace": "perplexity with heads replaced",
    "tune": "constants fitted through the model",
    "ask": "questions",
    "figures": "figures of the runs",
    "atlas": "atlases",
}
"""Kinds of steps, in words."""


def about(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section shows."""
    return {
        "models": _models(found),
        "texts": _texts(found),
        "splits": _splits(tables),
        "settings": _settings(found),
        "made_with": Table(("made with", ""), _made_with(found.folder.record.made_with), names=2),
        "left_out": [f"{what}: {why}" for what, why in found.folder.record.left_out.items()],
        "steps": len(found.steps),
        "done": sum(row.done for row in found.steps),
        "sentences": list(found.study.sentences),
    }


def waiting(found: Gathered, *kinds: str) -> str:
    """What of these kinds is not done yet, in words; nothing where all is."""
    by_kind: dict[str, list[str]] = {}
    for step in found.waiting(*kinds):
        by_kind.setdefault(step.kind, []).append(str(step))
    return "; ".join(name for names in by_kind.values() for name in names)


def _models(found: Gathered) -> Table:
    rows = []
    for model in found.study.models:
        run = next((run for (name, _), run in found.runs.items() if name == model.name), None)
        rows.append(
            (
                model.name,
                short_name(model.source),
                "decoder" if model.causal else "encoder",
                "" if run is None else run.run.model.architecture,
                "" if run is None else whole(len(run.run.model.heads)),
                "" if run is None else whole(run.results.summary.heads),
                "" if run is None else run.run.model.weights_hash[:12],
            )
        )
    head = ("model", "from", "kind", "network", "heads", "explained", "weights")
    return Table(head, rows, names=4)


def _texts(found: Gathered) -> Table:
    rows = [
        (
            texts.name,
            short_name(texts.source),
            whole(texts.max_texts),
            whole(texts.max_tokens),
        )
        for texts in found.study.texts
    ]
    return Table(("texts", "from", "texts at most", "tokens of each at most"), rows, names=2)


def _splits(tables: Tables) -> Table:
    rows = []
    for row in tables["summary"]:
        cells = [row["model"], row["texts"]]
        for split in ("fit", "select", "test"):
            cells += [whole(row[f"{split}_texts"]), whole(row[f"{split}_tokens"])]
        rows.append(cells)
    head = ("model", "texts", "fit: texts", "tokens", "select: texts", "tokens", "test: texts")
    return Table((*head, "tokens"), rows, names=2)


def _settings(found: Gathered) -> Table:
    study = found.study
    explain, replace, tune, ask = study.explain, study.replace, study.tune, study.ask
    rows = [
        (
            "programs",
            f"proposed by {listed(explain.proposers)}; at most {explain.max_terms} terms, each of "
            f"which must add {explain.term_price:g} IoU on the select texts; constants fitted on "
            f"{explain.fit_cells:,} query-key pairs at most",
        ),
        ("seed", f"{study.seed}"),
    ]
    if explain.explainer is not None:
        asked = f"{explain.candidates} programs a prompt, {explain.rounds} rounds of repair"
        budget = "no budget" if explain.budget is None else f"budget of a run {explain.budget}"
        rows.insert(1, ("language model", f"{explain.explainer}; {asked}; {budget}"))
    if tune.texts:
        rows.append(
            (
                "tuning",
                f"on {listed(tune.texts)}: {tune.steps} steps of {tune.step_tokens} tokens, stages "
                f"{listed([share(stage) for stage in tune.stages])} of the heads, weight of IoU "
                f"{tune.keep:g}",
            )
        )
    if replace.texts:
        rows.append(
            (
                "replacement",
                f"on {listed(replace.texts)}: {listed([share(f) for f in replace.fractions])} of "
                f"the heads, ordered by {listed(replace.orders)}; costs of heads alone on "
                f"{replace.cost_tokens:,} tokens of the select texts",
            )
        )
    if ask.texts:
        rows.append(
            (
                "questions",
                f"of runs on {listed(ask.texts)}: the first {ask.limit} of each of "
                f"{listed(ask.tasks)}",
            )
        )
    return Table(("settings", ""), rows, names=2)


def _made_with(makers: tuple[Maker, ...]) -> list[tuple[str, str]]:
    rows = []
    for maker in makers:
        libraries = ", ".join(f"{name} {version}" for name, version in maker.libraries.items())
        rows += [
            ("headscript", f"{maker.headscript}, version {maker.vocabulary} of the vocabulary"),
            ("Python", f"{maker.python}, with {libraries}"),
            ("machine", f"{maker.system.partition('-')[0]}, {maker.machine}"),
        ]
    return rows

"""What replacing heads by programs costs the model: perplexity, and answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headscript.runs import FOUND
from headscript.study.report import published
from headscript.study.report.causal_rows import MEAN
from headscript.study.report.gathering import Gathered, RunFound
from headscript.study.report.markdown import Table
from headscript.study.report.numbers import (
    accuracy,
    correlation,
    increase,
    increase_interval,
    iou,
    share,
    whole,
)
from headscript.study.report.rows import Row
from headscript.study.report.tables import Tables

_ORDERS = {"cost": "by cost", "greedy": "greedily", "iou": "by IoU"}
_PAPER_SHARES = (0.25, 0.5, 1.0)


def replacement(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on perplexity shows."""
    runs = [run for run in found.runs.values() if run.curves]
    return {
        "asked": found.asked("replace"),
        "encoders": [model.name for model in found.study.models if not model.causal],
        "runs": [_replaced(run, tables["replacement"]) for run in runs],
        "correlation": Table(
            (
                "model",
                "texts",
                "programs",
                "heads",
                "mean IoU",
                "Spearman of IoU and cost (95 % interval)",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    row["version"],
                    whole(row["heads"]),
                    iou(row["mean_iou"]),
                    correlation(row["spearman"], _interval(row)),
                )
                for row in tables["correlation"]
            ],
            names=3,
        ),
        "tuning": Table(
            (
                "model",
                "texts",
                "replaced",
                "KL before",
                "after",
                "perplexity before",
                "after",
                "IoU before",
                "after",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    share(row["fraction"]),
                    f"{row['kl_before']:.4f}",
                    f"{row['kl_after']:.4f}",
                    increase(row["increase_before"]),
                    increase(row["increase_after"]),
                    iou(row["select_iou_before"]),
                    iou(row["select_iou_after"]),
                )
                for row in tables["tuning"]
            ],
            names=2,
        ),
        "paper": Table(
            (
                "the paper's model",
                *(f"{share(part)} replaced" for part in _PAPER_SHARES),
                "IoU and the increase so far",
                "IoU and the head's own step",
            ),
            [
                (
                    model.name,
                    *(_of_paper(model.perplexity_increase[part]) for part in _PAPER_SHARES),
                    f"{model.iou_and_increase:.2f}",
                    f"{model.iou_and_step:.2f}",
                )
                for model in published.MODELS
                if model.perplexity_increase
            ],
        ),
        "paper_headline": _of_paper(published.INCREASE_AT_A_QUARTER),
        "paper_uniform": _of_paper(published.UNIFORM_AT_A_TWENTIETH),
        "paper_spearman": f"{published.SPEARMAN:g}",
    }


def questions(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on questions shows."""
    rows = tables["questions"]
    kinds = dict.fromkeys((r["model"], r["texts"], r["version"], r["order"]) for r in rows)
    low, high = published.QUESTIONS_HOLD
    return {
        "asked": found.asked("ask"),
        "left_out": found.folder.record.left_out.get("questions"),
        "runs": [
            {
                "model": model,
                "texts": texts,
                "version": version,
                "order": _ORDERS.get(order or "", order or "not known"),
                "answers": _answers(
                    [
                        row
                        for row in rows
                        if (row["model"], row["texts"]) == (model, texts)
                        and (row["version"], row["order"]) == (version, order)
                    ]
                ),
            }
            for model, texts, version, order in kinds
        ],
        "paper_low": share(low),
        "paper_high": share(high),
        "paper_questions": published.QUESTIONS,
    }


def _replaced(run: RunFound, rows: Sequence[Row]) -> dict[str, Any]:
    own = [row for row in rows if (row["model"], row["texts"]) == (run.model, run.texts)]
    curve = next(iter(run.curves.values()))
    low, high = curve.base_ci95
    ways = dict.fromkeys((row["version"], row["order"]) for row in own if not row["baseline"])
    fractions = sorted({row["fraction"] for row in own})
    place = {(row["version"], row["order"], row["programs"], row["fraction"]): row for row in own}
    main = {
        fraction: next(row for row in own if row["fraction"] == fraction and not row["baseline"])
        for fraction in fractions
    }
    others = next((row for row in own if row["baseline"]), None)
    table = Table(
        (
            "replaced",
            "heads",
            *(f"{version}, {_ORDERS.get(order, order)}" for version, order in ways),
            "the paper",
        ),
        [
            (
                share(fraction),
                whole(main[fraction]["heads"]),
                *(_cell(place.get((v, order, v, fraction))) for v, order in ways),
                _of_paper(main[fraction]["paper_increase"]),
            )
            for fraction in fractions
        ],
        names=0,
    )
    return {
        "name": run.name,
        "texts": curve.texts,
        "predicted": whole(curve.predicted),
        "perplexity": f"{curve.base_perplexity:.2f}",
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "table": table,
        "others": _others(own),
        "others_of": "" if others is None else f"{others['version']}, {_ORDERS[others['order']]}",
        "agreement": Table(
            (
                "replaced",
                *(f"{v}: {what}" for v in run.curves for what in ("KL", "same top token")),
            ),
            [
                (share(fraction), *_others_of_best(own, fraction, list(run.curves)))
                for fraction in fractions
            ],
            names=0,
        ),
        "reservations": _reservations(run),
    }


def _others_of_best(rows: Sequence[Row], fraction: float, versions: Sequence[str]) -> list[str]:
    """KL and agreement of each version in its best order, with their intervals."""
    cells = []
    for version in versions:
        row = next(
            (
                row
                for row in rows
                if row["version"] == version
                and row["best_order"]
                and not row["baseline"]
                and row["fraction"] == fraction
            ),
            None,
        )
        if row is None:
            cells += ["", ""]
            continue
        cells.append(f"{row['kl']:.4f} ({row['kl_ci95_low']:.4f} to {row['kl_ci95_high']:.4f})")
        low, high = row["top1_ci95_low"], row["top1_ci95_high"]
        cells.append(f"{100 * row['top1_agreement']:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
    return cells


def _others(rows: Sequence[Row]) -> Table:
    """What else took the place of the same heads, a column each; of the first version alone."""
    others = [row for row in rows if row["baseline"]]
    others = [row for row in others if row["version"] == others[0]["version"]]
    names = list(dict.fromkeys(row["programs"] for row in others))
    place = {(row["programs"], row["fraction"]): row for row in others}
    return Table(
        ("replaced", *names),
        [
            (share(fraction), *(_cell(place.get((name, fraction))) for name in names))
            for fraction in sorted({row["fraction"] for row in others})
        ],
        names=0,
    )


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return increase_interval(row["perplexity_increase"], row["ci95_low"], row["ci95_high"])


def _reservations(run: RunFound) -> list[str]:
    said = []
    for version, curve in run.curves.items():
        if not curve.prefix_consistent:
            said.append(
                f"Not all programs {version!r} are prefix-consistent: these are no perplexities of "
                "a language model."
            )
        if curve.failures:
            said.append(
                f"Heads whose program {version!r} fails kept their own attention: "
                f"{', '.join(sorted(curve.failures))}."
            )
        if version == FOUND:
            said += [f"{name} is left out: {why}." for name, why in curve.left_out.items()]
    return said


def _answers(rows: Sequence[Row]) -> Table:
    fractions = sorted({row["fraction"] for row in rows})
    tasks = [task for task in dict.fromkeys(row["task"] for row in rows) if task != MEAN]
    place = {(row["task"], row["fraction"]): row for row in rows}

    def cells(task: str, value: str, error: str, *, signed: bool = False) -> list[str]:
        found = [place.get((task, fraction)) for fraction in fractions]
        return [
            "" if row is None else accuracy(row[value], row[error], signed=signed) for row in found
        ]

    def line(task: str) -> tuple[str, ...]:
        row = next(row for row in rows if row["task"] == task)
        asked = whole(row["questions"]) if task != MEAN else ""
        guess = "" if row["guess"] is None else f"{100 * row['guess']:.1f}"
        return (task, asked, *cells(task, "accuracy", "stderr"), guess)

    lines = [line(task) for task in tasks]
    if any(row["task"] == MEAN for row in rows):
        lines.append(line(MEAN))
        changes = cells(MEAN, "change", "change_stderr", signed=True)
        if any(changes):
            lines.append(("change of the mean", "", *changes, ""))
    return Table(("task", "questions", *map(share, fractions), "guessing"), lines)


def _of_paper(value: float | None) -> str:
    """An increase in per cent, with the digits that the paper gives."""
    if value is None:
        return ""
    digits = 0 if abs(100 * value - round(100 * value)) < 1e-6 else 1
    return f"{100 * value:+,.{digits}f} %"


def _interval(row: Row) -> tuple[float, float] | None:
    return None if row["ci95_low"] is None else (row["ci95_low"], row["ci95_high"])

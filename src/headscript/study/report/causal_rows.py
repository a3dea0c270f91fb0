"""What putting programs in the place of heads costs, as plain rows: perplexity, ranks, answers."""

from __future__ import annotations

from statistics import fmean

from headscript.evaluation.sweep import Point
from headscript.study.report.gathering import Gathered, RunFound
from headscript.study.report.published import Published
from headscript.study.report.rows import Row

MEAN = "mean"
"""The task of a row that is the mean over tasks."""
_SAME = 1e-9  # two shares of heads that differ by less are one


def replacement_rows(found: Gathered) -> list[Row]:
    """A row for each run, version, order, share of heads and what took their place."""
    rows = []
    for run in found.runs.values():
        heads = len(run.run.model.heads)
        for version, curve in run.curves.items():
            for point in curve.curve:
                row: Row = {
                    "model": run.model,
                    "texts": run.texts,
                    "version": version,
                    "order": point.order,
                    "best_order": point.order == curve.curve[0].order,
                    "programs": point.programs,
                    "baseline": point.programs != version,
                    "test_texts": curve.texts,
                    "predicted_tokens": curve.predicted,
                    "base_perplexity": curve.base_perplexity,
                    "replaced": point.heads / heads,
                    **_numbers(point),
                }
                row["paper_increase"] = (
                    None
                    if point.programs != version or run.published is None
                    else published_increase(run.published, point.fraction)
                )
                rows.append(row)
    return rows


def correlation_rows(found: Gathered) -> list[Row]:
    """A row for each run and version: the rank correlation of IoU and cost over its heads."""
    return [
        {
            "model": run.model,
            "texts": run.texts,
            "version": version,
            "heads": len(curve.by_head),
            "mean_iou": fmean(row.iou for row in curve.by_head),
            "spearman": curve.spearman,
            "ci95_low": None if curve.spearman_ci95 is None else curve.spearman_ci95[0],
            "ci95_high": None if curve.spearman_ci95 is None else curve.spearman_ci95[1],
            "cost_tokens": run.cost_tokens.get(version),
        }
        for run in found.runs.values()
        for version, curve in run.curves.items()
        if curve.by_head
    ]


def tuning_rows(found: Gathered) -> list[Row]:
    """A row for each run, tuned version and share of heads: before and after, on select texts."""
    rows = []
    for run in found.runs.values():
        for version, record in run.tuned.items():
            before, after = record["before"], record["after"]
            for share in before["kl"]:
                row: Row = {
                    "model": run.model,
                    "texts": run.texts,
                    "version": version,
                    "fraction": float(share),
                }
                for name, found_then in (("before", before), ("after", after)):
                    row[f"kl_{name}"] = found_then["kl"][share]
                    row[f"increase_{name}"] = found_then["perplexity_increase"][share]
                    row[f"select_iou_{name}"] = found_then["iou"]
                rows.append(row)
    return rows


def question_rows(found: Gathered) -> list[Row]:
    """A row for each run, version, order, task and share of heads, and the means over tasks."""
    return [row for run in found.runs.values() for row in _answers_of(run)]


def published_increase(published: Published, fraction: float) -> float | None:
    """What the paper reports at this share of heads; None where it reports nothing."""
    for share, increase in published.perplexity_increase.items():
        if abs(share - fraction) < _SAME:
            return increase
    return None


def _numbers(point: Point) -> Row:
    row: Row = {}
    for name, value in point.model_dump(exclude={"order", "programs"}).items():
        if name.endswith("ci95"):
            row[f"{name}_low"], row[f"{name}_high"] = value
        else:
            row[name] = value
    return row


def _answers_of(run: RunFound) -> list[Row]:
    rows = []
    for given in run.answers:
        about = {
            "model": run.model,
            "texts": run.texts,
            "version": given["version"],
            "order": given["order"],
        }
        for answers in given["answers"]:
            rows.append(
                about
                | {
                    name: answers[name]
                    for name in (
                        "task",
                        "fraction",
                        "heads",
                        "questions",
                        "metric",
                        "accuracy",
                        "stderr",
                        "guess",
                        "acc_norm",
                        "acc_norm_stderr",
                    )
                }
            )
        rows += [about | {"task": MEAN, **mean} for mean in given["mean"]]
    return rows

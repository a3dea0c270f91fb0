"""How well the programs do, and what the paper's protocol says of the same programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headscript.study.report import published
from headscript.study.report.gathering import Gathered
from headscript.study.report.markdown import Table
from headscript.study.report.numbers import (
    NONE,
    difference,
    iou,
    iou_interval,
    listed,
    rounded_share,
    share,
    whole,
)
from headscript.study.report.rows import Row
from headscript.study.report.tables import Tables

_BASELINES = {
    "first token": "first token",
    "previous token": "previous token",
    "the token itself": "the token itself",
    "uniform": "uniform",
    "random column": "random column",
    "random token": "random token",
    "mean by position": "mean by position",
}
_BESIDE = ("first token", "uniform", "random column", "random token")
"""Baselines of the paper, and the first token."""


def programs(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on scores shows."""
    summary = tables["summary"]
    return {
        "scores": Table(
            (
                "model",
                "texts",
                "test texts",
                "heads",
                "mean IoU (95 % interval)",
                "median IoU",
                "median terms",
                "coverage",
                "prefix-consistent",
                "the paper's mean",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    whole(row["test_texts"]),
                    whole(row["heads"]),
                    iou_interval(row["iou"], row["ci95_low"], row["ci95_high"]),
                    iou(row["median_iou"]),
                    NONE if row["terms_median"] is None else f"{row['terms_median']:g}",
                    share(row["coverage"]),
                    share(row["prefix_consistent"]),
                    _of_paper(row["paper_mean_iou"]),
                )
                for row in summary
            ],
            names=2,
        ),
        "baselines": Table(
            ("model", "texts", "programs", *_BASELINES.values()),
            [
                (
                    row["model"],
                    row["texts"],
                    iou(row["iou"]),
                    *(iou(row.get(f"baseline_{name}")) for name in _BASELINES),
                )
                for row in summary
            ],
            names=2,
        ),
        "categories": Table(
            ("model", "texts", "what heads do, by number of heads"),
            [
                (run.model, run.texts, _categories(run.results.summary.categories))
                for run in found.runs.values()
                if run.results.summary.categories
            ],
            names=3,
        ),
        "paper": Table(
            ("the paper's model", "heads", "mean IoU", "median IoU"),
            [
                (model.name, whole(model.heads), _of_paper(model.mean_iou), f"{model.median_iou}")
                for model in published.MODELS
            ],
        ),
        "source": published.SOURCE,
    }


def protocols(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on the two protocols shows."""
    rows = tables["protocol"]
    first = rows[0] if rows else None
    return {
        "sentences": len(found.study.sentences),
        "most": None if first is None else _most(rows),
        "side_by_side": Table(
            (
                "model",
                "texts",
                "chosen and reported on the sentences",
                "the same choice on unseen text",
                "lost",
                "heads that lose",
                "three splits, on unseen text",
                "gained by it",
                "the paper's mean",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    iou_interval(row["five"], row["five_low"], row["five_high"]),
                    iou_interval(row["unseen"], row["unseen_low"], row["unseen_high"]),
                    difference(-row["lost_on_unseen"]),
                    rounded_share(row["heads_losing"]),
                    iou_interval(row["ours"], row["ours_low"], row["ours_high"]),
                    difference(row["gained_by_ours"]),
                    _of_paper(row["paper_mean_iou"]),
                )
                for row in rows
            ],
            names=2,
        ),
        # The three parts add up to what is lost.
        "parts": Table(
            (
                "model",
                "texts",
                "lost",
                "the sentences are easier",
                "reported where it was chosen",
                "the choice is worse",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    difference(-row["lost_on_unseen"]),
                    difference(row["ours"] - row["five_ours"]),
                    difference(row["five_ours"] - row["five"]),
                    difference(-row["gained_by_ours"]),
                )
                for row in rows
            ],
            names=2,
        ),
        "intended": Table(
            (
                "model",
                "texts",
                "sentences: written for the head",
                "sentences: best of all",
                "sentences: our choice",
                "unseen: written for the head",
                "unseen: our choice",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    iou(row["five_intended"]),
                    iou(row["five"]),
                    iou(row["five_ours"]),
                    iou(row["ours_intended"]),
                    iou(row["ours"]),
                )
                for row in rows
            ],
            names=2,
        ),
        "baselines": Table(
            (
                "model",
                "texts",
                *(f"{where}: {name}" for where in ("sentences", "unseen") for name in _BESIDE),
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    *(iou(row.get(f"five_baseline_{name}")) for name in _BESIDE),
                    *(iou(row.get(f"baseline_{name}")) for name in _BESIDE),
                )
                for row in rows
            ],
            names=2,
        ),
    }


def _most(rows: Sequence[Row]) -> str:
    """Where the same choice loses most, and how much."""
    worst = max(rows, key=lambda row: row["lost_on_unseen"])
    return f"{iou(worst['lost_on_unseen'])} for {worst['model']} on {worst['texts']}"


def _of_paper(value: float | None) -> str:
    """An IoU with the digits that the paper gives."""
    return "" if value is None else f"{value:.2f}"


def _categories(numbers: dict[str, int]) -> str:
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{name} {number}" for name, number in ordered])

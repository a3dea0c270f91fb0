"""Programs on other models and on other texts, and the words that carry over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headscript.study.report.gathering import Gathered
from headscript.study.report.markdown import Table
from headscript.study.report.numbers import difference, iou, iou_interval, rounded_share, whole
from headscript.study.report.rows import CLOSE, Row
from headscript.study.report.tables import Tables
from headscript.study.report.vocabulary import ENOUGH, SHOWN, overall, pooled


def models(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on programs across models shows."""
    return {
        "asked": len(found.study.models) > 1,
        "crossings": Table(
            (
                "programs of",
                "heads of",
                "texts",
                "mean IoU (95 % interval)",
                "its own programs",
                "less",
                "best baseline",
                "programs",
                "unsuited",
            ),
            [
                (
                    row["from"],
                    row["to"],
                    row["texts"],
                    _interval(row, "best"),
                    _interval(row, "there"),
                    difference(row["best_less"]),
                    iou(row["best_baseline_iou"]),
                    whole(row["programs"]),
                    whole(row["unsuited"]),
                )
                for row in tables["transfer"]
            ],
            names=3,
        ),
    }


def domains(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on programs across texts shows."""
    words = pooled(tables["vocabulary"])
    together = overall(tables["vocabulary"])
    worst = [row for row in reversed(words) if row not in words[:SHOWN]][:SHOWN]
    return {
        "asked": len(found.study.texts) > 1,
        "close": CLOSE,
        "enough": ENOUGH,
        "crossings": Table(
            (
                "model",
                "from",
                "on",
                "own program as it is",
                "less",
                "heads that hold",
                "chosen anew",
                "less",
                "found there",
                "best baseline",
            ),
            [
                (
                    row["model"],
                    row["from"],
                    row["to"],
                    _interval(row, "own"),
                    difference(row["own_less"]),
                    rounded_share(row["heads_close"]),
                    _interval(row, "best"),
                    difference(row["best_less"]),
                    _interval(row, "there"),
                    iou(row["best_baseline_iou"]),
                )
                for row in tables["domains"]
            ],
            names=3,
        ),
        "categories": Table(
            (
                "model",
                "what the head does",
                "heads",
                "own program as it is",
                "found there",
                "less",
                "heads that hold",
            ),
            [
                (
                    row["model"],
                    row["category"],
                    whole(row["heads"]),
                    iou(row["own"]),
                    iou(row["there"]),
                    difference(row["own_less"]),
                    rounded_share(row["heads_close"]),
                )
                for row in tables["categories"]
            ],
            names=2,
        ),
        "judged": len(words),
        "uses": None if together is None else whole(together["uses"]),
        "carried": None if together is None else rounded_share(together["carried"]),
        "chance": None if together is None else rounded_share(together["chance"]),
        "best_words": _words(words[:SHOWN]),
        "worst_words": _words(worst),
    }


def _words(rows: Sequence[Row]) -> Table:
    return Table(
        ("word", "heads that use it", "of these on the other texts too", "by chance", "beyond"),
        [
            (
                row["word"],
                whole(row["heads_from"]),
                rounded_share(row["carried"]),
                rounded_share(row["chance"]),
                f"{100 * row['beyond_chance']:+.1f}",
            )
            for row in rows
        ],
    )


def _interval(row: Row, name: str) -> str:
    return iou_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])

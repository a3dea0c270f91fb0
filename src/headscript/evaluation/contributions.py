"""What each proposer contributed to a run's programs, and what that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def contributions(
    proposers: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    reports: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """By proposer: its share of heads, the IoU it gained over the search alone, its outcomes.

    `rows` are those of the results. What a head's program gains is shared out evenly among the
    proposers that have a part in it, the search left out; `iou_gained` is the mean over all heads.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in proposers:
        parts = [(row.get("proposer") or "").split("+") for row in rows]
        entry: dict[str, Any] = dict(reports.get(name, {}))
        entry["heads"] = sum(name in part for part in parts) / len(rows)
        if name != "search" and "search" in proposers:
            gained = sum(
                (row["iou"] - row["searched_iou"])
                / len([each for each in part if each != "search"])
                for row, part in zip(rows, parts, strict=True)
                if name in part
            )
            entry["iou_gained"] = gained / len(rows)
            if entry.get("cost"):
                entry["iou_gained_per_dollar"] = entry["iou_gained"] / entry["cost"]
        found[name] = entry
    return found

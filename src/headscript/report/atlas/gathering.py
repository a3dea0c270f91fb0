"""A run as plain data: all that the atlas shows, except the patterns, which are bytes.

The README beside this file describes what the page is given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from statistics import fmean
from typing import Any

from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.report.atlas.account import Account, account_of
from headscript.report.atlas.comparing import change, check_comparison, same_texts
from headscript.report.atlas.evidence import answers_of, replacements_of, versions_of
from headscript.report.atlas.sightings import packed_bytes
from headscript.report.atlas.source import meanings
from headscript.report.atlas.unexplained import iou_and_cost, unexplained
from headscript.runs import Run
from headscript.wording import short_name

FORMAT = 1
"""Of the payload."""

_DIGITS = 5  # that a number keeps
_PATHS = ("model", "texts", "library")  # settings that may be paths


@dataclass(frozen=True)
class Atlas:
    """What the page is made of."""

    payload: dict[str, Any]
    patterns: list[str]
    """By layer: base64 of gzip of the patterns' bytes, or nothing."""


def gather(
    run: Run,
    *,
    version: str | None = None,
    compare: Run | None = None,
    compare_version: str | None = None,
    on_event: Listener = ignore,
) -> Atlas:
    """All that is known of a finished run and a version of its programs (None: the newest).

    `compare` is a second run, or the same one with another version of its programs; it may be of
    another model. Raises HeadscriptError where a run is not finished, has no such version, holds a
    program that the gate refuses, or would be compared with itself.
    """
    if compare is not None:
        check_comparison((run, version), (compare, compare_version))
    account = account_of(run, version, on_event=on_event)
    payload = _of_run(account)
    payload |= {
        "format": FORMAT,
        "heads": list(account.rows.values()),
        "details": _chunks(run, account.details(on_event)),
        "tokens": account.seen.tokens,
        "shown_texts": account.seen.shown,
        "proposers": payload["summary"].get("proposers", {}),
        "compare": None,
    }
    words = [word for row in account.rows.values() for word in row["words"]]
    if compare is not None:
        numbers = None
        if same_texts(run, compare) and account.seen.sample is not None:
            numbers = account.seen.sample.numbers
        other = account_of(compare, compare_version, numbers=numbers, on_event=on_event)
        payload["compare"] = _compared(account, other, on_event)
        words += [word for row in other.rows.values() for word in row["words"]]
    payload["vocabulary"] = meanings(words)
    return Atlas(brief(payload), account.seen.patterns)


def brief(value: Any) -> Any:
    """The same data with numbers of a few digits; a number that is none becomes null."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: brief(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [brief(inner) for inner in value]
    return value


def _of_run(account: Account) -> dict[str, Any]:
    """What is said of either run."""
    run, sample = account.run, account.seen.sample
    model, splits = run.model, run.record.texts or {}
    summary = account.results.summary.model_dump(mode="json")
    summary |= {"unexplained": unexplained(account), "iou_cost": iou_and_cost(account)}
    config = run.config.model_dump(mode="json")
    name = short_name(model.name)
    return {
        "title": f"{name}, programs '{account.version}'",
        "note": account.seen.note,
        "made": {
            "headscript": version_of("headscript"),
            "model": {
                "name": name,
                "architecture": model.architecture,
                "weights_hash": model.weights_hash,
                "causal": model.causal,
                "layers": len(model.heads_per_layer),
                "heads_per_layer": model.heads_per_layer,
            },
            "config": config | {key: short_name(config[key]) for key in _PATHS if config[key]},
            "made_with": [maker.model_dump(mode="json") for maker in run.record.made_with],
        },
        "texts": {
            **{split: facts.texts for split, facts in splits.items()},
            "tokens": {split: facts.tokens for split, facts in splits.items()},
        },
        "sample": None if sample is None else sample.facts(),
        "summary": summary,
        "versions": _versions(account),
        "version": account.version,
        "replacement": replacements_of(run),
        "qa": answers_of(run),
    }


def _versions(account: Account) -> list[dict[str, Any]]:
    """The run's versions; of the one shown also what it does on the sample."""
    found = versions_of(account.run)
    ious = [seen.ious for seen in account.seen.by_head.values() if seen.ious]
    by_text = [fmean(values) for values in zip(*ious, strict=True)]
    for entry in found:
        shown = entry["name"] == account.version and by_text
        entry["sample_iou"] = fmean(by_text) if shown else None
        entry["sample_ci95"] = account.interval(by_text) if shown else None
    return found


def _compared(first: Account, second: Account, on_event: Listener) -> dict[str, Any]:
    kept = {
        head: {key: detail[key] for key in ("explanation", "source")}
        for head, detail in second.details(on_event).items()
    }
    return _of_run(second) | {
        "same_model": first.run.model.weights_hash == second.run.model.weights_hash,
        "same_texts": same_texts(first.run, second.run),
        "heads": {str(head): row for head, row in second.rows.items()},
        "details": _chunks(second.run, kept),
        "change": change(first, second),
    }


def _chunks(run: Run, details: Mapping[Head, Mapping[str, Any]]) -> list[str]:
    """Details packed by layer."""
    return [
        _packed((head, detail) for head, detail in details.items() if head.layer == layer)
        for layer in range(len(run.model.heads_per_layer))
    ]


def _packed(details: Iterable[tuple[Head, Mapping[str, Any]]]) -> str:
    found = {str(head): brief(detail) for head, detail in details}
    if not found:
        return ""
    content = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return packed_bytes(content.encode())

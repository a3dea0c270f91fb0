"""What a study found as plain rows: of heads, runs, protocols, crossings, and steps.

A row is a dictionary from names of columns to numbers and words; None is what is not known. The
tables of the report and the files in STUDY/results are made of the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from headscript.heads import Head
from headscript.runs import FOUND
from headscript.study.report.gathering import Gathered, RunFound

Row = dict[str, Any]

CLOSE = 0.05
"""A program holds on other texts where its IoU is at most so far below that of the one found
there."""


def head_rows(found: Gathered) -> list[Row]:
    """A row for each head of each run."""
    return [row for run in found.runs.values() for row in _heads_of(found, run)]


def summary_rows(found: Gathered) -> list[Row]:
    """A row for each run: all its heads together, on its test texts."""
    rows = []
    for run in found.runs.values():
        summary = run.results.summary
        splits, terms = run.run.record.texts or {}, summary.terms
        row: Row = {
            "model": run.model,
            "texts": run.texts,
            "heads": summary.heads,
            "iou": summary.iou.mean,
            **_ends("ci95", summary.iou.ci95),
            "median_iou": summary.iou.median,
            "intended_iou": (summary.model_extra or {}).get("intended_iou"),
            "terms_median": None if terms is None else terms.median,
            "terms_mean": None if terms is None else terms.mean,
            "terms_max": None if terms is None else terms.max,
            "coverage": summary.coverage,
            "prefix_consistent": summary.prefix_consistent,
        }
        row |= {f"baseline_{name}": value for name, value in summary.baselines.items()}
        for split in ("fit", "select", "test"):
            facts = splits.get(split)
            row[f"{split}_texts"] = None if facts is None else facts.texts
            row[f"{split}_tokens"] = None if facts is None else facts.tokens
        row |= {
            "seconds": sum(summary.seconds.values()),
            "peak_memory_mb": summary.peak_memory_mb,
            "requests": _asked(run, "requests"),
            "input_tokens": _asked(run, "input_tokens"),
            "output_tokens": _asked(run, "output_tokens"),
            "dollars": _asked(run, "cost"),
            "paper_mean_iou": None if run.published is None else run.published.mean_iou,
            "paper_median_iou": None if run.published is None else run.published.median_iou,
        }
        rows.append(row)
    return rows


def protocol_rows(found: Gathered) -> list[Row]:
    """A row for each run: the paper's protocol, its choice on unseen text, and ours."""
    rows = []
    for (model, texts), given in found.protocol.items():
        run = found.runs[model, texts]
        summary = run.results.summary
        fewer = [row for row in given["heads"] if row["unseen_iou"] < row["five_iou"]]
        row: Row = {"model": model, "texts": texts, "heads": len(given["heads"])}
        row |= {"sentences": len(given["tokens"]), "sentence_tokens": sum(given["tokens"])}
        for name in ("five", "five_intended", "five_ours", "unseen"):
            row |= _overall(name, given[name])
        row |= {"ours": summary.iou.mean, **_ends("ours", summary.iou.ci95)}
        row |= {
            "ours_intended": (summary.model_extra or {}).get("intended_iou"),
            "lost_on_unseen": given["five"]["mean"] - given["unseen"]["mean"],
            "heads_losing": len(fewer) / len(given["heads"]) if given["heads"] else None,
            "gained_by_ours": summary.iou.mean - given["unseen"]["mean"],
        }
        row |= {f"five_baseline_{name}": value for name, value in given["baselines"].items()}
        row |= {f"baseline_{name}": value for name, value in summary.baselines.items()}
        row["paper_mean_iou"] = None if run.published is None else run.published.mean_iou
        rows.append(row)
    return rows


def domain_rows(found: Gathered) -> list[Row]:
    """A row for each model and pair of texts: programs from one on the other."""
    rows = []
    for (model, target, source), given in found.domains.items():
        there = found.runs[model, target]
        of_head = there.heads
        close = [
            row["own_iou"] >= of_head[row["head"]].iou - CLOSE
            for row in given["heads"]
            if row["own_iou"] is not None
        ]
        row: Row = {"model": model, "from": source, "to": target, "heads": len(given["heads"])}
        row |= _overall("own", given["own"])
        row |= _overall("best", given["best"])
        row |= _there(there)
        row |= {
            "own_less": None if given["own"] is None else given["own"]["mean"] - row["there"],
            "best_less": given["best"]["mean"] - row["there"],
            "heads_close": sum(close) / len(close) if close else None,
            "programs": given["programs"],
            "unsuited": given["unsuited"],
        }
        rows.append(row)
    return rows


def category_rows(found: Gathered) -> list[Row]:
    """A row for each model and kind of head: its own program from other texts, over all pairs."""
    together: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (model, target, _), given in found.domains.items():
        there = found.runs[model, target].heads
        for row in given["heads"]:
            result = there[row["head"]]
            if row["own_iou"] is not None and result.category is not None:
                pair = (row["own_iou"], result.iou)
                together.setdefault((model, result.category), []).append(pair)
    rows = []
    for (model, category), pairs in sorted(together.items()):
        own, there_iou = (fmean(values) for values in zip(*pairs, strict=True))
        close = fmean(one >= other - CLOSE for one, other in pairs)
        row = {"model": model, "category": category, "heads": len(pairs), "own": own}
        rows.append(row | {"there": there_iou, "own_less": own - there_iou, "heads_close": close})
    return rows


def transfer_rows(found: Gathered) -> list[Row]:
    """A row for each text and pair of models: programs of one on the heads of the other."""
    rows = []
    for (model, texts, source), given in found.transfer.items():
        there = found.runs[model, texts]
        row: Row = {"from": source, "to": model, "texts": texts, "heads": len(given["heads"])}
        row |= _overall("best", given["best"])
        row |= _there(there)
        row["best_less"] = given["best"]["mean"] - row["there"]
        row |= {"programs": given["programs"], "unsuited": given["unsuited"]}
        rows.append(row)
    return rows


def step_rows(found: Gathered) -> list[Row]:
    """A row for each step, done or not."""
    return [
        {
            "step": row.step.name,
            "kind": row.step.kind,
            "model": row.step.model,
            "texts": row.step.texts,
            "from": row.step.source or None,
            "version": row.step.version or None,
            "done": row.done,
            "seconds": row.seconds,
            "planned_seconds": row.planned,
        }
        for row in found.steps
    ]


def unexplained_rows(found: Gathered) -> list[Row]:
    """A row for each run whose programs were looked at: the mass that none matches."""
    rows = []
    for run in found.runs.values():
        given = run.looked.unexplained
        if given is None:
            continue
        row: Row = {"model": run.model, "texts": run.texts, "missed": given["mass"]}
        row |= _ends("ci95", given["ci95"])
        row |= {
            "texts_looked_at": (run.looked.sample or {}).get("texts"),
            "test_texts": (run.looked.sample or {}).get("of"),
            "uncovered": len(given["uncovered"]),
            "not_run": len(given["not_run"]),
        }
        for region, shares in given["by_region"].items():
            row |= {f"{kind} {region}": value for kind, value in shares.items()}
        rows.append(row)
    return rows


def best_baseline(run: RunFound) -> tuple[str, float]:
    """The pattern that needs no program and does best on a run's test texts."""
    baselines = run.results.summary.baselines
    name = max(baselines, key=lambda each: baselines[each])
    return name, baselines[name]


def _heads_of(found: Gathered, run: RunFound) -> list[Row]:
    key = (run.model, run.texts)
    protocol = _by_head(found.protocol.get(key))
    domains = {
        source: _by_head(given)
        for (model, texts, source), given in found.domains.items()
        if (model, texts) == key
    }
    models = {
        source: _by_head(given)
        for (model, texts, source), given in found.transfer.items()
        if (model, texts) == key
    }
    tuned = {
        version: {row.head: row.iou for row in curve.by_head}
        for version, curve in run.curves.items()
        if version != FOUND and curve.iou_texts is not None
    }
    rows = []
    for result in run.results.heads:
        name = str(Head(result.layer, result.head))
        row: Row = {
            "model": run.model,
            "texts": run.texts,
            "layer": result.layer,
            "head": result.head,
            "name": name,
            "status": result.status,
            "iou": result.iou,
            **_ends("ci95", result.ci95),
            "select_iou": result.select_iou,
            "fit_iou": result.fit_iou,
            "intended_iou": result.intended_iou,
            "chosen_from": result.chosen_from,
            "proposer": result.proposer,
            "terms": result.terms,
            "prefix_consistent": result.prefix_consistent,
            "category": result.category,
        }
        row |= {f"baseline_{name}": value for name, value in result.baselines.items()}
        given = protocol.get(name, {})
        for column in ("five_iou", "five_from", "five_intended_iou", "five_ours_iou", "unseen_iou"):
            row[column] = given.get(column)
        for source, by_head in domains.items():
            carried = by_head.get(name, {})
            row[f"own_iou_from_{source}"] = carried.get("own_iou")
            row[f"best_iou_from_{source}"] = carried.get("best_iou")
        for source, by_head in models.items():
            row[f"best_iou_by_{source}"] = by_head.get(name, {}).get("best_iou")
        for version, ious in tuned.items():
            row[f"iou_{version}"] = ious.get(name)
        for version, costs in run.costs.items():
            row[f"cost_{version}"] = costs.get(name)
        rows.append(row)
    return rows


def _by_head(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if given is None else {row["head"]: row for row in given["heads"]}


def _overall(name: str, given: Mapping[str, Any] | None) -> Row:
    mean = None if given is None else given["mean"]
    return {name: mean, **_ends(name, None if given is None else given["ci95"])}


def _there(run: RunFound) -> Row:
    """What the programs found there do, and the best pattern that needs none."""
    summary = run.results.summary
    name, value = best_baseline(run)
    return {
        "there": summary.iou.mean,
        **_ends("there", summary.iou.ci95),
        "best_baseline": name,
        "best_baseline_iou": value,
    }


def _ends(name: str, interval: Sequence[float] | None) -> Row:
    low, high = (None, None) if interval is None else interval
    return {f"{name}_low": low, f"{name}_high": high}


def _asked(run: RunFound, what: str) -> float | None:
    """A number of the language model's, where one was asked."""
    proposer = run.results.summary.proposers.get("llm")
    return None if proposer is None else getattr(proposer, what)

"""What is not explained, what it cost, where everything lies, and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headscript.heads import Head
from headscript.report.atlas.regions import region_names
from headscript.study.report import commands, published
from headscript.study.report.gathering import Gathered
from headscript.study.report.markdown import Markdown, Table, code, link
from headscript.study.report.numbers import (
    dollars,
    iou,
    listed,
    memory,
    rounded_share,
    share_interval,
    whole,
)
from headscript.study.report.sections.about import KINDS
from headscript.study.report.tables import Tables
from headscript.study.steps import TUNED
from headscript.wording import duration


def unexplained(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on what is not explained shows."""
    by_run = {(row["model"], row["texts"]): row for row in tables["unexplained"]}
    causal = {model.name: model.causal for model in found.study.models}
    regions = region_names(False)
    kinds = ("real", "predicted", "missed")
    return {
        "mass": Table(
            (
                "model",
                "texts",
                "test texts looked at",
                "mass not matched (95 % interval)",
                "heads without a program",
            ),
            [
                (
                    model,
                    texts,
                    f"{row['texts_looked_at']} of {row['test_texts']}",
                    share_interval(
                        row["missed"],
                        None if row["ci95_low"] is None else (row["ci95_low"], row["ci95_high"]),
                    ),
                    whole(row["uncovered"]),
                )
                for (model, texts), row in by_run.items()
            ],
            names=2,
        ),
        "regions": Table(
            ("model", "texts", "the head, the program, what is missed", *regions),
            [
                (
                    model,
                    texts,
                    {"real": "head", "predicted": "program", "missed": "missed"}[kind],
                    *(
                        rounded_share(row.get(f"{kind} {region}"))
                        if region in region_names(causal[model])
                        else ""
                        for region in regions
                    ),
                )
                for (model, texts), row in by_run.items()
                for kind in kinds
            ],
            names=3,
        ),
        "worst": Table(
            ("model", "texts", "heads of which most is missed, with their IoU"),
            [
                (run.model, run.texts, listed(_with_iou(run.looked.unexplained["worst"], run)))
                for run in found.runs.values()
                if run.looked.unexplained is not None and run.looked.unexplained["worst"]
            ],
            names=3,
        ),
        "uncovered": Table(
            ("model", "texts", "head", "why it has no working program"),
            [
                (run.model, run.texts, str(Head(row.layer, row.head)), row.status)
                for run in found.runs.values()
                for row in run.results.heads
                if row.status != "ok"
            ],
            names=4,
        ),
        "notes": [
            f"{run.name}: {run.looked.note}" for run in found.runs.values() if run.looked.note
        ],
    }


def costs(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on cost shows."""
    done = [row for row in found.steps if row.done]
    planned = any(row.planned is not None for row in found.steps)
    return {
        "planned": planned,
        "kinds": Table(
            ("steps", "done", "of", "time", "planned"),
            [
                *(
                    _times(KINDS[kind], [row for row in found.steps if row.step.kind == kind])
                    for kind in KINDS
                    if found.asked(kind)
                ),
                _times("all", found.steps),
            ],
        ),
        "steps": Table(
            ("step", "time", "planned"),
            [(str(row.step), duration(row.seconds), duration(row.planned)) for row in done],
        ),
        "runs": Table(
            (
                "model",
                "texts",
                "time of the programs",
                "most memory",
                "requests",
                "tokens in",
                "tokens out",
                "price",
            ),
            [
                (
                    row["model"],
                    row["texts"],
                    duration(row["seconds"]),
                    memory(row["peak_memory_mb"]),
                    whole(row["requests"]),
                    whole(row["input_tokens"]),
                    whole(row["output_tokens"]),
                    dollars(row["dollars"]),
                )
                for row in tables["summary"]
            ],
            names=2,
        ),
        "asked_llm": any(row["requests"] is not None for row in tables["summary"]),
        "dollars": dollars(sum(row["dollars"] or 0.0 for row in tables["summary"])),
        "paper_dollars": published.DOLLARS,
        "paper_candidates": whole(published.CANDIDATES),
    }


def places(found: Gathered, tables: Tables) -> dict[str, Any]:
    """What the section on files and commands shows."""
    done = {row.step.name: row.step for row in found.steps if row.done}
    rows = []
    for run in found.runs.values():
        name = f"{run.model}-{run.texts}"
        place = commands.run_place(run.model, run.texts)
        atlas = f"atlases/{name}.html"
        drawn = f"figures/{name}"
        kinds = {s.kind for s in done.values() if (s.model, s.texts) == (run.model, run.texts)}
        rows.append(
            (
                run.model,
                run.texts,
                link(place, f"{place}/"),
                link(atlas, atlas) if "atlas" in kinds else "",
                link(drawn, f"{drawn}/") if "figures" in kinds else "",
            )
        )
    return {
        "runs": Table(("model", "texts", "run", "atlas", "figures"), rows, names=5),
        "tables": [link(f"{name}.csv", f"results/{name}.csv") for name in tables if tables[name]],
        "commands": Table(("what", "command"), _commands(found), names=2),
    }


def _commands(found: Gathered) -> list[tuple[str, Markdown]]:
    """For each number of the report, the command that gives it; of the first run that has it."""
    study = found.study
    rows: list[tuple[str, Markdown]] = []
    for run in found.runs.values():
        model, texts = study.model(run.model), study.domain(run.texts)
        place = commands.run_place(run.model, run.texts)
        name = f"{run.model} on {run.texts}"
        rows.append((f"{name}: scores, read", code(commands.show(place))))
        again = f"again/{run.model}-{run.texts}"
        rows.append(
            (f"{name}: scores, made anew", code(commands.explain(study, model, texts, again)))
        )
        for version in run.curves:
            rows.append(
                (f"{name}: perplexity, {version}", code(commands.replace(study, place, version)))
            )
        if TUNED in run.run.versions():
            rows.append((f"{name}: tuning", code(commands.tune(study, place))))
        for version in dict.fromkeys(given["version"] for given in run.answers):
            rows.append((f"{name}: questions", code(commands.evaluate(study, place, version))))
        rows.append((f"{name}: what is not explained", code(commands.atlas(place))))
        rows.append((f"{name}: figures", code(commands.figures(place))))
    return rows


def _with_iou(heads: Sequence[str], run: Any) -> list[str]:
    of_head = run.heads
    return [f"{head} {iou(of_head[head].iou)}" for head in heads]


def _times(name: str, rows: Sequence[Any]) -> tuple[str, ...]:
    done = [row for row in rows if row.done]
    planned = [row.planned for row in done]
    known = [seconds for seconds in planned if seconds is not None]
    return (
        name,
        whole(len(done)),
        whole(len(rows)),
        duration(sum(row.seconds for row in done)) if done else "",
        duration(sum(known)) if known and len(known) == len(done) else "",
    )

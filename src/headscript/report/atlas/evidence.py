"""What else a run has measured, read from its files: versions, replacement, answers."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headscript.errors import HeadscriptError
from headscript.evaluation.accuracy import Answers, Kept, Mean, by_order, mean_over_tasks
from headscript.programs.freeform import FreeForm, is_free_form
from headscript.programs.program import read_source
from headscript.records import damaged
from headscript.runs import FOUND, Run
from headscript.wording import short_name

_SELECTION = "candidates/selection.json"
_TUNING = ("before", "after", "texts", "set_aside", "seconds", "losses")


def candidates_of(run: Run) -> dict[str, list[dict[str, Any]]]:
    """By head, the programs that were proposed for it, with what each does on the select texts."""
    found: dict[str, list[dict[str, Any]]] = {}
    if run.has(_SELECTION):
        for entry in run.read_json(_SELECTION):
            found.setdefault(entry["head"], []).append(entry)
    return found


def versions_of(run: Run) -> list[dict[str, Any]]:
    """The versions of a run's programs, oldest first, with what each was worth where it was made.

    The programs that were found are judged on all test texts; tuned ones on select texts, without
    an interval.
    """
    summary = run.results().summary
    found: list[dict[str, Any]] = [
        {
            "name": FOUND,
            "mean_iou": summary.iou.mean,
            "ci95": summary.iou.ci95,
            "split": "test",
            "terms": None if summary.terms is None else summary.terms.mean,
            "heads": len(_files(run, FOUND)),
            "tuning": None,
        }
    ]
    for name in run.versions()[1:]:
        file = f"versions/{name}/version.json"
        record = run.read_json(file)
        files = _files(run, name)
        try:
            settings = record["settings"]
            tuning = {key: record[key] for key in _TUNING if key in record}
            texts = settings.get("texts")
            tuning["settings"] = settings | {"texts": short_name(texts) if texts else None}
            worth = record["after"]["iou"]
        except (KeyError, TypeError) as error:
            raise HeadscriptError(damaged(run.directory / file)) from error
        found.append(
            {
                "name": name,
                "mean_iou": worth,
                "ci95": None,
                "split": "select",
                "terms": sum(map(_number_of_terms, files)) / len(files) if files else None,
                "heads": len(files),
                "tuning": tuning,
            }
        )
    return found


def replacements_of(run: Run) -> list[dict[str, Any]]:
    """What replacing heads costs, as 'headscript replace' wrote it; without the heads one by one.

    `texts` is the name of the texts as their files have it, `test` for the run's own.
    """
    found = []
    for file in sorted((run.directory / "replacement").glob("*/*.json")):
        path = file.relative_to(run.directory).as_posix()
        curve = run.read_json(path)
        if not isinstance(curve, dict) or "curve" not in curve:
            raise HeadscriptError(damaged(file))
        heads = len(curve.pop("by_head", []))
        curve.pop("source", None)  # which may be a path
        found.append(curve | {"texts": file.stem, "num_texts": curve.get("texts"), "heads": heads})
    return found


def answers_of(run: Run) -> list[dict[str, Any]]:
    """Questions answered with heads replaced, by version and order, and their means over tasks.

    A row a task and number of heads: that of the most questions, and of several the newest.
    """
    found = []
    for version in run.versions():
        for of_order in by_order(Kept(run, version)):
            rows = _asked_most(of_order)
            found.append(
                {
                    "version": version,
                    "order": rows[0].order,
                    "answers": [row.model_dump(exclude={"right", "key"}) for row in rows],
                    "mean": [mean.model_dump() for mean in _means(rows)],
                }
            )
    return found


def _asked_most(rows: Sequence[Answers]) -> list[Answers]:
    most: dict[str, int] = {}
    for row in rows:
        most[row.task] = max(row.questions, most.get(row.task, 0))
    kept = {(row.task, row.heads): row for row in rows if row.questions == most[row.task]}
    return sorted(kept.values(), key=lambda row: (row.task, row.heads))


def _means(rows: Sequence[Answers]) -> list[Mean]:
    """At each fraction that all tasks were asked at."""
    tasks = {row.task for row in rows}
    of_fraction: dict[float, list[Answers]] = {}
    for row in rows:
        of_fraction.setdefault(row.fraction, []).append(row)
    whole = [own for own in of_fraction.values() if {row.task for row in own} == tasks]
    untouched = [row for own in whole for row in own if row.heads == 0]
    return [
        mean_over_tasks(own[0].fraction, list(dict.fromkeys([*own, *untouched])))
        for own in sorted(whole, key=lambda own: own[0].fraction)
    ]


def _files(run: Run, version: str) -> list[Path]:
    files = (run.program_file(head, version) for head in run.model.heads)
    return [file for file in files if file.is_file()]


def _number_of_terms(file: Path) -> int:
    """The constants of a program file, which need not be checked for that."""
    source = read_source(file)
    if is_free_form(source):
        return FreeForm.of(source, file.stem, str(file)).terms
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0  # it is not shown; where it is, the gate says what is wrong
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    return len(functions[0].args.defaults) if functions else 0

"""Reads the questions of a task from a local file, for the task files beside it."""

from __future__ import annotations

from pathlib import Path

import datasets

# Whoever names one of the task files by its path to `lm_eval` has the model type registered.
import headscript.evaluation.harness  # noqa: F401
from headscript.errors import HeadscriptError
from headscript.evaluation.tasks import FIELDS, PREFIX
from headscript.models.weights import first_line
from headscript.texts.readers import no_field, rows_of_file


def questions(name: str, data: str | None = None, **others: object) -> dict[str, datasets.Dataset]:
    """The rows of DATA/NAME.jsonl, as the harness wants them; `others` are of no concern.

    Raises HeadscriptError where there is no such folder or file, or a row lacks a field.
    """
    if data is None:
        raise HeadscriptError(
            f"The task {PREFIX}{name} reads {name}.jsonl, and nobody said from which folder; name "
            "it (--data DIR, or data=DIR in --model_args)."
        )
    file = data_folder(data) / f"{name}.jsonl"
    if not file.is_file():
        there = sorted(other.name for other in file.parent.glob("*.jsonl"))
        raise HeadscriptError(
            f"The folder {data} has no {file.name}; its .jsonl files are "
            f"{', '.join(there) or 'none'}."
        )
    rows = []
    for where, row in rows_of_file(file, FIELDS[name][0]):
        for field in FIELDS[name]:
            if field not in row:
                raise HeadscriptError(no_field(where, field, row))
        rows.append({field: row[field] for field in FIELDS[name]})
    try:
        return {"questions": datasets.Dataset.from_list(rows)}
    except (ValueError, TypeError) as error:  # what Arrow raises for fields of several types
        raise HeadscriptError(
            f"The rows of {file} are not alike ({first_line(error)}); give each field one type."
        ) from error


def data_folder(data: str | Path) -> Path:
    """The folder of local questions; raises HeadscriptError where there is none."""
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise HeadscriptError(f"There is no folder {data}; name one with files such as piqa.jsonl.")
    return folder

"""Loading the tasks of lm-evaluation-harness by their names."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headscript.errors import HeadscriptError
from headscript.evaluation.tasks import FIELDS, FOLDER, PREFIX
from headscript.events import Event, Listener, ignore
from headscript.models.weights import first_line

TASKS = ("hellaswag", "piqa", "sciq", "arc_easy", "social_iqa", "copa")
"""The six question sets on which the paper reports."""

_FEWSHOT_SEED = 1234  # the harness's own


def require_harness() -> None:
    """Raise HeadscriptError where lm-evaluation-harness is not installed."""
    if find_spec("lm_eval") is None:
        raise HeadscriptError(
            "Questions are asked through lm-evaluation-harness, which takes the extra 'eval': "
            "pip install 'headscript[eval]'."
        )


def load_tasks(
    names: Sequence[str],
    *,
    data: str | Path | None = None,
    tasks_folder: str | Path | None = None,
    on_event: Listener = ignore,
) -> dict[str, Any]:
    """The harness's tasks by their names; a group of tasks gives each of its own.

    Raises HeadscriptError for a task that is not there, or whose questions cannot be had.
    """
    from lm_eval.tasks import TaskManager

    from headscript.evaluation.tasks.local import data_folder

    folders = [FOLDER]
    if tasks_folder is not None:
        folders.append(Path(tasks_folder).expanduser())
        if not folders[-1].is_dir():
            raise HeadscriptError(
                f"There is no folder {tasks_folder}; name one with task files (.yaml)."
            )
    if data is not None:
        data = data_folder(data)
    metadata = {} if data is None else {"data": str(data)}
    wanted = {
        name: PREFIX + name if data is not None and name in FIELDS else name for name in names
    }
    with quiet_harness():
        manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
        if not set(wanted.values()) <= set(manager.all_tasks):
            # The harness has thousands of task files, which takes seconds to read.
            on_event(Event("loading", 0, 0, "looking through the tasks of the harness"))
            manager = TaskManager(include_path=folders, metadata=metadata)
    known = set(manager.all_tasks)
    for name in names:
        if wanted[name] not in known:
            near = [
                other
                for candidates in (TASKS, sorted(known))
                for other in difflib.get_close_matches(name, candidates, n=1)
            ]
            raise HeadscriptError(
                f"There is no task {name!r}; "
                + (f"did you mean {near[0]}?" if near else f"some are {', '.join(TASKS)}.")
            )
    loaded: dict[str, Any] = {}
    for name in names:
        on_event(Event("loading", 0, 0, f"loading the questions of {name}"))
        try:
            with quiet_harness():
                found = manager.load([wanted[name]])["tasks"]
        except HeadscriptError:
            raise
        except Exception as error:  # a task file may raise what it likes
            raise HeadscriptError(_cannot_load(name, error, data)) from error
        for task_name, task in found.items():
            task.set_fewshot_seed(_FEWSHOT_SEED)
            loaded[task_name.removeprefix(PREFIX)] = task
    return loaded


def _cannot_load(name: str, error: Exception, data: str | Path | None) -> str:
    if isinstance(error, ConnectionError):
        advice = (
            "; name a folder with the questions (--data DIR)"
            if data is None and name in FIELDS
            else ""
        )
        return (
            f"The questions of {name} come from the hub, which cannot be reached "
            f"({first_line(error)}){advice}."
        )
    return f"The task {name} cannot be loaded: {first_line(error)}."


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Keep the harness from drawing bars and from logging what is no news to a user of ours."""
    import lm_eval.api.task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bar = lm_eval.api.task.tqdm
    lm_eval.api.task.tqdm = lambda items, **_: items
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

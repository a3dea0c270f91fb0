"""How many questions a run's model answers when its heads are replaced.

The questions are tasks of lm-evaluation-harness, asked by the harness itself; the answers come from
its model type "headscript". What is found is kept in the run, and not computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from headscript.assignment import default_order, head_count
from headscript.errors import HeadscriptError
from headscript.evaluation.accuracy import (
    Answers,
    Evaluation,
    Kept,
    mean_over_tasks,
    share_right,
)
from headscript.evaluation.answers import BATCH_SIZE
from headscript.evaluation.tasks.loading import TASKS, load_tasks, quiet_harness, require_harness
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.models.weights import first_line
from headscript.programs import Program
from headscript.runs import Run

if TYPE_CHECKING:
    from headscript.evaluation.harness import HeadscriptLM

LIMIT = 200
"""Questions of a task, as in the paper."""

FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.25, 0.4, 0.5, 0.75, 1.0)

_METRICS = ("acc", "exact_match")  # shares of right answers, the first that a task has


def evaluate_run(
    folder: str | Path,
    tasks: Sequence[str] = TASKS,
    fractions: Sequence[float] = FRACTIONS,
    *,
    limit: int | None = LIMIT,
    programs: str | None = None,
    order: str | None = None,
    model: str | Path | None = None,
    data: str | Path | None = None,
    tasks_folder: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
    on_event: Listener = ignore,
) -> Evaluation:
    """Ask a run's model the first `limit` questions of each task, with fractions of heads replaced.

    `data` is a folder of local files, and then the names of TASKS mean these; otherwise they mean
    the harness's own tasks, which fetch their questions from the hub. `tasks_folder` holds further
    task files of the harness. `programs`, `order` and `model` are as in `assignment.assign` and
    `score_run`. Answers that the run has are not computed again; new ones are written task by task.

    Raises HeadscriptError where the extra is missing, for tasks, folders, fractions, versions and
    orders that are not there, a limit or batch size below 1, an encoder, and another model.
    """
    names = list(dict.fromkeys(name.strip() for name in tasks if name.strip()))
    _refuse_senseless(names, fractions, limit, batch_size)
    with Run.open_for_writing(folder) as run:
        from headscript.evaluation.harness import assignments, refuse_encoder

        refuse_encoder(run)
        run.require_model()
        version = run.versions()[-1] if programs is None else programs
        order = default_order(run, version) if order is None else order
        assigned = assignments(run, fractions, version, order)
        kept = Kept(run, version)
        sets = load_tasks(names, data=data, tasks_folder=tasks_folder, on_event=on_event)
        asked = {name: _questions(name, task, limit) for name, task in sets.items()}
        respondent = _Respondent(run, version, model, batch_size, on_event)
        rows: list[Answers] = []
        for name, task in sets.items():
            keys = {f: _key(run, asked[name], heads) for f, heads in assigned.items()}
            # Several fractions replace the same heads, in a run that covers few.
            missing = {key: f for f, key in keys.items() if kept.find(key, order) is None}
            wanted = {fraction: assigned[fraction] for fraction in missing.values()}
            for key, fraction in missing.items():
                found = respondent.answers(name, task, limit, wanted, fraction)
                kept.add(Answers(key=key, order=order, **found))
            kept.write()
            rows += [
                row.model_copy(update={"fraction": fraction, "limit": limit})
                for fraction, key in keys.items()
                if (row := kept.find(key, order)) is not None
            ]
        return Evaluation(
            programs=version,
            order=order,
            tasks=list(sets),
            fractions=list(assigned),
            answers=rows,
            mean=[mean_over_tasks(fraction, rows) for fraction in assigned],
        )


def _refuse_senseless(
    names: Sequence[str], fractions: Sequence[float], limit: int | None, batch_size: int
) -> None:
    """Say what is wrong before anything is loaded."""
    if limit is not None and limit < 1:
        raise HeadscriptError(f"The limit is a number of questions from 1 up, and {limit} is none.")
    if batch_size < 1:
        raise HeadscriptError(f"A batch holds at least 1 answer, and {batch_size} is none.")
    if not names or not fractions:
        raise HeadscriptError("Name at least one task and one fraction.")
    for fraction in fractions:
        head_count(fraction, 1)
    require_harness()


def _questions(name: str, task: Any, limit: int | None) -> list[Any]:
    """What is asked: of each question its prompts and answers, and which of these is right.

    Raises HeadscriptError where a question has no right answer among those to choose from.
    """
    with quiet_harness():
        try:
            task.build_all_requests(limit=limit, rank=0, world_size=1)
            asked: dict[int, list[Any]] = {}
            for instance in task.instances:
                question = asked.setdefault(instance.doc_id, [task.doc_to_target(instance.doc)])
                question.append(instance.args)
        except Exception as error:  # a task file may raise what it likes
            raise HeadscriptError(
                f"The questions of {name} cannot be asked: {first_line(error)}."
            ) from error
    if task.OUTPUT_TYPE == "multiple_choice":
        for number, (right, *choices) in enumerate(asked.values(), start=1):
            if isinstance(right, int) and not 0 <= right < len(choices):
                raise HeadscriptError(
                    f"Question {number} of {name} has {len(choices)} answers, and answer {right}, "
                    "counted from 0, is said to be right."
                )
    return list(asked.values())


def _key(run: Run, questions: Sequence[Any], heads: Mapping[Head, Program]) -> str:
    """Hash of what is asked, and of the model with what its replaced heads' programs compute."""
    content = [
        run.model.weights_hash,
        questions,
        sorted((str(head), program.key) for head, program in heads.items()),
    ]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


class _Respondent:
    """The run's model, loaded when the first question is asked of it."""

    def __init__(
        self,
        run: Run,
        version: str,
        model: str | Path | None,
        batch_size: int,
        on_event: Listener,
    ) -> None:
        self._run, self._version, self._model = run, version, model
        self._batch_size, self._on_event = batch_size, on_event
        self._lm: HeadscriptLM | None = None
        self._task = ""

    def answers(
        self,
        name: str,
        task: Any,
        limit: int | None,
        assigned: Mapping[float, Mapping[Head, Program]],
        fraction: float,
    ) -> dict[str, Any]:
        """A row of answers without its key; what is found out for all of `assigned` is kept.

        Raises HeadscriptError where the task counts no right answers.
        """
        from lm_eval.evaluator import evaluate

        lm = self._answering_as(assigned)
        if self._task != name:
            lm.forget()
        self._task, lm.fraction, lm.num_cut = name, fraction, 0
        lm.on_done = lambda done, total: self._on_event(Event(name, done, total))
        task_dict = {"tasks": {name: task}, "groups": {}, "group_map": {}}
        with quiet_harness():
            samples = evaluate(lm, task_dict, limit, bootstrap_iters=0)["samples"][name]
        samples = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        metric = next((metric for metric in _METRICS if metric in samples[0]), None)
        if metric is None:
            raise HeadscriptError(
                f"The task {name} counts no right answers; it measures "
                f"{', '.join(samples[0]['metrics'])}."
            )
        accuracy, stderr = share_right([float(sample[metric]) for sample in samples])
        norm, norm_stderr = None, None
        if "acc_norm" in samples[0]:
            norm, norm_stderr = share_right([float(sample["acc_norm"]) for sample in samples])
        chosen = task.OUTPUT_TYPE == "multiple_choice"
        return {
            "task": name,
            "fraction": fraction,
            "heads": len(assigned[fraction]),
            "limit": limit,
            "questions": len(samples),
            "metric": metric,
            "accuracy": accuracy,
            "stderr": stderr,
            "acc_norm": norm,
            "acc_norm_stderr": norm_stderr,
            "guess": fmean(1 / len(one["arguments"]) for one in samples) if chosen else None,
            "right": "".join("1" if sample[metric] else "0" for sample in samples),
            "cut": lm.num_cut,
        }

    def _answering_as(self, assigned: Mapping[float, Mapping[Head, Program]]) -> HeadscriptLM:
        """The model with these programs ready; the network is loaded once."""
        from headscript.evaluation.harness import HeadscriptLM

        if self._lm is None:
            asked = self._model or self._run.model_name
            self._on_event(Event("loading", 0, 0, f"loading {asked}"))
        elif self._lm.assignments == assigned:
            return self._lm
        self._lm = HeadscriptLM(
            self._run,
            assigned,
            programs=self._version,
            model=self._model if self._lm is None else self._lm.source,
            batch_size=self._batch_size,
        )
        return self._lm

"""The whole of a study, from its file to its report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headscript.engines import LOCAL, EngineSettings
from headscript.errors import HeadscriptError
from headscript.evaluation.tasks.loading import require_harness
from headscript.events import Event, Listener, ignore
from headscript.report.atlas import require_report
from headscript.report.figures import require_matplotlib
from headscript.study.doing import Doer
from headscript.study.folder import StudyFolder
from headscript.study.planning import Speed, plan, seconds_of
from headscript.study.report import write_report
from headscript.study.spec import Study, open_study
from headscript.study.steps import Step, steps_of


@dataclass(frozen=True)
class Studied:
    """What has been done of a study."""

    directory: Path
    done: list[str]
    """Names of steps."""
    open: list[str]
    """Those that the budget did not reach."""
    left_out: dict[str, str]
    """What this machine has not, and why it is left out."""
    report: Path
    """The report in Markdown; the page lies beside it."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.directory),
            "done": self.done,
            "open": self.open,
            "left_out": self.left_out,
            "report": str(self.report),
        }


def study(
    name_or_file: str | Path,
    out: str | Path,
    *,
    models: Sequence[str] | None = None,
    data: str | Path | None = None,
    quick: bool = False,
    budget_hours: float | None = None,
    engine: EngineSettings = LOCAL,
    on_event: Listener = ignore,
) -> Studied:
    """Do a study in the folder `out`, and write its report; goes on with one begun there.

    `models`, `data` and `quick` are as in `open_study`. No step is begun that would end after
    `budget_hours` by the plan; the report tells what is missing, and the same call goes on.

    Raises HeadscriptError as `open_study` and the single commands do, where an extra is missing,
    and where `out` holds another study.
    """
    opened = open_study(name_or_file, models=models, data=data, quick=quick)
    engine.checked()
    check_extras(opened.study)
    begin = time.monotonic()
    with StudyFolder.create_or_resume(out, opened) as folder:
        steps = steps_of(folder.study)
        missing = [step for step in steps if not folder.has_step(step.name)]
        doer = Doer(folder, engine, on_event)
        done = len(steps) - len(missing)
        speed = Speed.here(engine.workers)
        if not folder.has_plan:
            folder.keep_plan(plan(folder.study, steps, speed).as_json())
        waiting: list[Step] = []
        for step in missing:
            if waiting and _needs(step, waiting):
                waiting.append(step)
                continue
            if budget_hours is not None:
                left = budget_hours * 3600 - (time.monotonic() - begin)
                if seconds_of(step, folder.study, speed) > left:
                    waiting.append(step)
                    continue
            on_event(Event("study", 0, 0, f"{done + 1} of {len(steps)}: {step}"))
            began = time.monotonic()
            found = doer.do(step)
            folder.keep_step(step.name, time.monotonic() - began, found)
            done += 1
        on_event(Event("study", 0, 0, "writing the report"))
        report = write_report(folder, on_event=on_event)
    names = [step.name for step in waiting]
    return Studied(
        folder.directory,
        [step.name for step in steps if step.name not in names],
        names,
        opened.left_out,
        report,
    )


def check_extras(study: Study) -> None:
    """Raise HeadscriptError where something is missing that the study will need in the end."""
    require_matplotlib()
    require_report()
    if study.ask.texts:
        require_harness()
    if "llm" in study.explain.proposers and study.explain.explainer is None:
        raise HeadscriptError(
            "The study has the proposer llm and names no explainer; set it in [explain]."
        )


def _needs(step: Step, waiting: Sequence[Step]) -> bool:
    """Whether a step builds on one that was put off."""
    for earlier in waiting:
        runs = {(step.model, step.texts)}
        if step.kind == "domains":
            runs.add((step.model, step.source))
        if step.kind == "transfer":
            runs.add((step.source, step.texts))
        if earlier.kind == "explain" and (earlier.model, earlier.texts) in runs:
            return True
        same = (earlier.model, earlier.texts) == (step.model, step.texts)
        if same and earlier.kind == "tune" and step.version:
            return True
        # Questions, figures and atlases show the newest programs, and what replacing them costs.
        if (
            same
            and earlier.kind in ("tune", "replace", "ask")
            and step.kind in ("figures", "atlas")
        ):
            return True
    return False

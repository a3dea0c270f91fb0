"""What a study has found so far, read from its folder: steps, runs, and what steps left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from headscript.costs import measured_file
from headscript.errors import HeadscriptError
from headscript.evaluation.replacing import ReplacementCurve
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.records import damaged
from headscript.report.atlas.evidence import answers_of
from headscript.report.replacement import OWN_TEXTS
from headscript.results import HeadResult, Results
from headscript.runs import FOUND, Run
from headscript.study.folder import StudyFolder
from headscript.study.report.looking import Looked, look_at
from headscript.study.report.published import Published, published_of
from headscript.study.spec import Study
from headscript.study.steps import TUNED, Step, steps_of


@dataclass(frozen=True)
class Done:
    """A step and what it took."""

    step: Step
    seconds: float | None
    """None where it is not done."""
    planned: float | None
    """None where the folder has no plan."""

    @property
    def done(self) -> bool:
        """Whether it is."""
        return self.seconds is not None


@dataclass(frozen=True)
class RunFound:
    """A finished run of the study."""

    model: str
    """As the study calls it."""
    texts: str
    run: Run
    results: Results
    published: Published | None
    """The paper's figures of this model."""
    curves: Mapping[str, ReplacementCurve]
    """What replacing heads costs on the run's test texts, by version of the programs."""
    costs: Mapping[str, Mapping[str, float]]
    """By version and head, what replacing it alone costs in nats a token."""
    cost_tokens: Mapping[str, int]
    """By version, tokens of select texts that the costs were measured on."""
    tuned: Mapping[str, Mapping[str, Any]]
    """By tuned version what 'headscript tune' wrote down: "before" and "after", on select texts."""
    answers: list[dict[str, Any]]
    """Questions answered with heads replaced, as the atlas shows them."""
    looked: Looked

    @property
    def name(self) -> str:
        """Words that tell it from the other runs."""
        return f"{self.model} on {self.texts}"

    @property
    def heads(self) -> dict[str, HeadResult]:
        """The results by name of the head."""
        return {str(Head(row.layer, row.head)): row for row in self.results.heads}


@dataclass(frozen=True)
class Gathered:
    """All that there is of a study."""

    folder: StudyFolder
    steps: list[Done]
    runs: dict[tuple[str, str], RunFound]
    """By model and texts."""
    protocol: dict[tuple[str, str], Any]
    """By model and texts, what the paper's protocol gives."""
    domains: dict[tuple[str, str, str], Any]
    """By model, texts, and the texts whose programs were tried."""
    transfer: dict[tuple[str, str, str], Any]
    """By model, texts, and the model whose programs were tried."""

    @property
    def study(self) -> Study:
        """What is asked for."""
        return self.folder.study

    def waiting(self, *kinds: str) -> list[Step]:
        """Steps of these kinds that are not done."""
        return [row.step for row in self.steps if row.step.kind in kinds and not row.done]

    def asked(self, *kinds: str) -> bool:
        """Whether the study asks for steps of these kinds."""
        return any(row.step.kind in kinds for row in self.steps)


def gather(folder: StudyFolder, on_event: Listener = ignore) -> Gathered:
    """Read what is there; steps that are not done are left out of everything but `steps`.

    Raises HeadscriptError where a file of the study or of one of its runs is damaged.
    """
    planned = _planned(folder)
    steps = [_done(folder, step, planned) for step in steps_of(folder.study)]
    done = [row.step for row in steps if row.done]
    models = [model.name for model in folder.study.models]
    by_model = sorted(done, key=lambda step: models.index(step.model))  # else as they are done
    runs = {
        (step.model, step.texts): _run(folder, step, done, on_event)
        for step in by_model
        if step.kind == "explain"
    }
    left = {
        kind: {
            (step.model, step.texts, step.source): folder.step(step.name)
            for step in (done if kind == "transfer" else by_model)
            if step.kind == kind
        }
        for kind in ("protocol", "domains", "transfer")
    }
    protocol = {(model, texts): found for (model, texts, _), found in left["protocol"].items()}
    return Gathered(folder, steps, runs, protocol, left["domains"], left["transfer"])


def _done(folder: StudyFolder, step: Step, planned: Mapping[str, float]) -> Done:
    seconds = folder.seconds(step.name) if folder.has_step(step.name) else None
    return Done(step, seconds, planned.get(step.name))


def _planned(folder: StudyFolder) -> dict[str, float]:
    """Seconds by name of the step; nothing where no plan was kept."""
    try:
        return {step["name"]: float(step["seconds"]) for step in folder.plan().get("steps", ())}
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise HeadscriptError(
            f"The plan in {folder.directory} is damaged; delete it and start the study again."
        ) from error


def _run(folder: StudyFolder, step: Step, done: list[Step], on_event: Listener) -> RunFound:
    run = Run.open(folder.run_folder(step.model, step.texts))
    asked = folder.study.model(step.model)
    own = [each for each in done if (each.model, each.texts) == (step.model, step.texts)]
    kinds = {each.kind for each in own}
    replaced = {each.version for each in own if each.kind == "replace"}
    curves, costs, tokens = {}, {}, {}
    for version in (FOUND, TUNED):
        if version in replaced:
            curves[version] = _curve(run, version)
            costs[version] = {row.head: row.cost for row in curves[version].by_head}
            tokens[version] = _cost_tokens(run, version)
    tuned = {TUNED: run.read_json(f"versions/{TUNED}/version.json")} if "tune" in kinds else {}
    return RunFound(
        model=step.model,
        texts=step.texts,
        run=run,
        results=run.results(),
        published=published_of(asked.source, len(run.model.heads)),
        curves=curves,
        costs=costs,
        cost_tokens={version: number for version, number in tokens.items() if number},
        tuned=tuned,
        answers=answers_of(run) if "ask" in kinds else [],
        looked=look_at(folder, run, f"{step.model}/{step.texts}", on_event),
    )


def _curve(run: Run, version: str) -> ReplacementCurve:
    path = f"replacement/{version}/{OWN_TEXTS}.json"
    try:
        return ReplacementCurve.model_validate(run.read_json(path))
    except ValidationError as error:
        raise HeadscriptError(damaged(run.directory / path)) from error


def _cost_tokens(run: Run, version: str) -> int:
    """Tokens that a version's costs were measured on; 0 where the run does not tell."""
    file = measured_file(version)
    return int(run.read_json(file).get("tokens", 0)) if run.has(file) else 0

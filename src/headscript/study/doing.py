"""Doing the steps of a study: each is what a single command does, on the study's runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headscript.engines import EngineSettings
from headscript.evaluation.questions import evaluate_run
from headscript.evaluation.replacing import replacement_curve
from headscript.events import Listener
from headscript.explainers.settings import ExplainerSettings
from headscript.explaining import explain
from headscript.models import Model, load_model
from headscript.report.atlas import write_atlas
from headscript.report.replacement import write_replacement
from headscript.runs import Run
from headscript.study.crossing import carried
from headscript.study.folder import StudyFolder
from headscript.study.protocol import papers_protocol
from headscript.study.steps import TUNED, Step
from headscript.tuning.tune import tune
from headscript.tuning.versions import TuneSettings


class Doer:
    """Does steps; a model stays loaded until a step needs another."""

    def __init__(self, folder: StudyFolder, engine: EngineSettings, on_event: Listener) -> None:
        self._folder = folder
        self._study = folder.study
        self._engine = engine
        self._on_event = on_event
        self._loaded: tuple[str, Model] | None = None
        self._jobs: dict[str, Callable[[Step], Any]] = {
            "explain": self._explain,
            "protocol": self._protocol,
            "domains": self._domains,
            "transfer": self._transfer,
            "replace": self._replace,
            "tune": self._tune,
            "ask": self._ask,
            "figures": self._figures,
            "atlas": self._atlas,
        }

    def do(self, step: Step) -> Any:
        """Do a step; gives what it found that no run of the study keeps, as plain data.

        Raises HeadscriptError as the single command does.
        """
        return self._jobs[step.kind](step)

    # Private -------------------------------------------------------------------------------------

    def _place(self, step: Step) -> Path:
        return self._folder.run_folder(step.model, step.texts)

    def _model(self, name: str) -> Model:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # so that two never lie in memory together
            source = self._study.model(name).source
            self._loaded = (name, load_model(source, on_event=self._on_event))
        return self._loaded[1]

    def _explain(self, step: Step) -> None:
        self._loaded = None  # which leaves the memory to the workers
        study = self._study
        model, texts, asked = study.model(step.model), study.domain(step.texts), study.explain
        explainer = None
        if asked.explainer is not None:
            explainer = ExplainerSettings(explainer=asked.explainer, budget=asked.budget)
        explain(
            model.source,
            texts.source,
            self._place(step),
            max_texts=texts.max_texts,
            max_tokens=texts.max_tokens,
            field=texts.field,
            heads=model.heads,
            max_terms=asked.max_terms,
            term_price=asked.term_price,
            fit_cells=asked.fit_cells,
            seed=study.seed,
            proposers=",".join(asked.proposers),
            explainer=explainer,
            candidates=asked.candidates,
            rounds=asked.rounds,
            library=asked.library,
            workers=self._engine.workers,
            engine=self._engine.name,
            address=self._engine.address,
            on_event=self._on_event,
        )

    def _protocol(self, step: Step) -> Any:
        model = self._model(step.model)
        run = Run.open(self._place(step))
        return papers_protocol(run, model, self._study.sentences, on_event=self._on_event)

    def _domains(self, step: Step) -> Any:
        source = self._folder.run_folder(step.model, step.source)
        return carried(Run.open(source), Run.open(self._place(step)), on_event=self._on_event)

    def _transfer(self, step: Step) -> Any:
        source = self._folder.run_folder(step.source, step.texts)
        return carried(Run.open(source), Run.open(self._place(step)), on_event=self._on_event)

    def _replace(self, step: Step) -> None:
        model, asked = self._model(step.model), self._study.replace
        with Run.open_for_writing(self._place(step)) as run:
            curve = replacement_curve(
                run,
                fractions=asked.fractions,
                orders=asked.orders,
                baseline_fractions=asked.baseline_fractions,
                version=step.version,
                model=model,
                cost_tokens=asked.cost_tokens,
                engine=self._engine,
                on_event=self._on_event,
            )
            write_replacement(run, curve)

    def _tune(self, step: Step) -> None:
        model, asked = self._model(step.model), self._study.tune
        settings = TuneSettings(
            steps=asked.steps,
            step_tokens=asked.step_tokens,
            stages=asked.stages,
            keep=asked.keep,
            seed=self._study.seed,
        )
        tune(self._place(step), TUNED, settings=settings, model=model, on_event=self._on_event)

    def _ask(self, step: Step) -> None:
        self._loaded = None
        asked = self._study.ask
        evaluate_run(
            self._place(step),
            asked.tasks,
            asked.fractions,
            limit=asked.limit,
            model=self._study.model(step.model).source,
            data=asked.data,
            on_event=self._on_event,
        )

    def _figures(self, step: Step) -> None:
        from headscript.report.figures.drawing import draw_figures  # needs an extra

        folder = self._folder.directory / "figures" / f"{step.model}-{step.texts}"
        draw_figures(Run.open(self._place(step)), folder, on_event=self._on_event)

    def _atlas(self, step: Step) -> None:
        file = self._folder.directory / "atlases" / f"{step.model}-{step.texts}.html"
        write_atlas(self._place(step), file, on_event=self._on_event)

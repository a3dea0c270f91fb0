"""The single commands that give the numbers of a study again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from headscript.runs import FOUND
from headscript.study.spec import Study, StudyModel, StudyTexts
from headscript.study.steps import TUNED
from headscript.wording import short_name


def run_place(model: str, texts: str) -> str:
    """Where a run lies in the study's folder."""
    return f"runs/{model}/{texts}"


def explain(study: Study, model: StudyModel, texts: StudyTexts, out: str) -> str:
    """Makes a run anew, in another folder."""
    asked = study.explain
    words: list[object] = ["explain", short_name(model.source)]
    words += ["--texts", short_name(texts.source), "--out", out]
    words += ["--max-texts", texts.max_texts, "--max-tokens", texts.max_tokens]
    if texts.field != "text":
        words += ["--field", texts.field]
    if model.heads != "all":
        words += ["--heads", model.heads]
    words += ["--max-terms", asked.max_terms, "--term-price", asked.term_price]
    words += ["--fit-cells", asked.fit_cells, "--seed", study.seed]
    if asked.proposers != ("search",):
        words += ["--proposer", ",".join(asked.proposers)]
    if asked.explainer is not None:
        words += ["--explainer", asked.explainer]
        words += ["--candidates", asked.candidates, "--rounds", asked.rounds]
        words += [] if asked.budget is None else ["--budget", asked.budget]
    if asked.library is not None:
        words += ["--library", short_name(asked.library)]
    return _command(words)


def show(run: str) -> str:
    """Prints the results of a run."""
    return _command(["show", run])


def replace(study: Study, run: str, version: str) -> str:
    """Measures perplexity with heads replaced."""
    asked = study.replace
    return _command(
        [
            *("replace", run, "--programs", version),
            *("--fractions", _joined(asked.fractions), "--orders", ",".join(asked.orders)),
            *("--baseline-fractions", _joined(asked.baseline_fractions)),
            *("--cost-tokens", asked.cost_tokens),
        ]
    )


def tune(study: Study, run: str) -> str:
    """Fits the constants of a run's programs through the model."""
    asked = study.tune
    return _command(
        [
            *("tune", run, "--name", f"{TUNED}-again", "--steps", asked.steps),
            *("--step-tokens", asked.step_tokens, "--stages", _joined(asked.stages)),
            *("--keep", asked.keep, "--seed", study.seed),
        ]
    )


def evaluate(study: Study, run: str, version: str) -> str:
    """Asks questions with heads replaced."""
    asked = study.ask
    words: list[object] = ["evaluate", run, "--programs", version]
    words += ["--tasks", ",".join(asked.tasks)]
    words += ["--limit", asked.limit, "--fractions", _joined(asked.fractions)]
    if asked.data is not None:
        words += ["--data", short_name(asked.data)]
    return _command(words)


def atlas(run: str) -> str:
    """Writes the atlas of the programs that were found, with what is not explained."""
    return _command(["report", run, "--programs", FOUND])


def figures(run: str) -> str:
    """Draws a run."""
    return _command(["figures", run])


def _joined(numbers: Iterable[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _command(words: Iterable[object]) -> str:
    return shlex.join(["headscript", *map(str, words)])

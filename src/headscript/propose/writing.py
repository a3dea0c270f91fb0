"""From what the search found for a head to the program it is given."""

from __future__ import annotations

from collections.abc import Iterable

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.programs.emit import emit
from headscript.programs.program import Program
from headscript.propose.bench import search_file
from headscript.propose.frontier import Frontier
from headscript.propose.search import Step, choose_step
from headscript.records import damaged
from headscript.runs import Run


def read_frontiers(run: Run, layers: Iterable[int]) -> dict[Head, Frontier]:
    """What a run's search found for the heads of some layers.

    Raises HeadscriptError where a layer's file is missing or damaged.
    """
    frontiers = [frontier for layer in layers for frontier in _of_layer(run, search_file(layer))]
    return {frontier.head: frontier for frontier in frontiers}


def _of_layer(run: Run, path: str) -> list[Frontier]:
    try:
        found = run.read_json(path)
        if not found:
            raise ValueError("no heads")
        return [Frontier.from_json(each) for each in found]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise HeadscriptError(damaged(run.directory / path)) from error


def write_program(run: Run, frontier: Frontier) -> tuple[Program, Step]:
    """The program written for a head: its frontier cut where terms stop paying, and that step."""
    config = run.config
    best = choose_step(frontier.steps, frontier.held_out, config.term_price, config.max_terms)
    step = frontier.steps[best]
    program = emit(
        str(frontier.head),
        run.model.name,
        step.terms,
        step.weights,
        causal=run.model.causal,
        strengths=step.strengths,
    )
    return program, step

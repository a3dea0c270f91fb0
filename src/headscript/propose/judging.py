"""What becomes of proposed programs: each is run, fitted and scored on the fit texts.

A proposer leaves what it proposes for a layer in candidates/NAME/L05.proposed.json; here the
programs meet their heads, and candidates/NAME/L05.json holds each with its outcome.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError
from headscript.programs.emit import emit
from headscript.programs.program import Program
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.search import strengths
from headscript.records import damaged
from headscript.rows import Rows
from headscript.runs import Run
from headscript.tuning.fitting import FittedProgram, fit_program, summed, weighted_terms
from headscript.tuning.loglinear import fittable
from headscript.tuning.retelling import with_first_line

if TYPE_CHECKING:
    from headscript.propose.bench import Bench

FOLDER = "candidates"


def proposed_file(name: str, layer: int) -> str:
    """Where a run keeps what was proposed for a layer, before it was tried."""
    return f"{FOLDER}/{name}/L{layer:02d}.proposed.json"


def judged_file(name: str, layer: int) -> str:
    """Where it keeps what became of that."""
    return f"{FOLDER}/{name}/L{layer:02d}.json"


def write_proposed(run: Run, name: str, layer: int, candidates: Sequence[Candidate]) -> None:
    """Leave candidates for `judge_layer`; those that may run have the outcome OK."""
    run.write_json(proposed_file(name, layer), [each.as_json() for each in candidates])


def read_candidates(run: Run, path: str) -> list[Candidate]:
    """The candidates in a file of the run; raises HeadscriptError where it is damaged."""
    found = run.read_json(path)
    if not isinstance(found, list):
        raise HeadscriptError(damaged(run.directory / path))
    return [Candidate.from_json(each) for each in found]


def judge_layer(bench: Bench, name: str, layer: int) -> None:
    """Try what was proposed under a name for a layer's heads, and write what became of it.

    A program that another candidate of the head equals is not tried again; those of earlier names
    of the same proposer, as in "llm-0" before "llm-1", count as well.
    """
    proposed = read_candidates(bench.run, proposed_file(name, layer))
    rows = bench.fit_rows
    actual = rows.gather(bench.fit.layer(layer))  # (cells, heads)
    heads = bench.fit.heads_of(layer)
    judge = Judge(rows, bench.run.model.name)
    known: dict[str, set[str]] = {}
    for earlier in _earlier(bench.run, name, layer):
        for candidate in read_candidates(bench.run, earlier):
            known.setdefault(str(candidate.head), set()).update(_keys(candidate))
    judged = []
    for candidate in proposed:
        seen = known.setdefault(str(candidate.head), set())
        column = actual[:, heads.index(candidate.head)].contiguous()
        judged.append(judge(candidate, column, seen))
        seen |= _keys(judged[-1])
    rows.release(())
    content = json.dumps([candidate.as_json() for candidate in judged], indent=1)
    write_atomically(bench.run.directory / judged_file(name, layer), content.encode())


def _earlier(run: Run, name: str, layer: int) -> list[str]:
    stem, _, number = name.rpartition("-")
    if not stem or not number.isdigit():
        return []
    return [judged_file(f"{stem}-{before}", layer) for before in range(int(number))]


def _keys(candidate: Candidate) -> set[str]:
    program = candidate.program()
    return set() if program is None else {program.key}


@dataclass(frozen=True)
class Judge:
    """Runs, fits and scores candidates on rows of the fit texts."""

    rows: Rows
    model_name: str

    def __call__(self, candidate: Candidate, actual: Tensor, known: set[str]) -> Candidate:
        """What becomes of a candidate beside its head, `actual` (cells,).

        `known` holds the keys of programs tried before; what was proposed is added to it.
        """
        if candidate.outcome is Outcome.FREE_FORM:
            from headscript.propose.free_forms import judge_free_form

            return judge_free_form(candidate, self.rows, actual)
        try:
            program = candidate.program()
            if program is None:
                return candidate
            if self.rows.causal and not program.prefix_consistent:
                ahead = ", ".join(sorted(_looking_ahead(program))) or "a part of it"
                return _ended(
                    candidate, Outcome.LOOKS_AHEAD, f"In a decoder it would look ahead: {ahead}."
                )
            if program.key in known:
                return _ended(candidate, Outcome.REPEATED, "The same program was tried before.")
            known.add(program.key)
            fitted = fit_program(program, self.rows, actual)
            retold = self._retold(program, fitted, candidate)
            if retold.key in known - {program.key}:
                return _ended(candidate, Outcome.REPEATED, "Fitted, it is one tried before.")
        except HeadscriptError as error:
            return _ended(candidate, Outcome.NO_PATTERN, str(error))
        except (RuntimeError, ArithmeticError, MemoryError) as error:  # too deep, too large
            return _ended(candidate, Outcome.NO_PATTERN, f"It cannot be computed ({error}).")
        finally:
            self.rows.release(())
        return replace(
            candidate, source=retold.source, proposed_iou=fitted.proposed_iou, fit_iou=fitted.iou
        )

    def _retold(self, before: Program, fitted: FittedProgram, candidate: Candidate) -> Program:
        """The fitted program under its head's name; its words, where they still hold.

        Where fitting turned a sign around, or there were no words, they are written anew from what
        each term does.
        """
        program = fitted.program
        terms = weighted_terms(program)
        said = f"proposed by {candidate.origin} and fitted"
        features = None
        if terms is not None and (not program.explanation or _turned(before, program)):
            features = self.rows.columns([term for term, _, _ in terms])
        if terms is not None and features is not None and bool(fittable(features).all()):
            weights = [sign * program.constants[name] for _, name, sign in terms]
            vector = torch.tensor(weights)
            shares = strengths(self.rows, features, vector, self.rows.softmax(features @ vector))
            program = emit(
                str(candidate.head),
                self.model_name,
                [term for term, _, _ in terms],
                weights,
                causal=self.rows.causal,
                strengths=shares,
            )
        first_line = f'"""Head {candidate.head} of {self.model_name}, {said}."""'
        return Program.parse(with_first_line(program.source, first_line), str(candidate.head))


def _looking_ahead(program: Program) -> list[str]:
    from headscript.language import VOCABULARY

    return [
        f"text.{name}" for name in program.entries if not VOCABULARY.require(name).prefix_consistent
    ]


def _turned(before: Program, after: Program) -> bool:
    """Whether fitting changed the sign of a constant."""
    if before.constants.keys() != after.constants.keys():
        before = summed(before)
    values = before.constants
    return any(values.get(name, 0.0) * value < 0 for name, value in after.constants.items())


def _ended(candidate: Candidate, outcome: Outcome, reason: str) -> Candidate:
    return replace(candidate, outcome=outcome, reason=reason)

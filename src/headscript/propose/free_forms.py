"""Candidates in the paper's form f(sentence, tokenizer): run in the sandbox, and scored."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.programs.freeform import FreeForm, shared_sandbox
from headscript.programs.program import ProgramError
from headscript.propose.candidates import Candidate, Outcome
from headscript.rows import Rows
from headscript.tuning.fitting import program_iou

_TESTED = 6  # texts on whose prefixes a program is run
_TOLERANCE = 1e-5


def judge_free_form(candidate: Candidate, rows: Rows, actual: Tensor) -> Candidate:
    """Run a free-form candidate on the rows' texts and score it beside its head, (cells,).

    Where it works, `fit_iou` is known and the source is a file that headscript reads; where there
    is no sandbox here, the candidate stays as it is, with the reason.
    """
    try:
        program = _found(candidate)
        iou = program_iou(program, rows, actual)
        if rows.causal:
            consistent = _is_consistent(program, rows.texts[:_TESTED])
            if not consistent:
                reason = "Its rows change when the text goes on."
                return replace(candidate, outcome=Outcome.LOOKS_AHEAD, reason=reason)
            program = _tested(program)
    except ProgramError as error:
        return replace(candidate, outcome=Outcome.NO_PATTERN, reason=str(error))
    except HeadscriptError as error:
        return replace(candidate, reason=str(error))
    return replace(candidate, source=program.source, proposed_iou=iou, fit_iou=iou)


def _found(candidate: Candidate) -> FreeForm:
    """The first program in a candidate's source; raises ProgramError where there is none."""
    for found in shared_sandbox().find(candidate.source):
        if found.error:
            raise ProgramError(f"{found.name}: {found.error}.")
        if found.findings:
            raise ProgramError(f"{found.name}: {found.findings[0]}.")
        return FreeForm(
            found.source,
            found.name,
            name=str(candidate.head),
            explanation=found.explanation,
            numbers=found.numbers,
            uses_spacy=found.uses_spacy,
            prefix_consistent=None,
        )
    raise ProgramError("There is no function f(sentence, tokenizer) at the top level.")


def _tested(program: FreeForm) -> FreeForm:
    return FreeForm(
        program.code,
        program.function,
        name=program.name,
        explanation=program.explanation,
        numbers=program.terms,
        uses_spacy=program.uses_spacy,
        prefix_consistent=True,
    )


def _is_consistent(program: FreeForm, texts: list[Text]) -> bool:
    """Whether the rows of prefixes of the texts are those of the whole."""
    for text in texts:
        whole = program(text)
        for length in sorted({len(text) // 3, 2 * len(text) // 3} - {0}):
            part = program(text.prefix(length))
            if not torch.allclose(part, whole[:length, :length], atol=_TOLERANCE):
                return False
        text.forget()
    return True

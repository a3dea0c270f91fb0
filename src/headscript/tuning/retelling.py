"""Programs with tuned constants, and explanations that say what these mean."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import torch

from headscript.language import Text
from headscript.lines import source_lines
from headscript.programs.emit import emit
from headscript.programs.freeform import FreeForm
from headscript.programs.program import Program
from headscript.programs.reading import read_terms
from headscript.propose.search import strengths
from headscript.rows import Rows, share_for
from headscript.tuning.loglinear import fittable

_CELLS = 20_000  # on which the share of each term is measured


class Reteller:
    """Writes programs anew around other constants, on texts that show what each term does."""

    def __init__(self, texts: Sequence[Text], model_name: str, how: str) -> None:
        draw = torch.Generator().manual_seed(0)
        self._rows = Rows(texts, share=share_for(texts, _CELLS), generator=draw)
        self._model_name, self._how = model_name, how

    def __call__(self, name: str, program: Program, constants: Mapping[str, float]) -> Program:
        """The program of the head `name` with these constants.

        A log-linear program is written without the terms that weigh nothing, and its explanation is
        made anew. Any other keeps the words of its writer, and a first line says that its constants
        were tuned since.
        """
        if isinstance(program, FreeForm):  # it has no constants, and its words are its writer's
            return program
        terms = read_terms(program)
        first_line = f'"""Head {name} of {self._model_name}; its constants were {self._how}."""'
        if terms is None:
            return Program.parse(
                with_first_line(program.with_constants(constants).source, first_line), name
            )
        weighing = [
            (term, sign * constants[constant])
            for term, constant, sign in terms
            if constants[constant]
        ]
        kept, weights = [term for term, _ in weighing], [weight for _, weight in weighing]
        features, vector = self._rows.columns(kept), torch.tensor(weights)
        shares = None
        if bool(fittable(features).all()):
            shares = strengths(self._rows, features, vector, self._rows.softmax(features @ vector))
        retold = emit(
            name,
            self._model_name,
            kept,
            weights,
            causal=self._rows.causal,
            strengths=shares,
        )
        return Program.parse(with_first_line(retold.source, first_line), name)

    def forget(self) -> None:
        """Drop the features kept, between programs that share few."""
        self._rows.release(())


def with_first_line(source: str, first_line: str) -> str:
    """A program file's source with another module docstring."""
    first = ast.parse(source).body[0]
    lines = source_lines(source)
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    rest = "\n".join(lines[first.end_lineno :]) if has_docstring else f"\n{source}"
    return f"{first_line}\n{rest}"

"""Fitting the constants of any program of the language to a head's pattern, on IoU.

Log-linear programs go by Gauss-Newton on their features (`loglinear`). For any other form the
gradient of the row loss flows through the program itself, and Adam takes bounded steps; what was
best is kept. Either way the constants are written back into the source, rounded as programs write
them, and what is reported is the IoU of the program as it then stands.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.language.gate import check_program
from headscript.packing import pack_rows
from headscript.programs.emit import emit
from headscript.programs.program import Program
from headscript.programs.reading import Inliner, addends, read_terms
from headscript.programs.terms import Term
from headscript.rows import Rows
from headscript.tuning.loglinear import fit_weights, fittable

_STEPS = 40  # of Gauss-Newton, from constants that nobody measured
_ADAM_STEPS = 60
_RATE = 0.15  # of the size of a constant, a step
_ADAM_CELLS = 30_000  # of whole texts, on which Adam walks
_LARGEST = 1e4  # a constant beyond it says no more than one at it


@dataclass(frozen=True)
class FittedProgram:
    """A program before and after its constants were fitted."""

    program: Program
    """With fitted constants, or as it was where fitting gained nothing."""
    proposed_iou: float
    """Mean IoU on the rows, with the constants it came with."""
    iou: float
    """The same with fitted ones."""


def fit_program(program: Program, rows: Rows, actual: Tensor) -> FittedProgram:
    """Fit a program's constants to a head's pattern on rows, `actual` (cells,).

    Raises ProgramError where what it computes on some text is no attention pattern.
    """
    program = summed(program)
    before = program_iou(program, rows, actual)
    if not program.constants:
        return FittedProgram(program, before, before)
    terms = weighted_terms(program)
    if terms is not None:
        fitted = _fit_terms(program, terms, rows, actual)
    else:
        fitted = _fit_by_gradient(program, rows, actual)
    try:
        after = program_iou(fitted, rows, actual)
    except HeadscriptError:  # constants at which it breaks down on some text
        after = -1.0
    return FittedProgram(fitted, before, after) if after > before else _kept(program, before)


def _kept(program: Program, iou: float) -> FittedProgram:
    return FittedProgram(program, iou, iou)


def program_iou(program: Program, rows: Rows, actual: Tensor) -> float:
    """Mean IoU of a program with a head on rows, `actual` (cells,).

    Raises ProgramError where it gives no pattern.
    """
    packed = []
    for text in rows.texts:
        packed.append(pack_rows(program(text).detach(), text.causal)[None])
        text.forget()
    return float(rows.iou(rows.gather(packed), actual[:, None]))


def weighted_terms(program: Program) -> list[tuple[Term, str, int]] | None:
    """The terms of a log-linear program, each with a constant of its own and its sign.

    None where the program has another form, or a constant that stands in two places.
    """
    if program.log_linear is None:
        return None
    try:
        terms = read_terms(program)
        for term, _, _ in terms or []:
            term.parts()
    except (HeadscriptError, RecursionError):  # a part that is no expression by itself, or too deep
        return None
    if terms is None or {name for _, name, _ in terms} != set(program.constants):
        return None
    return terms if len(terms) == len(program.constants) else None


def summed(program: Program) -> Program:
    """The same program with the names of sums written out, where that makes it log-linear.

    `near = a * text.within(3)` and `return softmax(near + b * text.first)` is one sum to a reader,
    but not to the fast paths, which look for one without sums inside. An addend without a constant
    is given one, 1.0.
    """
    if weighted_terms(program) is not None:
        return program
    checked = check_program(program.source, program.name)
    inliner = Inliner()
    kept = []
    try:
        for name, value in checked.assignments:
            written = inliner.visit(value)
            if any(
                isinstance(n, ast.Name) and n.id in checked.constants for n in ast.walk(written)
            ):
                inliner.values[name] = written
            else:
                kept.append(f"    {name} = {ast.unparse(written)}")
        result = inliner.visit(checked.result)
        if not _is_softmax(result):
            return program
        constants = dict(checked.constants)
        total = ""
        for number, (sign, addend) in enumerate(addends(result.args[0])):
            weight = ""
            if not any(isinstance(n, ast.Name) and n.id in constants for n in ast.walk(addend)):
                weight = f"weight_of_{number}"  # one without a constant is given one
                constants[weight] = 1.0
                weight += " * "
            total += f" {'-' if sign < 0 else '+'} {weight}({ast.unparse(addend)})"
        rest = "".join(f", {ast.unparse(argument)}" for argument in result.args[1:])
        parameters = ", ".join(
            ["text", *(f"{name}={value!r}" for name, value in constants.items())]
        )
        bare = "\n".join(
            [
                f"def attend({parameters}):",
                *kept,
                f"    return softmax({total.strip(' +')}{rest})",
                "",
            ]
        )
        found = Program.parse(bare, program.name)
        terms = weighted_terms(found)
        if terms is None:
            return program
        return emit(
            program.name,
            "",
            [term for term, _, _ in terms],
            [sign * found.constants[name] for _, name, sign in terms],
            causal=found.log_linear is not None and found.log_linear.causal,
            explanation=program.explanation,
        )
    except (HeadscriptError, RecursionError):
        return program


def _is_softmax(node: ast.expr) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "softmax"
    )


def _fit_terms(
    program: Program, terms: Sequence[tuple[Term, str, int]], rows: Rows, actual: Tensor
) -> Program:
    features = rows.columns([term for term, _, _ in terms])
    if not bool(fittable(features).all()):
        return _fit_by_gradient(program, rows, actual)
    signs = torch.tensor([float(sign) for _, _, sign in terms])
    start = signs * torch.tensor([program.constants[name] for _, name, _ in terms])
    starts = [start, 0.3 * start, torch.zeros_like(start)]
    fits = [fit_weights(rows, features, actual, each, steps=_STEPS) for each in starts]
    best = min(fits, key=lambda fitted: fitted.loss).weights.clamp(-_LARGEST, _LARGEST)
    values = (signs * best).tolist()
    return program.with_constants(
        {name: value for (_, name, _), value in zip(terms, values, strict=True)}
    )


def _fit_by_gradient(program: Program, rows: Rows, actual: Tensor) -> Program:
    """Adam on the mean row loss, on whole texts; constants that get no gradient stay."""
    chosen, wanted = _whole_texts(rows, actual)
    constants = {name: torch.tensor(value) for name, value in program.constants.items()}
    scales = {name: max(abs(value), 0.5) for name, value in program.constants.items()}
    moments = dict.fromkeys(constants, (0.0, 0.0))
    num_rows = sum(mask.sum() for _, mask in wanted)
    best, best_loss = dict(program.constants), float("inf")
    for step in range(1, _ADAM_STEPS + 1):
        leaves = {name: value.clone().requires_grad_() for name, value in constants.items()}
        try:
            loss = torch.zeros(())
            for text, (target, mask) in zip(chosen, wanted, strict=True):
                pattern = program(text, leaves)
                loss = loss + ((pattern - target).abs().sum(1) * mask).sum() / num_rows
            if not loss.requires_grad:
                break
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        except (HeadscriptError, RuntimeError):  # the last step led out of what can be computed
            break
        reached = float(loss.detach())
        if reached < best_loss:
            best_loss = reached
            best = {name: float(value) for name, value in constants.items()}
        rate = _RATE * (1 - step / (_ADAM_STEPS + 1))
        for (name, value), slope in zip(constants.items(), found, strict=True):
            if slope is None or not bool(slope.isfinite()):
                continue
            scaled = float(slope) * scales[name]
            first, second = moments[name]
            first, second = 0.9 * first + 0.1 * scaled, 0.98 * second + 0.02 * scaled**2
            moments[name] = (first, second)
            move = (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)) ** 0.5 + 1e-8)
            moved = float(value) - rate * scales[name] * max(-3.0, min(3.0, move))
            constants[name] = torch.tensor(max(-_LARGEST, min(_LARGEST, moved)))
    return program.with_constants(best)


def _whole_texts(rows: Rows, actual: Tensor) -> tuple[list[Text], list[tuple[Tensor, Tensor]]]:
    """Texts of about as many cells as Adam can take: each with its target (n, n), 0 in rows that
    were not sampled, and which rows these are (n,)."""
    texts: list[Text] = []
    wanted: list[tuple[Tensor, Tensor]] = []
    cells = 0
    text_of_cell = rows.row_text[rows.cell_row]
    for number, text in enumerate(rows.texts):
        n = len(text)
        if texts and cells + n * n > _ADAM_CELLS:
            break
        cells += n * n
        mine = (text_of_cell == number) & rows.valid
        target = torch.zeros(n, n)
        target[rows.row_query[rows.cell_row[mine]], rows.cell_key[mine]] = actual[mine]
        mask = torch.zeros(n)
        mask[rows.row_query[rows.row_text == number]] = 1
        texts.append(text)
        wanted.append((target, mask))
    return texts, wanted

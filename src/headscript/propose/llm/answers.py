"""From whatever a language model answers to programs, each with a named outcome.

Nothing in an answer is executed, and no text makes this fail. Programs are sought in fenced code
blocks, or else in the text itself; small deviations from the language that have one meaning alone
are mended and counted (`mending`), the gate judges the rest.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from headscript.errors import HeadscriptError
from headscript.language import VOCABULARY
from headscript.language.gate import MAX_SOURCE, MODULE, GateError
from headscript.lines import source_lines
from headscript.programs.program import Program
from headscript.propose.candidates import Outcome
from headscript.propose.llm.mending import mended

_MAX_ANSWER = 400_000  # characters that are looked at
_MAX_PROGRAMS = 50  # of one answer
_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t]*([^`\n]*)")
_DEFINITION = re.compile(r"^[ \t>]*(?:async[ \t]+)?def[ \t]+\w+", re.MULTILINE)
_TITLE = "A program that a language model wrote."


@dataclass(frozen=True)
class Reading:
    """One program found in an answer, or why there is none."""

    outcome: Outcome
    """OK: the gate lets it through, and it has not been run."""
    source: str = ""
    program: Program | None = None
    reason: str = ""
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Block:
    code: str
    closed: bool
    repairs: tuple[str, ...] = ()


def read_answer(text: str, *, cut_off: bool = False, title: str = _TITLE) -> list[Reading]:
    """The programs in an answer, in their order; at least one reading, whatever the text is.

    `cut_off` says that the model was stopped before it came to an end. `title` becomes the first
    line of each program.
    """
    text = text[:_MAX_ANSWER].encode("utf-8", "replace").decode("utf-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "</think>" in text:
        text = text.rpartition("</think>")[2]
    elif "<think>" in text:
        return [Reading(Outcome.CUT_OFF, reason="The answer ends before its thoughts do.")]
    blocks = [block for block in _fenced(text) if _DEFINITION.search(block.code)]
    blocks = blocks or list(_unfenced(text))
    readings: list[Reading] = []
    for number, block in enumerate(blocks):
        if len(readings) >= _MAX_PROGRAMS:
            break
        ends_here = number == len(blocks) - 1 and (cut_off or not block.closed)
        try:
            readings += _read_block(block, ends_here, title)
        except Exception as error:  # the answer was paid for, and the others in it may be good
            reason = f"headscript fails on this program ({type(error).__name__}: {error})."
            readings.append(Reading(Outcome.REFUSED, block.code, reason=reason))
    if readings:
        return readings[:_MAX_PROGRAMS]
    if cut_off:
        return [Reading(Outcome.CUT_OFF, reason="The answer was cut off before any program.")]
    return [Reading(Outcome.NO_CODE, reason="The answer holds no function.")]


def _fenced(text: str) -> Iterator[_Block]:
    """The fenced code blocks; one that is never closed goes to the end."""
    fence = ""
    lines: list[str] = []
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if not fence:
            if found:
                fence, lines = found[1], []
        elif found and found[1].startswith(fence) and not found[2].strip():
            yield _Block("\n".join(lines), True)
            fence = ""
        elif found and found[1].startswith(fence[0] * 3) and found[2].strip():
            # Another block opens: the one before was not closed.
            yield _Block("\n".join(lines), True)
            fence, lines = found[1], []
        else:
            lines.append(line)
    if fence:
        yield _Block("\n".join(lines), False)


def _unfenced(text: str) -> Iterator[_Block]:
    """Functions in a text without code blocks: from `def` to the last line that is indented."""
    lines = text.split("\n")
    last = max((number for number, line in enumerate(lines) if line.strip()), default=0)
    number = 0
    while number < len(lines):
        if not re.match(r"(async )?def \w+", lines[number]):
            number += 1
            continue
        begin = number
        number += 1
        while number < len(lines) and (
            not lines[number].strip() or lines[number][0] in " \t" or lines[number].startswith(")")
        ):
            number += 1
        closed = number <= last or "return" in lines[number - 1]
        yield _Block("\n".join(lines[begin:number]), closed, ("no code block",))


def _read_block(block: _Block, ends_here: bool, title: str) -> list[Reading]:
    parsed, code, repairs = _parse(block.code)
    repairs = block.repairs + repairs
    if parsed is None:
        if ends_here:
            return [Reading(Outcome.CUT_OFF, code, reason="The answer ends within a program.")]
        return [Reading(Outcome.REFUSED, code, reason=_refusal(code))]
    functions = [node for node in parsed.body if isinstance(node, ast.FunctionDef)]
    if any(_is_free_form(function) for function in functions):
        return [Reading(Outcome.FREE_FORM, code, repairs=repairs)]
    named = [function for function in functions if function.name == "attend"]
    readings = []
    for function in named or functions:
        if ends_here and function is functions[-1] and not _has_return(function):
            readings.append(
                Reading(Outcome.CUT_OFF, code, reason="The answer ends within a program.")
            )
        else:
            readings.append(_read_function(function, parsed, code, repairs, title))
    if not functions:
        return [Reading(Outcome.REFUSED, code, reason=_refusal(code))]
    return readings


def _parse(code: str) -> tuple[ast.Module | None, str, tuple[str, ...]]:
    """The syntax tree of a block, mended where it is indented or quoted as a whole."""
    code = code[:MAX_SOURCE]
    tries = [
        (code, ()),
        (textwrap.dedent(code), ("indented",)),
        (textwrap.dedent(re.sub(r"(?m)^[ \t]*(>>>|\.\.\.|>)[ ]?", "", code)), ("quoted",)),
        (code.replace("\u00a0", " ").translate(_PLAIN_QUOTES), ("odd characters",)),
    ]
    for attempt, repairs in tries:
        tree = _tree(attempt)
        if tree is not None:
            return tree, attempt.strip("\n") + "\n", repairs
    return None, code.strip("\n") + "\n", ()


_PLAIN_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u200b": None})


def _tree(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string, say
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_free_form(function: ast.FunctionDef) -> bool:
    """Whether a function is in the form f(sentence, tokenizer)."""
    names = [argument.arg for argument in function.args.args]
    return len(names) >= 2 and names[1].lower() == "tokenizer"


def _has_return(function: ast.FunctionDef) -> bool:
    """Whether it ends as programs do, with a call or a name that it assigned.

    What is cut off may have a bare `return`, or one of half a name.
    """
    nodes = list(ast.walk(function))
    assigned = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    returned = [node.value for node in nodes if isinstance(node, ast.Return)]
    return any(
        isinstance(value, ast.Call) or (isinstance(value, ast.Name) and value.id in assigned)
        for value in returned
    )


def _refusal(code: str) -> str:
    try:
        Program.parse(code)
    except GateError as error:
        return _said(error, code)
    return "There is no function in it."


def _said(error: GateError, source: str) -> str:
    """What the gate says, with the line that it is about."""
    lines = source_lines(source)
    line = lines[error.line - 1].strip() if 0 < error.line <= len(lines) else ""
    return f"`{line[:120]}`: {error.reason}" if line else error.reason


def _read_function(
    function: ast.FunctionDef,
    parsed: ast.Module,
    code: str,
    repairs: tuple[str, ...],
    title: str,
) -> Reading:
    found = list(repairs)
    if function.name != "attend":
        found.append("name of the function")
    if function.decorator_list:
        found.append("decorator")
    lines = source_lines(code)[function.lineno - 1 : function.end_lineno]
    lines[0] = re.sub(r"def[ \t]+\w+", "def attend", lines[0], count=1)
    written = "\n".join(lines)
    try:
        source = _file(written, title)
        program = Program.parse(source)
    except (HeadscriptError, SyntaxError, ValueError, RecursionError, MemoryError):
        return _read_mended(function, code, tuple(found), title)
    if not _imports_all(parsed, source):
        found.append("import")
    if not program.explanation:
        found.append("no docstring")
    return Reading(Outcome.OK, source, program, repairs=tuple(found))


def _read_mended(
    function: ast.FunctionDef, code: str, repairs: tuple[str, ...], title: str
) -> Reading:
    try:
        written, more = mended(function)
        source = _file(written, title)
        program = Program.parse(source)
    except GateError as error:
        return Reading(Outcome.REFUSED, code, reason=_said(error, source), repairs=repairs)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        reason = "Python cannot read this program (odd characters, or nested too deeply)."
        return Reading(Outcome.REFUSED, code, reason=reason, repairs=repairs)
    return Reading(Outcome.OK, source, program, repairs=(*repairs, *more))


def _file(function: str, title: str) -> str:
    """A whole program file around the source of its function."""
    called = sorted(_called(ast.parse(function)) | {"run"}, key=lambda name: (name.lower(), name))
    imports = f"from {MODULE} import {', '.join(called)}"
    if len(imports) > 100:
        imports = "\n".join([f"from {MODULE} import (", *(f"    {n}," for n in called), ")"])
    guard = 'if __name__ == "__main__":\n    run(attend)'
    return f'"""{title}"""\n\n{imports}\n\n\n{function.rstrip()}\n\n\n{guard}\n'


def _called(tree: ast.AST) -> set[str]:
    """Functions of the language that a source calls by their names."""
    names = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    entries = {name: VOCABULARY.get(name) for name in names}
    return {name for name, entry in entries.items() if entry and entry.kind == "function"}


def _imports_all(parsed: ast.Module, source: str) -> bool:
    imported = {
        alias.name
        for node in parsed.body
        if isinstance(node, ast.ImportFrom) and node.module == MODULE
        for alias in node.names
    }
    return _called(ast.parse(source)) <= imported

"""Ideas of a head as people bring them: files of the language, and code for the sandbox."""

from __future__ import annotations

from pathlib import Path

from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.programs.freeform import FreeForm, is_free_form, shared_sandbox
from headscript.programs.importing import import_programs
from headscript.programs.program import Program, read_source
from headscript.runs import Run
from headscript.sandbox.finding import find_programs

_TEXTS = 5  # fit texts that free-form code is run on first, ...
_TOKENS = 64  # ... and tokens of each


def read_idea(file: str | Path, run: Run, *, on_event: Listener = ignore) -> Program:
    """The program in a file: one of the language, or a function (sentence, tokenizer).

    A free-form one need not have come through 'headscript import': here too it is run in the
    sandbox, on a few of the run's fit texts and their prefixes, which says whether it works and
    whether it is prefix-consistent.

    Raises HeadscriptError where the file cannot be read, holds several free-form programs, or one
    that fails, and where the sandbox cannot be had; GateError for what the language does not allow.
    """
    path = Path(file).expanduser()
    source = read_source(path)
    if is_free_form(source):
        return _tried(path, run, FreeForm.of(source, path.stem, str(path)).function, on_event)
    if _has_free_form(source):
        return _tried(path, run, None, on_event)
    return Program.parse(source, path.stem, str(path))


def _has_free_form(source: str) -> bool:
    try:
        return bool(find_programs(source))
    except (RecursionError, MemoryError):  # the gate says so, with the line
        return False


def _tried(path: Path, run: Run, function: str | None, on_event: Listener) -> Program:
    """A file's free-form program of this name, or its only one, after a run in the sandbox."""
    from headscript.models.loading import read_tokenizer

    report = import_programs(
        path,
        read_tokenizer(run.tokenizer_folder),
        [text.text for text in run.texts("fit")[:_TEXTS]],
        causal=run.model.causal,
        max_tokens=_TOKENS,
        sandbox=shared_sandbox(),
        on_event=on_event,
    )
    verdicts = sorted([*report.accepted, *report.failed], key=lambda verdict: verdict.line)
    found = [each for each in verdicts if function in (None, each.name)]
    if function is None and len(found) > 1:
        names = ", ".join(dict.fromkeys(each.name for each in found))
        raise HeadscriptError(
            f"{path} holds {len(found)} programs ({names}); 'headscript import {path} --out "
            "FOLDER' writes each to a file of its own."
        )
    verdict = found[0]
    if not verdict.accepted or verdict.file is None:
        raise HeadscriptError(f"{path}: {verdict.name} fails in the sandbox: {verdict.reason}.")
    return report.programs[verdict.file]

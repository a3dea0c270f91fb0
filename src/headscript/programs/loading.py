"""Reading program files, whatever kind they are."""

from __future__ import annotations

from pathlib import Path

from headscript.programs.program import Program, read_source


def load_program(path: str | Path) -> Program:
    """Read a program file: one of the language, or a free-form one, which its first line says.

    Raises HeadscriptError where it cannot be read, GateError for what the language does not allow.
    """
    from headscript.programs.freeform import FreeForm, is_free_form

    path = Path(path)
    source = read_source(path)
    if is_free_form(source):
        return FreeForm.of(source, path.stem, str(path))
    return Program.parse(source, path.stem, str(path))

"""Reading program files, whatever kind they are."""

from __future__ import annotations

from pathlib import Path

from headscript.programs.program import Program, read_source


def load_program(path: str | Path) -> Program:
    """Read a program file: one of the language, or a free-form one, which its first line says.

    Raises HeadscriptError where it cannot be read, GateError for what the language does not allow.
    """
    path = Path(path)
    return read_program(read_source(path), path.stem, str(path))


def read_program(source: str, name: str, filename: str | None = None) -> Program:
    """What `load_program` makes of the source in a file, which errors name."""
    from headscript.programs.freeform import FreeForm, is_free_form

    if is_free_form(source):
        return FreeForm.of(source, name, filename)
    return Program.parse(source, name, filename)

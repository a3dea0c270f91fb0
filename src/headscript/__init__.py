"""headscript: every attention head of a language model as a short Python program.

    import headscript

    run = headscript.explain("smollm2-135m", "stories", "runs/first")
    program = headscript.Program.load(run.program_file(headscript.Head(5, 3)))

Names are imported when they are first used, so that `import headscript` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import version

    from headscript.errors import HeadscriptError
    from headscript.evaluation.trying import try_program
    from headscript.explaining import explain
    from headscript.heads import Head
    from headscript.models import Model, load_model
    from headscript.patched import load_patched
    from headscript.programs import Program
    from headscript.replacement import replaced
    from headscript.runs import Run, load_run

    __version__ = version("headscript")

__all__ = [
    "Head",
    "HeadscriptError",
    "Model",
    "Program",
    "Run",
    "__version__",
    "explain",
    "load_model",
    "load_patched",
    "load_run",
    "replaced",
    "try_program",
]

_HOMES = {
    "Head": "headscript.heads",
    "HeadscriptError": "headscript.errors",
    "Model": "headscript.models",
    "Program": "headscript.programs",
    "Run": "headscript.runs",
    "explain": "headscript.explaining",
    "load_model": "headscript.models",
    "load_patched": "headscript.patched",
    "load_run": "headscript.runs",
    "replaced": "headscript.replacement",
    "try_program": "headscript.evaluation.trying",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("headscript")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'headscript' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

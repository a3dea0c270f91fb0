"""A look at free-form code before it runs: lint, not a boundary.

It finds what no honest program of this kind does, and says so by name and line, which is better to
read than a killed process. Python has many other ways to the same things: what keeps them harmless
is the policy of the child (`headscript.sandbox.policy`), which does not read code at all.
"""

from __future__ import annotations

import ast

from headscript.sandbox.modules import ALLOWED, STAND_INS

_NAMES = {
    "__builtins__",
    "__import__",
    "__loader__",
    "__spec__",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "exit",
    "globals",
    "help",
    "input",
    "locals",
    "memoryview",
    "open",
    "quit",
    "vars",
}
_ATTRIBUTES = {
    "ag_frame",
    "cr_frame",
    "ctypeslib",
    "f_back",
    "f_builtins",
    "f_globals",
    "f_locals",
    "fromfile",
    "genfromtxt",
    "gi_code",
    "gi_frame",
    "load_library",
    "loadtxt",
    "memmap",
    "open_memmap",
    "savetxt",
    "savez",
    "savez_compressed",
    "tb_frame",
    "tofile",
}
_OF_NUMPY = {"load", "save", "DataSource"}
_HARMLESS = {"__init__", "__name__", "__doc__", "__len__", "__call__", "__post_init__", "__main__"}
_ROOTS = {name.partition(".")[0] for name in (*ALLOWED, *STAND_INS)}


def findings(tree: ast.AST) -> list[str]:
    """What is wrong with a program, in words, in the order of its lines; none for most."""
    found: list[tuple[int, int, str]] = []
    for node in ast.walk(tree):
        said = _finding(node)
        if said is not None:
            line = getattr(node, "lineno", 0)
            column = getattr(node, "end_col_offset", 0)
            found.append((line, column, f"{said} in line {line}"))
    return [said for _, _, said in sorted(found)]


def _finding(node: ast.AST) -> str | None:
    match node:
        case ast.Import(names=names):
            return next((_import(alias.name) for alias in names if _import(alias.name)), None)
        case ast.ImportFrom(module=module, names=names):
            return _import(module or "") or next(
                (f"import of {a.name}" for a in names if a.name in _ATTRIBUTES | _OF_NUMPY), None
            )
        case ast.Name(id=name) if name in _NAMES or (_is_dunder(name) and name not in _HARMLESS):
            return f"use of {name}"
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in _OF_NUMPY:
            return f"use of numpy.{name}"
        case ast.Attribute(attr=name) if name in _ATTRIBUTES or (
            _is_dunder(name) and name not in _HARMLESS
        ):
            return f"use of .{name}"
        case ast.Constant(value=str(text)) if "__" in text and "{" in text:
            return "a format that reaches into an object"
        case ast.Constant(value=str(text)) if _is_dunder(text) and text not in _HARMLESS:
            return f"the name {text} in quotes"
    return None


def _import(name: str) -> str | None:
    return None if name.partition(".")[0] in _ROOTS else f"import of {name or 'a sibling'}"


def _is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")

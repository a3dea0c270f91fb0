"""The programs in a file of published ones: functions (sentence, tokenizer) at its top level.

Each is cut out with what it needs of the file, so that it stands and runs alone. Files of this kind
are often many short ones joined, with names that come back: a name means what was bound to it last
before the function, or first after it. The file is read as a syntax tree, and nothing of it is run.
A foreign one is read in the sandbox all the same (`Sandbox.find`), as it may be made to break what
reads it; one that headscript wrote or a user put into a run is read where it is (`FreeForm.of`).
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headscript.lines import source_lines
from headscript.sandbox.lint import findings

_HEAD = re.compile(r"[Ll]ayer\s*(\d+)\W+[Hh]ead\s*(\d+)|(?:^|_)[Ll](\d+)_?[Hh](\d+)(?:_|$)")


@dataclass(frozen=True)
class _Part:
    """A statement of the file's top level, with the comment above it."""

    node: ast.stmt
    source: str
    comment: str
    """The lines of comment above it."""
    binds: frozenset[str]
    uses: frozenset[str]


def find_programs(source: str) -> list[dict[str, Any]]:
    """What each program is called, where it stands, its source alone, and what is to be said of it.

    A program whose own lines cannot be read has an `error` and no source; the others of the file
    are found all the same.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        parts, broken = _readable_parts(source)
    else:
        parts, broken = _parts(tree, source, 0), []
    file = _File(parts)
    found = [
        _program(file, place, part.node)
        for place, part in enumerate(parts)
        if isinstance(part.node, ast.FunctionDef) and _is_program(part.node)
    ]
    return sorted([*found, *broken], key=lambda program: program["line"])


def check(source: str) -> list[str]:
    """What lint has to say of a program; a syntax error counts."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [f"syntax error in line {error.lineno}: {error.msg}"]
    except ValueError as error:
        return [f"syntax error: {error}"]
    return findings(tree)


def _is_program(node: ast.FunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args]
    required = len(arguments) - len(node.args.defaults)
    if len(arguments) < 2 or required > 2 or None in node.args.kw_defaults:
        return False
    first, second = arguments[:2]
    annotation = "" if second.annotation is None else ast.unparse(second.annotation)
    return first.arg not in ("self", "cls") and (
        "tokenizer" in second.arg.lower() or "Tokenizer" in annotation
    )


def _program(file: _File, place: int, node: ast.FunctionDef) -> dict[str, Any]:
    parts, needed = file.parts, file.needed(place)
    source = "\n\n".join(parts[number].source for number in needed).strip() + "\n"
    nodes = [parts[number].node for number in needed]
    numbers = [
        constant
        for one in nodes
        for constant in ast.walk(one)
        if isinstance(constant, ast.Constant) and type(constant.value) in (int, float)
    ]
    head = _HEAD.search(node.name) or _HEAD.search(_comments_before(parts, place))
    return {
        "name": node.name,
        "line": node.lineno,
        "source": source,
        "explanation": _explanation(node),
        "numbers": len(numbers),
        "head": None if head is None else [int(n) for n in head.groups() if n is not None],
        "findings": findings(ast.Module(nodes, [])),
        "uses_spacy": any(
            isinstance(n, (ast.Import, ast.ImportFrom)) and "spacy" in ast.unparse(n)
            for one in nodes
            for n in ast.walk(one)
        )
        or "en_core_web" in source,
    }


def _comments_before(parts: list[_Part], place: int) -> str:
    """The comments above a function and above what stands between it and the one before."""
    found = [parts[place].comment]
    for part in reversed(parts[:place]):
        if isinstance(part.node, (ast.FunctionDef, ast.ClassDef)):
            break
        found.append(part.comment)
    return "\n".join(found)[:10_000]


def _explanation(node: ast.FunctionDef) -> str:
    """The first paragraph of the docstring, or the name that the function gives its pattern."""
    said = ast.get_docstring(node)
    if said:
        return " ".join(said.split("\n\n")[0].split())
    for one in ast.walk(node):
        if isinstance(one, ast.Return) and isinstance(one.value, ast.Tuple) and one.value.elts:
            title = one.value.elts[0]
            if isinstance(title, ast.Constant) and isinstance(title.value, str):
                return title.value
    return node.name.replace("_", " ")


class _File:
    """The statements of a file, and where each name is bound."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self._bound: dict[str, list[int]] = {}
        self._effects: list[tuple[int, str]] = []
        self._future: list[int] = []
        for number, part in enumerate(parts):
            for name in part.binds:
                self._bound.setdefault(name, []).append(number)
            root = _called_on(part.node)
            if root is not None:
                self._effects.append((number, root))
            if isinstance(part.node, ast.ImportFrom) and part.node.module == "__future__":
                self._future.append(number)

    def needed(self, place: int) -> list[int]:
        """The statements that a function needs, itself included, in the order of the file."""
        chosen, known = {place}, set(self.parts[place].binds)
        waiting = set(self.parts[place].uses)
        while waiting:
            name = waiting.pop()
            # Names that nothing binds are builtins, or missing, which running it will tell.
            if name in known or name not in self._bound:
                continue
            known.add(name)
            numbers = self._bound[name]
            before = bisect_left(numbers, place)
            number = numbers[before - 1] if before else numbers[0]
            chosen.add(number)
            waiting |= self.parts[number].uses
        imported = {
            name
            for number in chosen
            if isinstance(self.parts[number].node, ast.Import | ast.ImportFrom)
            for name in self.parts[number].binds
        }
        # Calls for their effect, such as np.random.seed(0): those before it on what it imports.
        for number, root in self._effects[: bisect_left(self._effects, (place, ""))]:
            if root in imported and self.parts[number].uses <= imported:
                chosen.add(number)
        return sorted({*chosen, *(number for number in self._future if number < place)})


def _called_on(node: ast.stmt) -> str | None:
    """The name that a statement of a call begins with; None for other statements."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return None
    root: ast.expr = node.value.func
    while isinstance(root, ast.Attribute):
        root = root.value
    return root.id if isinstance(root, ast.Name) else None


def _parts(tree: ast.Module, source: str, offset: int) -> list[_Part]:
    """The statements of a module, each with its source; `offset` lines stood before it."""
    lines = source_lines(source)
    parts, end = [], 0
    for node in tree.body:
        first = node.lineno - 1
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            first = min([first, *(d.lineno - 1 for d in node.decorator_list)])
        start = first
        while start > end and (not lines[start - 1].strip() or lines[start - 1].startswith("#")):
            start -= 1
        comment = "\n".join(lines[start:first]).strip()
        end = node.end_lineno or node.lineno
        written = "\n".join(lines[first:end])
        if comment and isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            written = f"{comment}\n{written}"
        ast.increment_lineno(node, offset)
        if not _runs_as_script(node):
            bound, used = frozenset(_bound(node)), frozenset(_used(node))
            parts.append(_Part(node, written, comment, bound, used))
    return parts


def _runs_as_script(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds at the top level."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    for one in ast.walk(node):
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            for alias in one.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        elif isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            yield one.name


def _used(node: ast.stmt) -> Iterator[str]:
    """The names that a statement may read, its own locals among them."""
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            yield one.id
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value  # an annotation in quotes


def _readable_parts(source: str) -> tuple[list[_Part], list[dict[str, Any]]]:
    """The parts of a file that cannot be read as a whole, and the programs that are at fault."""
    lines = source_lines(source)
    starts = [n for n, line in enumerate(lines) if re.match(r"[A-Za-z_@]", line)]
    kept: list[int] = []
    for start in starts:  # a decorator and what it decorates stay together
        if kept and lines[kept[-1]].startswith("@"):
            continue
        if re.match(r"(else|elif|except|finally)\b", lines[start]):
            continue
        kept.append(start)
    parts: list[_Part] = []
    broken: list[dict[str, Any]] = []
    for start, end in zip(kept, [*kept, len(lines)][1:], strict=True):
        written = "\n".join(lines[start:end])
        try:
            parts += _parts(ast.parse(written), written, start)
        except (SyntaxError, ValueError) as error:
            heading = re.match(r"def\s+(\w+)\s*\([^)]*[Tt]okenizer", written)
            if heading:
                line = start + (getattr(error, "lineno", None) or 1)
                said = getattr(error, "msg", None) or str(error)
                broken.append(
                    {
                        "name": heading[1],
                        "line": start + 1,
                        "error": f"syntax error in line {line}: {said}",
                    }
                )
    return parts, broken

"""A program: source that has passed the gate, callable on a text."""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError
from headscript.language.gate import check_program
from headscript.language.text import Text
from headscript.programs.interpreter import LogLinear, Plan

if TYPE_CHECKING:
    from rich.console import RenderableType

ROW_TOLERANCE = 1e-4


class ProgramError(HeadscriptError):
    """A program whose value on a text is no attention pattern; the message names the line."""


@dataclass(frozen=True)
class Program:
    """A program of the language; make one by `Program.parse` or `Program.load`."""

    source: str
    name: str
    explanation: str = field(compare=False)
    """The docstring of its function."""
    constants: dict[str, float] = field(compare=False)
    """The keyword defaults in their order; there is one a term."""
    prefix_consistent: bool = field(compare=False)
    """Whether in a decoder row i follows from tokens 0 to i alone, by construction, and is 0 on
    later ones."""
    entries: frozenset[str] = field(compare=False)
    """The token properties and relations it uses."""
    _plan: Plan = field(compare=False, repr=False)
    _spans: dict[str, tuple[int, int]] = field(compare=False, repr=False)
    """Where each constant's value stands, in bytes of the UTF-8 source."""

    @staticmethod
    def parse(source: str, name: str = "program", filename: str | None = None) -> Program:
        """The program that a source spells.

        Raises GateError, naming `filename` and the line, for what the language does not allow.
        """
        checked = check_program(source, filename or name)
        return Program(
            source=source,
            name=name,
            explanation=checked.explanation,
            constants=checked.constants,
            prefix_consistent=checked.shapes.prefix_consistent,
            entries=frozenset(checked.shapes.entries),
            _plan=Plan(checked),
            _spans=_spans(source, checked.default_nodes),
        )

    @staticmethod
    def load(path: str | Path) -> Program:
        """Read a program file, whose name it takes; raises HeadscriptError if it cannot be read."""
        path = Path(path)
        return Program.parse(read_source(path), path.stem, str(path))

    def save(self, path: str | Path) -> None:
        """Write the source whole or not at all; raises HeadscriptError where that cannot be."""
        write_atomically(Path(path), self.source.encode())

    @property
    def terms(self) -> int:
        """How many constants the program has."""
        return len(self.constants)

    @property
    def log_linear(self) -> LogLinear | None:
        """Its scores as a sum of constants times features; None where it has another form."""
        return self._plan.log_linear

    def __len__(self) -> int:
        return len(self.constants)

    def __bool__(self) -> bool:
        return True  # also without constants

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.program(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.program(self)

    @cached_property
    def key(self) -> str:
        """SHA-256 of what the program computes: the same for other layout, names and docstrings."""
        values = ", ".join(repr(value) for value in self.constants.values())
        return hashlib.sha256(f"{self._plan.canonical}; {values}".encode()).hexdigest()

    def __call__(self, text: Text, constants: Mapping[str, Tensor] | None = None) -> Tensor:
        """The pattern (query, key) on a text; every row sums to 1.

        `constants` replaces values by name, also by tensors that ask for gradients. Features are
        kept on the text for the next program; `text.forget()` drops them. Raises ProgramError for
        a value that is no pattern.
        """
        values: Mapping[str, float | Tensor] = self.constants
        if constants:
            unknown = constants.keys() - self.constants.keys()
            if unknown:
                raise HeadscriptError(f"{self.name} has no constant {min(unknown)!r}.")
            values = {**self.constants, **constants}
        try:
            pattern = self._plan.evaluate(text, values)
        except (RuntimeError, TypeError, ValueError, ArithmeticError, IndexError) as error:
            raise self._failure(text, values, error) from None
        return self._checked(pattern, text)

    def _failure(
        self, text: Text, values: Mapping[str, float | Tensor], error: Exception
    ) -> ProgramError:
        node = self._plan.culprit(text, values)
        place = "" if node is None else f", line {getattr(node, 'lineno', '?')}"
        said = "" if node is None else f" `{ast.unparse(node)[:80]}`"
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        return ProgramError(
            f"{self.name}{place}: this cannot be computed:{said} ({reason}); "
            "~, & and | join conditions, and * joins numbers."
        )

    def _checked(self, pattern: Tensor, text: Text) -> Tensor:
        n = len(text)
        shape = (n - text.first_query, n)
        if not isinstance(pattern, Tensor) or pattern.ndim != 2:
            raise ProgramError(f"{self.name} returns no value a pair of query and key.")
        if not pattern.is_floating_point():
            pattern = pattern.float()
        if pattern.shape != shape:
            pattern = pattern.expand(shape)
        values = pattern.detach()
        if self._plan.is_softmax:
            # By construction nonnegative, and sums to 1 unless something was not finite.
            broken = math.isnan(values.sum().item())
        else:
            broken = not bool(((values.sum(-1) - 1).abs() <= ROW_TOLERANCE).all())
            broken = broken or bool((values < 0).any())
        if broken:
            raise ProgramError(
                f"{self.name} gives no attention pattern on a text of {n} tokens: each row must be "
                "finite, not negative, and sum to 1; end with softmax(...) and avoid log(0)."
            )
        if (
            text.causal
            and not self.prefix_consistent
            and bool(values.triu(1 + text.first_query).any())
        ):
            raise ProgramError(
                f"{self.name} looks at tokens after the query, which a decoder cannot; end with "
                "softmax(...) without its second operand, or multiply by text.allowed."
            )
        return pattern

    def with_constants(self, values: Mapping[str, float]) -> Program:
        """The program with other constants written into its source, and nothing else changed.

        Values are rounded by `rounded`, so the program keeps what a reader sees.
        """
        unknown = values.keys() - self.constants.keys()
        if unknown:
            raise HeadscriptError(f"{self.name} has no constant {min(unknown)!r}.")
        encoded = self.source.encode()
        for name in sorted(values, key=lambda name: self._spans[name], reverse=True):
            value = float(values[name])
            if not math.isfinite(value):
                raise HeadscriptError(
                    f"{self.name}'s constant {name} would be {value}; it is kept."
                )
            start, end = self._spans[name]
            encoded = encoded[:start] + rounded(value).encode() + encoded[end:]
        return Program.parse(encoded.decode(), self.name)


def read_source(path: Path) -> str:
    """The source in a program file; raises HeadscriptError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HeadscriptError(f"There is no program file {path}; check the path.") from None
    except UnicodeDecodeError:
        raise HeadscriptError(f"{path} is no text in UTF-8; is it a program file?") from None
    except OSError as error:
        raise HeadscriptError(f"{path} cannot be read: {error.strerror}.") from None


def rounded(value: float) -> str:
    """A constant as programs write it: two decimals, small ones three digits, at most four."""
    if abs(value) < 5e-6:
        return "0.0"
    leading = math.floor(math.log10(abs(value)))  # 0 for 4.06, -2 for 0.044
    decimals = max(0, min(max(2, 2 - leading), 3 - leading))
    text = f"{value:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0")
        return text + "0" if text.endswith(".") else text
    return f"{round(value, 3 - leading):.1f}"


def _spans(source: str, nodes: Mapping[str, ast.expr]) -> dict[str, tuple[int, int]]:
    starts, place = [], 0
    for line in source.encode().splitlines(keepends=True):
        starts.append(place)
        place += len(line)
    return {
        name: (
            starts[node.lineno - 1] + node.col_offset,
            starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0),
        )
        for name, node in nodes.items()
    }

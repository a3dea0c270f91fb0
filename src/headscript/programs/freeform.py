"""Free-form programs: any Python of the form f(sentence, tokenizer) -> (name, matrix).

They have no constants to fit and no structure to read, and run in the sandbox alone. Otherwise they
are programs: scored, shown, saved, and put in the place of heads. Their files are parsed here,
which runs nothing of them.

A file that says prefix-consistent says it in its author's words. So they are tested where they
count: on each text of a decoder such a program also runs on the text's beginning, cut where nobody
could foresee, and fails if it says another thing of a token there.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.language.text import Text
from headscript.programs.interpreter import LogLinear
from headscript.programs.prefixes import difference
from headscript.programs.program import Program, ProgramError
from headscript.programs.sentences import answers_of, sentence_of
from headscript.sandbox import Outcome, Sandbox, isolation
from headscript.sandbox.finding import find_programs

MARKER = "# headscript free-form program: "
"""How the first line of a free-form file begins; the function's name follows."""

WEAK_VARIABLE = "HEADSCRIPT_ALLOW_WEAK_SANDBOX"

_TESTED = r"(?:; (prefix-consistent|looks ahead), tested as ([0-9a-f]{12}))?"
_FIRST_LINE = re.compile(rf"{re.escape(MARKER)}(\w+){_TESTED}\s*")


class FreeForm(Program):
    """A free-form program; make one by `FreeForm.of` or `headscript.programs.loading`.

    `terms` is how many numbers its source writes. `prefix_consistent` was found by running it on
    prefixes of texts, or so its file says, and holds only while the source is what it was then; it
    is False until then. Where it is True, the program fails on a text that shows otherwise.
    """

    function: str
    """The function that is called."""
    uses_spacy: bool

    def __init__(
        self,
        code: str,
        function: str,
        *,
        name: str,
        explanation: str,
        numbers: int,
        uses_spacy: bool,
        prefix_consistent: bool | None,
    ) -> None:
        first_line = f"{MARKER}{function}"
        if prefix_consistent is not None:
            said = "prefix-consistent" if prefix_consistent else "looks ahead"
            first_line += f"; {said}, tested as {_digest(code)}"
        values = {
            "source": f"{first_line}\n{code}",
            "name": name,
            "explanation": explanation,
            "constants": {},
            "prefix_consistent": bool(prefix_consistent),
            "entries": frozenset(),
            "function": function,
            "uses_spacy": uses_spacy,
            "_numbers": numbers,
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    @staticmethod
    def of(source: str, name: str = "program", filename: str | None = None) -> FreeForm:
        """The program that a file with the marker in its first line spells.

        Raises HeadscriptError, naming `filename`, where the function is not there or the file is no
        Python.
        """
        place = filename or name
        first, _, code = source.partition("\n")
        marked = _FIRST_LINE.fullmatch(first)
        if marked is None:
            raise HeadscriptError(
                f"{place}, line 1: a free-form program begins with {MARKER!r} and the name of its "
                "function."
            )
        function, said, digest = marked.groups()
        try:
            found = next((one for one in find_programs(code) if one["name"] == function), None)
        except (RecursionError, MemoryError):
            raise HeadscriptError(f"{place} is nested too deeply to be read.") from None
        if found is None or "error" in found:
            reason = (
                f"no function {function}(sentence, tokenizer)" if found is None else found["error"]
            )
            raise HeadscriptError(f"{place} is no free-form program: {reason}.")
        tested = said is not None and digest == _digest(code)
        return FreeForm(
            code,
            function,
            name=name,
            explanation=found["explanation"],
            numbers=found["numbers"],
            uses_spacy=found["uses_spacy"],
            prefix_consistent=(said == "prefix-consistent") if tested else None,
        )

    @property
    def code(self) -> str:
        """The source without the first line, which is headscript's."""
        return self.source.partition("\n")[2]

    @property
    def terms(self) -> int:
        """How many numbers are written in its source, as a measure of its length."""
        return int(self.__dict__["_numbers"])

    @property
    def log_linear(self) -> LogLinear | None:
        """None: it is not read."""
        return None

    def __len__(self) -> int:
        return 0  # constants

    def __repr__(self) -> str:
        return f"FreeForm({self.name!r})"

    @cached_property
    def key(self) -> str:
        """SHA-256 of the code and the function's name."""
        return hashlib.sha256(f"free-form {self.function}\n{self.code}".encode()).hexdigest()

    def __call__(self, text: Text, constants: Mapping[str, Tensor] | None = None) -> Tensor:
        """The pattern (query, key) on a text, from the sandbox; rows sum to 1.

        It is kept on the text until `text.forget()`. Raises ProgramError where it fails, and
        HeadscriptError where the sandbox cannot be had.
        """
        self._refuse(constants or {})
        whole = text if not text.first_query else text.from_first_query()
        found: Outcome = text.remember(
            (self.key, self.prefix_consistent), lambda: self._tested_run(whole)
        )
        if found.matrix is None:
            raise ProgramError(f"{self.name} fails in the sandbox: {found.failure}.")
        return torch.from_numpy(found.matrix)[text.first_query :]

    def _tested_run(self, text: Text) -> Outcome:
        """A run on a text; a failure if rows should not change when a text goes on, and do."""
        whole = self._run(text)
        if whole.matrix is None or len(text) < 3 or not (text.causal and self.prefix_consistent):
            return whole
        length = 2 + secrets.randbelow(len(text) - 2)  # row 0 has one key to look at
        found = difference(whole.matrix, self._run(text.prefix(length)), length)
        if not found:
            return whole
        return Outcome(None, f"it says that it is prefix-consistent, and {found}", whole.seconds)

    def _run(self, text: Text) -> Outcome:
        sentence = sentence_of(text, parsed=self.uses_spacy)
        assert text.reader is not None  # sentence_of refuses others
        answers = answers_of(text.reader.tokenizer)
        (outcome,) = shared_sandbox().run(self.code, self.function, [sentence], answers=answers)
        return outcome

    def with_constants(self, values: Mapping[str, float]) -> Program:
        """Itself: it has no constants; raises HeadscriptError if some are given."""
        self._refuse(values)
        return self

    def _refuse(self, values: Mapping[str, object]) -> None:
        if values:
            raise HeadscriptError(f"{self.name} has no constant {min(values)!r}.")


def shared_sandbox() -> Sandbox:
    """The sandbox that free-form programs of this process run in, started at the first use.

    Raises HeadscriptError where isolation is less than full, unless the environment variable
    HEADSCRIPT_ALLOW_WEAK_SANDBOX is 1.
    """
    return _sandbox_of(os.getpid())


@lru_cache(maxsize=1)
def _sandbox_of(process: int) -> Sandbox:
    sandbox = Sandbox(allow_weak=weak_is_allowed())
    atexit.register(sandbox.close)
    return sandbox


def isolation_of(programs: Iterable[Program]) -> str | None:
    """What is around these programs when they run; None if none of them is free-form."""
    return str(isolation()) if any(isinstance(one, FreeForm) for one in programs) else None


def weak_is_allowed() -> bool:
    """Whether the environment admits a sandbox that is weaker than it should be."""
    return os.environ.get(WEAK_VARIABLE, "") == "1"


def is_free_form(source: str) -> bool:
    """Whether a program file says that it is free-form."""
    return source.startswith(MARKER)


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()[:12]

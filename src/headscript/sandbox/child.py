"""What a child does: it gives up everything but computing, runs one program, answers, and ends.

Everything here from `answer` on happens in a process that foreign code may take over. It is not
believed: the parent checks each frame, and the host each matrix.
"""

from __future__ import annotations

import builtins
import gc
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from headscript.sandbox import modules
from headscript.sandbox.frames import (
    LONGEST_TEXT,
    ChannelClosed,
    Expected,
    Frame,
    Kind,
    json_frame,
    read_frame,
    write_frame,
)
from headscript.sandbox.policy import Layers, Limits, confine
from headscript.sandbox.seccomp import CHANNEL
from headscript.sandbox.sentence import Sentence
from headscript.sandbox.tokenizer import Tokenizer

_LONGEST_REASON = 300
_FILE = "program.py"


@dataclass(frozen=True)
class Work:
    """What a child is for."""

    expected: Expected
    limits: Limits
    layers: Layers
    base: int
    parent: int
    seed: int
    """Of the random numbers that a program draws without a seed of its own."""


class ProgramFailure(Exception):
    """Why there is no matrix, in words that the host shows."""


def begin(channel: int, work: Work, answer: Callable[[Channel], Frame]) -> NoReturn:
    """Confine this process, which was just forked, and send what `answer` gives. Never returns."""
    status = 70
    try:
        os.dup2(channel, CHANNEL)
        os.closerange(0, CHANNEL)
        os.closerange(CHANNEL + 1, 65536)
        for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"):
            setattr(sys, name, _Silence())
        confine(work.limits, work.layers, base=work.base, parent=work.parent)
        asked = Channel(work)
        try:
            frame = answer(asked)
        except BaseException as error:
            frame = Frame(Kind.FAILURE, _reason(error).encode("utf-8", "replace"))
        asked.send(frame)
        status = 0
    finally:
        os._exit(status)


class Channel:
    """The child's side of the channel."""

    def __init__(self, work: Work) -> None:
        self._expected = work.expected

    def send(self, frame: Frame) -> None:
        """Send a frame of this run."""
        named = replace(frame, token=self._expected.token, sequence=self._expected.sequence)
        write_frame(CHANNEL, named)

    def ask(self, question: dict[str, Any]) -> Any:
        """Ask the host; raises ProgramFailure with its reason where it has no answer."""
        frame = json_frame(Kind.QUESTION, question)
        if len(frame.payload) > LONGEST_TEXT:
            raise ValueError("the text to be tokenised or parsed is too long")
        self.send(frame)
        try:
            reply = read_frame(CHANNEL)
        except ChannelClosed:
            raise ProgramFailure("the sandbox went away") from None
        if reply.kind is Kind.FAILURE:
            raise ProgramFailure(reply.text())
        return reply.value()


class _Silence:
    """Where a program's prints go."""

    encoding, errors, closed = "utf-8", "replace", False

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def run_program(source: str, function: str, data: bytes, work: Work, channel: Channel) -> Frame:
    """A program's matrix on a sentence, as a frame; what it raises goes through."""
    sentence = Sentence.decode(data)
    _seed(work.seed)

    def parse(text: str) -> Any:
        if text == sentence.text and sentence.parse is not None:
            return sentence.parse
        return channel.ask({"ask": "parse", "text": text})

    names = vars(builtins).copy()
    names["__import__"] = modules.importer(modules.stand_ins(parse))
    module = ModuleType("program")  # a real one, which dataclasses look for
    sys.modules["program"] = module
    namespace = vars(module)
    namespace["__builtins__"] = names
    exec(_compiled(source), namespace)  # noqa: S102 - this is the sandbox
    if not callable(namespace.get(function)):
        raise ProgramFailure(f"no function {function}")
    found = namespace[function](sentence.text, Tokenizer(sentence, channel.ask))
    if isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[0], str):
        found = found[1]
    return _matrix_frame(found, len(sentence))


def _compiled(source: str) -> Any:
    try:
        return compile(source, _FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ProgramFailure(f"syntax error in line {error.lineno}: {error.msg}") from None
    except ValueError as error:  # zero bytes
        raise ProgramFailure(f"syntax error: {error}") from None


def _matrix_frame(found: Any, size: int) -> Frame:
    if found is None:
        raise ProgramFailure("wrong shape: nothing was returned")
    try:
        matrix = np.ascontiguousarray(np.asarray(found), dtype="<f4")
    except (TypeError, ValueError):
        raise ProgramFailure(f"wrong shape: {type(found).__name__} is no matrix") from None
    if matrix.shape != (size, size):
        shape = " x ".join(map(str, matrix.shape)) or "a single number"
        raise ProgramFailure(f"wrong shape: {shape} for {size} tokens")
    return Frame(Kind.MATRIX, matrix.tobytes(), rows=size, columns=size)


def _seed(seed: int) -> None:
    """Make random numbers follow from the seed, also those of generators made without one."""
    random.seed(seed)
    np.random.seed(seed)
    true_rng = np.random.default_rng

    def default_rng(given: Any = None) -> Any:
        return true_rng(seed if given is None else given)

    np.random.default_rng = default_rng  # type: ignore[assignment]
    np.seterr(all="ignore")  # a warning is of no use where nobody reads it
    gc.enable()


def _reason(error: BaseException) -> str:
    """What went wrong, in one line, whatever the exception does to hide it."""
    if isinstance(error, ProgramFailure):
        return str(error.args[0])[:_LONGEST_REASON]
    if isinstance(error, MemoryError):
        return "memory"
    kind, line = type(error).__name__, None
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code.co_filename == _FILE:
            line = place.tb_lineno
        place = place.tb_next
    try:
        said = str(error)
    except BaseException:
        said = ""
    where = "" if line is None else f" in line {line} of the program"
    return " ".join(f"raised {kind}{where}: {said}".split())[:_LONGEST_REASON]

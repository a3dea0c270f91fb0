"""The clean parent: it forks a child for each run, and never runs foreign code itself.

It is started with no environment, no site packages but the folders it is given, and no descriptor
of the host but its channel. It knows one program and one sentence at a time, so that a child, which
is a copy of it, finds nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from headscript.sandbox import modules
from headscript.sandbox.child import Channel, Work, begin, run_program
from headscript.sandbox.finding import check, find_programs
from headscript.sandbox.frames import (
    LONGEST_TEXT,
    TOKEN_BYTES,
    ChannelClosed,
    Expected,
    Frame,
    FrameBuffer,
    FrameError,
    Kind,
    json_frame,
    receive,
    send,
)
from headscript.sandbox.policy import Layers, Limits, address_space, layers_here
from headscript.sandbox.probe import probe

_AT_ONCE = 1 << 18
_OF_FILES = Limits(cpu_seconds=30, seconds=60, memory_mb=2000)
"""For reading a file of programs, which may be thousands."""


class Parent:
    """The parent's state: the host's channel, and the program in hand."""

    def __init__(self, host: socket.socket, layers: Layers) -> None:
        self._host = host
        self._layers = layers
        self._base = address_space()
        self._program: dict[str, Any] = {}
        self._limits = Limits()
        self._refused = ""

    def serve(self) -> None:
        """Do what the host asks, until it is gone."""
        while True:
            try:
                asked = receive(self._host)
                send(self._host, self._done(asked))
            except ChannelClosed:
                return

    def _done(self, asked: Frame) -> Frame:
        match asked.kind:
            case Kind.PROGRAM:
                return self._begin_program(asked.value())
            case Kind.SENTENCE:
                if self._refused:
                    return _failure(self._refused)
                program, data = self._program, asked.payload
                return self._forked(
                    lambda work, channel: run_program(
                        program["source"], program["function"], data, work, channel
                    ),
                    size=asked.rows,
                    seed=asked.columns,
                )
            case Kind.FIND:
                source = asked.text()
                self._limits = _OF_FILES
                return self._forked(
                    lambda work, channel: json_frame(Kind.VALUE, find_programs(source)),
                    longest=64 * LONGEST_TEXT,
                )
            case Kind.PROBE:
                wanted = asked.value()
                return self._forked(
                    lambda work, channel: json_frame(Kind.VALUE, probe(wanted["attempt"])),
                    layers=Layers(**wanted["layers"]),
                )
        raise FrameError(f"the host does not ask for {asked.kind.name}")

    def _begin_program(self, program: dict[str, Any]) -> Frame:
        """Take a program, which lint looks at in a child: what reads it may break on it, too."""
        self._program = program
        self._limits = Limits(**program["limits"])
        self._refused = ""
        if program["lint"]:
            source = program["source"]
            answer = self._forked(lambda work, channel: json_frame(Kind.VALUE, check(source)))
            if answer.kind is not Kind.VALUE:
                self._refused = f"syntax check: {answer.text()}"
            elif found := answer.value():
                self._refused = f"syntax check: {found[0]}"
        return json_frame(Kind.VALUE, self._refused)

    # Children ------------------------------------------------------------------------------------

    def _forked(
        self,
        answer: Callable[[Work, Channel], Frame],
        *,
        size: int = 0,
        seed: int = 0,
        longest: int = LONGEST_TEXT,
        layers: Layers | None = None,
    ) -> Frame:
        """What a new child answers, or why it does not; the child is gone then."""
        expected = Expected(secrets.token_bytes(TOKEN_BYTES), secrets.randbits(63), size, longest)
        work = Work(expected, self._limits, layers or self._layers, self._base, os.getpid(), seed)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            begin(theirs.fileno(), work, lambda channel: answer(work, channel))
        theirs.close()
        watched = _Watched(pid, ours, expected, self._limits, self._host)
        try:
            return watched.answer()
        finally:
            ours.close()
            watched.end()


class _Watched:
    """A child that runs: what it sends, and how it ends."""

    def __init__(
        self,
        pid: int,
        channel: socket.socket,
        expected: Expected,
        limits: Limits,
        host: socket.socket,
    ) -> None:
        self._pid = pid
        self._channel = channel
        self._buffer = FrameBuffer(expected)
        self._limits = limits
        self._host = host
        self._deadline = time.monotonic() + limits.seconds
        self._questions = self._asked = 0
        self._status: int | None = None

    def answer(self) -> Frame:
        """The one frame that the child sends before it ends; or a failure."""
        found: Frame | None = None
        try:
            while self._receive():
                frame = self._buffer.take()
                if frame is None:
                    continue
                if found is not None:
                    return _failure("malformed reply: more than one answer")
                if frame.kind is Kind.QUESTION:
                    self._pass_on(frame)
                else:
                    found = frame
                    if len(self._buffer):
                        return _failure("malformed reply: more than one answer")
        except FrameError as error:
            return _failure(f"malformed reply: {error}")
        except TimeoutError:
            return _failure("timeout")
        if len(self._buffer):
            return _failure("malformed reply: a frame that is cut off")
        return self._judged(found)

    def _receive(self) -> bool:
        """Take in what the child sends; False at the end. Raises TimeoutError."""
        left = self._deadline - time.monotonic()
        if left <= 0 or not select.select([self._channel], [], [], left)[0]:
            raise TimeoutError
        try:
            data = self._channel.recv(_AT_ONCE)
        except ConnectionError:  # it ended with an answer of ours unread
            return False
        self._buffer.add(data)
        return bool(data)

    def _pass_on(self, question: Frame) -> None:
        """Have the host answer; its time is not the child's."""
        self._questions += 1
        self._asked += len(question.payload)
        if self._questions > self._limits.questions:
            raise FrameError(f"more than {self._limits.questions} questions")
        if self._asked > self._limits.question_bytes:
            raise FrameError(f"questions of more than {self._limits.question_bytes} bytes")
        asked = time.monotonic()
        send(self._host, Frame(Kind.QUESTION, question.payload))
        reply = receive(self._host)
        self._deadline += time.monotonic() - asked
        left = max(0.01, self._deadline - time.monotonic())
        self._channel.settimeout(left)  # a child that does not read its answer
        try:
            self._channel.sendall(reply.encode())
        except TimeoutError:
            raise
        except OSError:
            return  # it ended; the reason is in its status

    def _judged(self, found: Frame | None) -> Frame:
        left = self._deadline - time.monotonic()
        while not self._reaped():
            if left <= 0:
                return _failure("timeout")
            time.sleep(0.0005)
            left = self._deadline - time.monotonic()
        status = self._status or 0
        if os.WIFSIGNALED(status):
            return _failure(_killed(os.WTERMSIG(status)))
        if os.WEXITSTATUS(status) == 70:
            return _failure("the sandbox could not be set up")
        if found is None or status:
            return _failure("ended without an answer")
        return found

    def _reaped(self, block: bool = False) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self._pid, 0 if block else os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def end(self) -> None:
        """Kill it if it still runs, and wait until it is gone."""
        if not self._reaped():
            os.kill(self._pid, signal.SIGKILL)
            self._reaped(block=True)


def _killed(number: int) -> str:
    if number == getattr(signal, "SIGSYS", None):
        return "forbidden system call"
    if number == signal.SIGXCPU:
        return "timeout"
    try:
        return f"killed: {signal.Signals(number).name}"
    except ValueError:
        return f"killed: signal {number}"


def _failure(reason: str) -> Frame:
    return Frame(Kind.FAILURE, reason.encode("utf-8", "replace"))


def main(descriptor: int, chosen: str) -> None:
    """Serve the host on a socket; `chosen` is the layers as JSON, or "" for all there are."""
    os.environ.clear()
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host ends it, also by closing the channel
    host = socket.socket(fileno=descriptor)
    host.set_inheritable(False)
    try:
        modules.load_all()
        layers = Layers(**json.loads(chosen)) if chosen else layers_here()
    except Exception as error:
        send(host, _failure(f"{type(error).__name__}: {error}"))
        return
    sys.setrecursionlimit(1000)
    gc.collect()
    gc.freeze()  # so that a child's collections leave these pages shared
    send(host, json_frame(Kind.VALUE, vars(layers)))
    Parent(host, layers).serve()

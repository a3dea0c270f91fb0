"""One clean parent process, seen from the host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headscript.errors import HeadscriptError
from headscript.sandbox.frames import (
    ChannelClosed,
    Frame,
    FrameError,
    Kind,
    json_frame,
    receive,
    send,
)
from headscript.sandbox.policy import Layers

Answers = Callable[[dict[str, Any]], Any]
"""Answers the questions of a program: how another text than the sentence is tokenised or parsed."""

_BOOT = (
    "import sys; descriptor, layers, *folders = sys.argv[1:]; sys.path += folders; "
    "from headscript.sandbox.parent import main; main(int(descriptor), layers)"
)
# No path of the host's choice, no user site, no site packages, no bytecode written. The same as -I
# but that the environment is read: it is ours, and Python takes the seed of its hashes from nowhere
# else. Without one, sets of words would have another order in each process.
_FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8")
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_START_SECONDS = 60.0
_GRACE_SECONDS = 30.0


class WorkerDied(Exception):
    """The parent process ended, or did not answer and was ended."""


class Worker:
    """A parent process. It is used by one thread at a time."""

    def __init__(self, layers: Layers | None = None) -> None:
        if not hasattr(os, "fork"):
            raise HeadscriptError(
                "Free-form programs run in a sandbox that needs a system with fork, such as Linux "
                "or macOS; this one has none."
            )
        self.program: object = None
        """The program it was last given, for those who ask it to run one."""
        self._channel, theirs = socket.socketpair()
        chosen = "" if layers is None else json.dumps(vars(layers))
        command = [sys.executable, *_FLAGS, "-c", _BOOT, str(theirs.fileno()), chosen, *_folders()]
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                cwd=os.sep,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            ready = receive(self._channel, deadline=time.monotonic() + _START_SECONDS)
            if ready.kind is not Kind.VALUE:
                raise FrameError(ready.text())
            self.layers = Layers(**ready.value())
        except (ChannelClosed, FrameError, TimeoutError) as error:
            self.close()
            raise HeadscriptError(
                f"The sandbox's process could not be started ({error})."
            ) from None

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._channel.fileno() >= 0 and self._process.poll() is None

    def ask(self, frame: Frame, seconds: float, answers: Answers | None = None) -> Frame:
        """What the parent makes of a frame.

        `seconds` is how long a child may take. Raises WorkerDied where the parent does not answer
        long after that; it is gone then.
        """
        try:
            send(self._channel, frame)
            while True:
                deadline = time.monotonic() + seconds + _GRACE_SECONDS
                found = receive(self._channel, deadline=deadline)
                if found.kind is not Kind.QUESTION:
                    return found
                send(self._channel, _answered(found, answers))
        except (ChannelClosed, FrameError, TimeoutError, ValueError) as error:
            self.close()
            raise WorkerDied(str(error)) from None
        except BaseException:  # an interrupt between question and answer: nothing fits any more
            self.close()
            raise

    def close(self) -> None:
        """End the process; its children end with it."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def _answered(question: Frame, answers: Answers | None) -> Frame:
    if answers is None:
        reason = "only the sentence itself is tokenised and parsed here, not other texts"
        return Frame(Kind.FAILURE, reason.encode())
    try:
        asked = question.value()
        if not isinstance(asked, dict):
            raise FrameError("a question that is none")
        return json_frame(Kind.REPLY, answers(asked))
    except (HeadscriptError, FrameError) as error:
        return Frame(Kind.FAILURE, str(error).encode("utf-8", "replace"))


def _folders() -> list[str]:
    """Where headscript and NumPy are."""
    found = []
    for name in ("headscript", "numpy"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise HeadscriptError(f"The sandbox needs {name} as files on disk.")
        found.append(str(Path(spec.origin).resolve().parent.parent))
    return list(dict.fromkeys(found))

"""The engine of a Ray cluster, as the run's own process sees it.

Ray prints to the terminal, takes over signals and hands on the environment of the process that it
is imported into. So that is another one, a go-between (headscript.engines.actors) that is started
without keys and ends with this process; the cluster then ends what it does for it.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscript.engines import processes
from headscript.engines.engine import place_of
from headscript.engines.worker import Post, standing_of
from headscript.errors import HeadscriptError
from headscript.runs import Run

if TYPE_CHECKING:
    from headscript.models import Model

_SECONDS_TO_CONNECT = 60
_SECONDS_TO_START = 300  # a cluster of its own; a few on a machine that is not busy
_SECONDS_TO_END = 20


class RayEngine:
    """Works on a run by the actors of a Ray cluster: `workers`, or one a core of the cluster.

    `address` is that of a cluster that is there, as HOST:PORT or "auto"; None starts one on this
    machine, which listens on its loopback alone and ends with this engine.
    """

    elsewhere = True

    def __init__(self, run: Run, workers: int | None = None, address: str | None = None) -> None:
        self.peak_bytes = 0
        self._run = run
        self._workers, self._address = workers, address
        self._process: subprocess.Popen[str] | None = None
        self._folder = ""  # of the files of a cluster of its own

    def run(self, items: Sequence[str], *, model: Model | None = None) -> Generator[str]:
        """As `Engine.run`."""
        if not items:
            return
        self._connect()
        place, weights = ("", 0) if model is None else place_of(model)
        folder = self._run.directory.resolve()
        post = Post(str(folder), place, standing=standing_of(folder))
        done = False
        try:
            self._tell({"post": asdict(post), "items": list(items), "weights": weights})
            while "done" in (answer := self._hear()):
                yield answer["done"]
                self._tell("go on")
            self.peak_bytes = max(self.peak_bytes, answer["peak"])
            done = True
        finally:
            if not done:  # what is in hand is given up
                self.close()

    def close(self) -> None:
        """End the go-between, and with it the actors and a cluster of its own."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # which Ray, and so the go-between, takes for an orderly end
            try:
                process.communicate(timeout=_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    # Private -------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._process is not None:
            return
        variables = {**processes.ONE_THREAD, "RAY_USAGE_STATS_ENABLED": "0"}
        if self._address is None:
            # The paths of sockets in here have at most 107 characters.
            short = "/tmp" if Path("/tmp").is_dir() else None
            self._folder = tempfile.mkdtemp(prefix="hs-ray-", dir=short)
            # As Ray has it on systems where it is for one machine alone: listen on the loopback.
            variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            # Others on this machine cannot give it work; without this Ray writes a token to ~/.ray.
            variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._process = processes.start(
            "headscript.engines.actors", variables=variables, quiet=True, folder=os.sep
        )
        connected = False
        try:
            self._tell({"address": self._address, "workers": self._workers, "folder": self._folder})
            own = self._address is None
            self._hear(_SECONDS_TO_START if own else _SECONDS_TO_CONNECT)
            connected = True
        finally:
            if not connected:
                self.close()

    def _tell(self, what: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # that it has ended is seen where it should answer
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    def _hear(self, seconds: float | None = None) -> dict[str, Any]:
        """The next answer; raises HeadscriptError where it is one, or none comes."""
        assert self._process is not None
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(seconds):
                where = "here" if self._address is None else f"at {self._address}"
                raise HeadscriptError(
                    f"The Ray cluster {where} does not answer within {seconds:.0f} seconds; see "
                    "'ray status'."
                )
        line = stream.readline()
        if not line.endswith("\n"):
            raise HeadscriptError(
                "The process that speaks to Ray ended before its time; start again, finished work "
                "is kept."
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HeadscriptError(answer["error"])
        if "broke" in answer:
            raise RuntimeError(answer["broke"])
        return answer

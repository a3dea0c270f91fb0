"""From what a person asks for to an engine that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from headscript.errors import HeadscriptError

if TYPE_CHECKING:
    from headscript.engines.engine import Engine
    from headscript.runs import Run

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineSettings:
    """Which engine, and how many workers it takes."""

    name: str = "local"
    workers: int | None = None
    """None: one a core; where each loads the model and the cluster has GPUs, one a GPU."""
    address: str | None = None
    """Of a Ray cluster, HOST:PORT or "auto"; None starts one on this machine for the time."""

    def checked(self) -> EngineSettings:
        """Itself; raises HeadscriptError where there is no such engine, or it cannot work here."""
        if self.name not in ENGINES:
            raise HeadscriptError(
                f"There is no engine {self.name!r}; choose among {', '.join(ENGINES)}."
            )
        if self.address is not None and self.name != "ray":
            raise HeadscriptError(
                f"The address {self.address} is of a Ray cluster; it goes with --engine ray."
            )
        if self.address is not None and "://" in self.address:
            raise HeadscriptError(
                f"{self.address} is the address of a Ray client server; start headscript on a "
                "machine of the cluster, and name the cluster itself as HOST:PORT or auto."
            )
        if self.name == "ray" and find_spec("ray") is None:
            raise HeadscriptError(
                "The engine ray needs the package ray, which is not here; install "
                "'headscript[ray]'."
            )
        return self


LOCAL = EngineSettings()
"""A process a core of this machine."""


@contextmanager
def open_engine(settings: EngineSettings, run: Run) -> Iterator[Engine]:
    """An engine that works on a run, while inside; raises HeadscriptError as `checked` does.

    A cluster is reached when the first items are given to it.
    """
    settings.checked()
    if settings.name == "ray":
        from headscript.engines.ray import RayEngine

        ray = RayEngine(run, settings.workers, settings.address)
        try:
            yield ray
        finally:
            ray.close()
    else:
        from headscript.engines.local import LocalEngine

        yield LocalEngine(run, settings.workers)

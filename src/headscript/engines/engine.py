"""What an engine is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headscript.models import Model


class Engine(Protocol):
    """Does work items on a run's folder, as many at a time as it has workers."""

    elsewhere: bool
    """Whether its workers may be on other machines. Then passes of the model are spread over them
    too; on this machine those of one process use all cores already."""

    peak_bytes: int
    """Memory of its workers, as if they peaked together; known once they have worked."""

    def run(self, items: Sequence[str], *, model: Model | None = None) -> Generator[str]:
        """Do the items; yields each once, when its file is there.

        An item is a job and what it is done on, as in "judge llm-0 5". `model` is the run's model,
        for items that need one: each worker loads it anew, on a GPU where the cluster has some. No
        worker has more than one item in hand, and none gets another while its last is not taken.
        The item of a worker that dies is given to another one.

        Raises HeadscriptError as the items do, and where no worker can be had or items go on
        killing theirs. Items that were not done then, or when the iterator is closed, are given up.
        """


def place_of(model: Model) -> tuple[str, int]:
    """Where workers find a model, and how many bytes its weights have."""
    path = Path(model.name).expanduser()
    place = str(path.resolve()) if path.exists() else model.name
    parts = (*model.network.parameters(), *model.network.buffers())
    return place, sum(part.numel() * part.element_size() for part in parts)

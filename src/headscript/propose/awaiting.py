"""When a run has to wait for answers that others give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headscript.errors import HeadscriptError


class AnswersAwaited(HeadscriptError):
    """The prompts of a round are written, and not all answers are there yet.

    Nothing went wrong: the run goes on when it is started again with the answers there.
    """

    def __init__(self, folder: Path | None, waiting: int, prompts: int) -> None:
        self.folder = folder
        self.waiting = waiting
        self.prompts = prompts
        where = "the batch" if folder is None else str(folder)
        super().__init__(
            f"{waiting} of {prompts} prompts wait for answers: they are in {where}; put these "
            "there as .jsonl files and start the same command again."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": None if self.folder is None else str(self.folder),
            "waiting": self.waiting,
            "prompts": self.prompts,
        }

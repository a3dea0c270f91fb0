"""What a run has recorded: the heads of a model on the texts of its splits.

A split is read when it is asked for, and whoever asked holds it: nothing of it is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headscript.language import Text
from headscript.language.text import TextReader
from headscript.recording import Recording
from headscript.records import SPLITS
from headscript.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RecordedSplit:
    """The texts of a split, and what the heads do on them."""

    ids: list[str]
    texts: list[Text]
    recording: Recording
    """The heads' patterns on these texts, in their order."""


class Recorded:
    """The heads of a model on the texts of a run; a split is read when it is asked for."""

    def __init__(self, run: Run, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """`tokenizer` is the one that cut the texts (None: it is read from the run's folder).

        Raises HeadscriptError where the run was killed before it knew its model.
        """
        self.run = run
        self.model = run.model
        self._tokenizer = tokenizer

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """What cut the texts; raises HeadscriptError where it cannot be read."""
        if self._tokenizer is not None:
            return self._tokenizer
        from headscript.models.loading import read_tokenizer

        return read_tokenizer(self.run.tokenizer_folder)

    @cached_property
    def read(self) -> TextReader:
        """What makes token ids into texts, the run's or others."""
        return TextReader(self.tokenizer, causal=self.model.causal)

    def split(self, name: str) -> RecordedSplit:
        """The "fit", "select" or "test" texts with their recording.

        Raises HeadscriptError as `recording` does, and where the texts or the tokenizer cannot be
        read.
        """
        recording, texts = self.recording(name), self.run.texts(name)
        return RecordedSplit(
            [text.id for text in texts], [self.read(text.token_ids) for text in texts], recording
        )

    def recording(self, split: str) -> Recording:
        """The heads' patterns on the texts of a split, which stay on disk until they are read.

        Raises HeadscriptError where the recording is not finished, or gone.
        """
        return Recording.open(self.run.recording_folder(split))

    def recordings(self) -> dict[str, Recording]:
        """Those of all splits; raises HeadscriptError as `recording` does."""
        return {split: self.recording(split) for split in SPLITS}

    def sizes(self) -> dict[str, dict[str, int]]:
        """How many "texts" there are, and how many "tokens", each by split."""
        counts = {split: found.token_counts for split, found in self.recordings().items()}
        return {
            "texts": {split: len(each) for split, each in counts.items()},
            "tokens": {split: sum(each) for split, each in counts.items()},
        }

    def facts(self) -> dict[str, Any]:
        """Plain data: what was recorded, and the bytes it takes on disk."""
        recordings = self.recordings()
        patterns = [file for each in recordings.values() for file in each.directory.rglob("*")]
        return {
            "model": self.model.name,
            "architecture": self.model.architecture,
            "causal": self.model.causal,
            "layers": len(self.model.heads_per_layer),
            "heads": len(recordings["test"].heads),
            **self.sizes(),
            "bytes": sum(file.stat().st_size for file in patterns if file.is_file()),
        }

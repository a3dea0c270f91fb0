"""Reading a finished recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.packing import decode, unpack
from headscript.recording.manifests import read_begun, shard_name
from headscript.recording.shard_files import layer_name


class Recording:
    """A finished recording on disk; patterns are read when they are asked for."""

    def __init__(
        self, directory: Path, manifest: dict[str, Any], heads: Sequence[Head] | None = None
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        recorded = [Head.parse(name) for name in manifest["heads"]]
        self.heads: list[Head] = recorded if heads is None else list(heads)
        of_layer: dict[int, list[Head]] = {}
        for head in recorded:
            of_layer.setdefault(head.layer, []).append(head)
        self._rows = {  # of what is kept of a layer, where it is not all
            layer: [of_layer[layer].index(head) for head in self.heads_of(layer)]
            for layer in self.layers
            if self.heads_of(layer) != of_layer[layer]
        }
        self.token_counts: list[int] = manifest["token_counts"]
        self.causal: bool = manifest["causal"]
        self._shard_of = {
            text: number for number, shard in enumerate(manifest["shards"]) for text in shard
        }

    @classmethod
    def open(cls, directory: Path) -> Recording:
        """Open a finished recording; raises HeadscriptError where there is none."""
        begun = read_begun(directory)
        missing = begun.missing()
        if missing:
            raise HeadscriptError(
                f"The recording in {directory} is not finished: {len(missing)} of "
                f"{len(begun.shards)} shards are missing; start it again to go on."
            )
        return cls(directory, begun.manifest)

    def only(self, heads: Sequence[Head]) -> Recording:
        """The same recording of some of its heads, which are read and nothing else.

        Raises HeadscriptError where one was not recorded.
        """
        missing = next((head for head in heads if head not in self.heads), None)
        if missing is not None:
            raise HeadscriptError(f"{missing} is not in the recording {self.directory}.")
        chosen = [head for head in self.heads if head in heads]
        return Recording(self.directory, self.manifest, chosen)

    @property
    def layers(self) -> list[int]:
        """The layers of which at least one head was recorded, sorted."""
        return sorted({head.layer for head in self.heads})

    def heads_of(self, layer: int) -> list[Head]:
        """The recorded heads of a layer, in the order of the rows that `layer` gives."""
        return [head for head in self.heads if head.layer == layer]

    def layer(self, layer: int, texts: Sequence[int] | None = None) -> list[Tensor]:
        """The packed patterns of a layer: per text (heads, cells), float32, as in the texts' order.

        Raises HeadscriptError where the layer or a text was not recorded, or a file is damaged.
        """
        if not self.heads_of(layer):
            raise HeadscriptError(f"Layer {layer} is not in the recording {self.directory}.")
        wanted = range(len(self.token_counts)) if texts is None else texts
        found: dict[int, Tensor] = {}
        by_shard: dict[int, list[int]] = {}
        for text in wanted:
            if text not in self._shard_of:
                raise HeadscriptError(
                    f"Text {text} is not in the recording {self.directory}, which has "
                    f"{len(self.token_counts)}."
                )
            by_shard.setdefault(self._shard_of[text], []).append(text)
        for number, members in by_shard.items():
            file = self.directory / shard_name(number) / layer_name(layer)
            try:
                with safe_open(file, framework="pt") as tensors:
                    for text in members:
                        kept = tensors.get_tensor(str(text))
                        if layer in self._rows:
                            kept = kept[self._rows[layer]]
                        found[text] = self._weights(kept, text)
            except (SafetensorError, OSError) as error:
                raise HeadscriptError(
                    f"The recording is damaged ({file}: {error}); delete {self.directory} and "
                    "record again."
                ) from error
        return [found[text] for text in wanted]

    def pattern(self, head: Head, text: int) -> Tensor:
        """The pattern of one head on one text: (n, n), float32, rows are queries."""
        heads = self.heads_of(head.layer)
        if head not in heads:
            raise HeadscriptError(f"{head} is not in the recording {self.directory}.")
        cells = self.layer(head.layer, [text])[0][heads.index(head)]
        return unpack(cells, self.token_counts[text], self.causal)

    def _weights(self, kept: Tensor, text: int) -> Tensor:
        if kept.dtype == torch.uint8:
            return decode(kept, self.token_counts[text], self.causal)
        return kept.float()

"""The files of a shard: one a layer, in the safetensors format, written text by text.

The sizes of all texts are known before, so a file's header is written first and what a batch gives
goes straight behind it: nothing is gathered in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import torch
from torch import Tensor

_NAMES = {"uint8": "U8", "float16": "F16", "float32": "F32"}


def header_of(cells: Mapping[int, int], num_heads: int, dtype: str, itemsize: int) -> bytes:
    """What a file begins with that holds a tensor (heads, cells) for each text, in this order."""
    tensors = {}
    begin = 0
    for text, number in cells.items():
        end = begin + num_heads * number * itemsize
        tensors[str(text)] = {
            "dtype": _NAMES[dtype],
            "shape": [num_heads, number],
            "data_offsets": [begin, end],
        }
        begin = end
    content = json.dumps(tensors, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)  # the tensors are to begin at a multiple of 8
    return len(content).to_bytes(8, "little") + content


def layer_name(layer: int) -> str:
    """The name of a layer's file."""
    return f"layer-{layer:03d}.safetensors"


class ShardWriter:
    """Writes the files of a shard into a folder while it is open."""

    def __init__(self, folder: Path, headers: Mapping[int, bytes], shard: Sequence[int]) -> None:
        self._folder, self._headers, self._shard = folder, headers, shard
        self._files: dict[int, BinaryIO] = {}
        self._written = dict.fromkeys(headers, 0)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def write(self, layer: int, texts: Sequence[int], patterns: Sequence[Tensor]) -> None:
        """Add the next texts of the shard to a layer's file: (heads, cells) of each."""
        done = self._written[layer]
        if list(texts) != list(self._shard[done : done + len(texts)]):
            raise ValueError(f"texts {texts} are not the next of the shard in layer {layer}")
        if layer not in self._files:
            file = self._folder / layer_name(layer)
            self._files[layer] = self._opened.enter_context(file.open("wb", buffering=0))
            self._put(layer, memoryview(self._headers[layer]))
        together = torch.cat([cells.flatten() for cells in patterns])
        self._put(layer, together.view(torch.uint8).numpy().data)
        self._written[layer] += len(texts)

    def missing(self) -> list[int]:
        """The layers of which not all texts are there."""
        return [layer for layer, done in self._written.items() if done < len(self._shard)]

    def _put(self, layer: int, content: memoryview) -> None:
        while content:  # a system may take a part, as when the disk is all but full
            content = content[self._files[layer].write(content) :]

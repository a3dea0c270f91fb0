"""What a recording will hold and take: its shards, the sizes of its files, its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.packing import num_cells
from headscript.recording.shard_files import header_of

if TYPE_CHECKING:
    from headscript.models import Model

Precision = Literal["uint8", "float16", "float32"]
"""How a weight is kept; "uint8" is the code that `headscript.packing` describes."""

BYTES = {"uint8": 1, "float16": 2, "float32": 4}

_SHARD_BYTES = 256 << 20  # what is done again where a process was killed
_SHARD_TEXTS = 256  # whoever reads one text of a shard's file reads the places of all
_WEIGHTS_BYTES = 64 << 20  # the float32 weights of one layer for one batch


@dataclass(frozen=True)
class RecordingCost:
    """What a recording will take."""

    patterns: int
    """Heads times texts."""
    texts: int
    tokens: int
    """Tokens of all texts together."""
    bytes: int
    """On disk."""
    precision: Precision

    def __str__(self) -> str:
        kept_as = "8-bit codes" if self.precision == "uint8" else self.precision
        return (
            f"{self.patterns:,} patterns of {self.patterns // max(self.texts, 1):,} heads on "
            f"{self.texts:,} texts ({self.tokens:,} tokens): {size_in_words(self.bytes)} on disk "
            f"as {kept_as}"
        )


def estimate(
    model: Model,
    token_counts: Sequence[int],
    heads: Sequence[Head] | None = None,
    *,
    dtype: Precision = "float16",
) -> RecordingCost:
    """Say what recording `heads` (None: all) on texts of these lengths in tokens will take."""
    chosen = checked_heads(model, heads)
    plan = Plan(token_counts, chosen, model.causal, dtype)
    return RecordingCost(
        patterns=len(chosen) * len(token_counts),
        texts=len(token_counts),
        tokens=sum(token_counts),
        bytes=sum(map(plan.shard_bytes, plan.shards())),
        precision=dtype,
    )


@dataclass(frozen=True)
class Plan:
    """Which heads are recorded on texts of which lengths, and how they are kept."""

    token_counts: Sequence[int]
    heads: Sequence[Head]
    causal: bool
    dtype: Precision

    @cached_property
    def heads_of(self) -> dict[int, list[Head]]:
        """The recorded heads of each recorded layer, sorted."""
        layers = sorted({head.layer for head in self.heads})
        return {layer: [head for head in self.heads if head.layer == layer] for layer in layers}

    def shards(self) -> list[list[int]]:
        """Share out the texts, those of like length together."""
        shards: list[list[int]] = []
        filled = 0
        counts = self.token_counts
        for text in sorted(range(len(counts)), key=lambda text: counts[text]):
            size = len(self.heads) * num_cells(counts[text], self.causal) * BYTES[self.dtype]
            if not shards or filled + size > _SHARD_BYTES or len(shards[-1]) == _SHARD_TEXTS:
                shards.append([])
                filled = 0
            shards[-1].append(text)
            filled += size
        return shards

    def shard_bytes(self, shard: Sequence[int]) -> int:
        """What the files of a shard take on disk."""
        layers_of_size = Counter(len(heads) for heads in self.heads_of.values())
        cells = sum(num_cells(self.token_counts[text], self.causal) for text in shard)
        content = len(self.heads) * cells * BYTES[self.dtype]
        headers = sum(
            layers * len(self.header(shard, num_heads))
            for num_heads, layers in layers_of_size.items()
        )
        return headers + content

    def header(self, shard: Sequence[int], num_heads: int) -> bytes:
        """What the file of a layer with so many recorded heads begins with."""
        cells = {text: num_cells(self.token_counts[text], self.causal) for text in shard}
        return header_of(cells, num_heads, self.dtype, BYTES[self.dtype])


def batches(
    shard: Sequence[int], counts: Sequence[int], batch_tokens: int, most_heads: int
) -> Iterator[list[int]]:
    """Cut a shard into batches by their padded size; its texts come in order of length.

    `most_heads` is how many heads a layer has at most. A text that is too large alone is a batch.
    """
    batch: list[int] = []
    for text in shard:
        padded = (len(batch) + 1) * counts[text]
        weights = padded * counts[text] * most_heads * BYTES["float32"]
        if batch and (padded > batch_tokens or weights > _WEIGHTS_BYTES):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def checked_heads(model: Model, heads: Sequence[Head] | None) -> list[Head]:
    """The heads to record (None: all), sorted; raises HeadscriptError on one that is not there."""
    known = set(model.heads)
    chosen = model.heads if heads is None else sorted(set(heads))
    for head in chosen:
        if head not in known:
            raise HeadscriptError(f"There is no head {head} in {model.name}.")
    if not chosen:
        raise HeadscriptError("There is nothing to record: no head was chosen.")
    return chosen


def size_in_words(num_bytes: int) -> str:
    """As in "16 kB"."""
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"

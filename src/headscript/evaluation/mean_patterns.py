"""Each head's mean pattern by position over the fit texts: a baseline that knows no word."""

from __future__ import annotations

from collections.abc import Sequence

from headscript.heads import Head
from headscript.packing import num_cells, unpack
from headscript.recording import Recording
from headscript.runs import Run
from headscript.similarity import MeanByPosition

MEAN = "mean by position"
"""What the baseline is called."""


def mean_of_layer(
    recording: Recording, layer: int, heads: Sequence[Head], longest: int
) -> MeanByPosition:
    """The mean patterns of recorded heads of one layer, in their order, over all texts recorded.

    `longest` is the most tokens of a text that they are asked for.
    """
    recorded = recording.heads_of(layer)
    rows = [recorded.index(head) for head in heads]
    longest = min(longest, max(recording.token_counts))
    mean = MeanByPosition(len(rows), longest, recording.causal)
    for number, count in enumerate(recording.token_counts):
        cells, n = recording.layer(layer, [number])[0][rows], count
        if recording.causal:  # the first rows of a decoder's pattern are its first cells
            n = min(count, mean.longest)
            cells = cells[:, : num_cells(n, causal=True)]
        mean.add(unpack(cells, n, recording.causal))
    return mean


def means_of(run: Run, heads: Sequence[Head], longest: int) -> dict[int, MeanByPosition] | None:
    """Those of heads of a run over its fit texts, by layer; None where their recording is gone.

    The heads of a layer are in the order in which they are given.
    """
    if not (folder := run.recording_folder("fit")).is_dir():
        return None
    recording = Recording.open(folder)
    if not set(heads) <= set(recording.heads):
        return None
    return {
        layer: mean_of_layer(
            recording, layer, [head for head in heads if head.layer == layer], longest
        )
        for layer in sorted({head.layer for head in heads})
    }

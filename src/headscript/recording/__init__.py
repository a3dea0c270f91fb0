"""Recordings: the attention patterns of chosen heads on chosen texts, streamed to disk.

A recording is a folder. Its manifest says what was recorded; each shard holds some texts, one
safetensors file per layer, one tensor (heads, cells) per text. Of a pattern (n, n) only the cells
that can carry weight are kept, row after row (`headscript.packing`). What a layer shows on a batch
is written before the next layer runs. A shard takes its place by a rename once it is complete, so a
killed recording goes on with the first unfinished shard and ends with the same files.
"""

from headscript.recording.making import begin, record, record_shard
from headscript.recording.manifests import Begun
from headscript.recording.planning import Precision, RecordingCost, estimate
from headscript.recording.reading import Recording

__all__ = [
    "Begun",
    "Precision",
    "Recording",
    "RecordingCost",
    "begin",
    "estimate",
    "record",
    "record_shard",
]

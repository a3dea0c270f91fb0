"""Writing attention that is at hand as a recording."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headscript.disk import clear_disk_errors
from headscript.packing import pack_rows
from headscript.recording import Begun, Precision, Recording
from headscript.recording.manifests import FORMAT, begin_folder
from headscript.recording.planning import Plan
from headscript.recording.shard_files import ShardWriter
from headscript.records import ModelFacts

_DTYPE: Precision = "float16"

PatternsOf = Callable[[int], Iterator[Tensor]]
"""Number of a text to each layer's patterns on it, (heads, n, n)."""


def write_recording(
    directory: Path, model: ModelFacts, texts: Sequence[Sequence[int]], patterns: PatternsOf
) -> Recording:
    """Write the patterns of all heads of a model on texts (token ids); what is there is kept.

    As in `headscript.recording.record`, a shard is there as a whole or not at all. Raises
    HeadscriptError where the disk does not take it, or the directory holds another recording.
    """
    plan = Plan([len(ids) for ids in texts], model.heads, model.causal, _DTYPE)
    manifest = {
        "format": FORMAT,
        "model": model.name,
        "weights_hash": model.weights_hash,
        "network_dtype": "unknown",
        "ids_hash": _ids_hash(texts),
        "causal": model.causal,
        "dtype": _DTYPE,
        "batch_tokens": 0,
        "heads": [str(head) for head in model.heads],
        "token_counts": list(plan.token_counts),
        "shards": plan.shards(),
    }
    with clear_disk_errors(directory):
        begun = begin_folder(directory, manifest)
        for part in directory.glob(".shard-*.part"):  # what killed processes left
            shutil.rmtree(part, ignore_errors=True)
        for number in begun.missing():
            _write_shard(begun, number, patterns)
    return Recording.open(directory)


def _write_shard(begun: Begun, number: int, patterns: PatternsOf) -> None:
    folder, plan, shard = begun.folder(number), begun.plan, begun.shards[number]
    headers = {layer: plan.header(shard, len(heads)) for layer, heads in plan.heads_of.items()}
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        with ShardWriter(part, headers, shard) as writer:
            for text in shard:
                for layer, weights in enumerate(patterns(text)):
                    cells = pack_rows(weights, plan.causal).to(torch.float16)
                    writer.write(layer, [text], [cells])
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _ids_hash(texts: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for ids in texts:
        digest.update(len(ids).to_bytes(8, "little"))
        digest.update(np.asarray(ids, dtype=np.int64).tobytes())
    return digest.hexdigest()

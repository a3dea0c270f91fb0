"""Making a recording: forward passes over the texts, shard by shard and batch by batch."""

from __future__ import annotations

import errno
import hashlib
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscript.disk import clear_disk_errors
from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.packing import check_rows, pack
from headscript.recording.manifests import FORMAT, Begun, begin_folder, read_begun
from headscript.recording.planning import Plan, Precision, batches, checked_heads
from headscript.recording.reading import Recording
from headscript.recording.shard_files import ShardWriter

if TYPE_CHECKING:
    from headscript.models import Model

_DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "float32": torch.float32}


def record(
    model: Model,
    texts: Sequence[Sequence[int]],
    directory: Path,
    *,
    heads: Sequence[Head] | None = None,
    dtype: Precision = "float16",
    batch_tokens: int = 4096,
    on_event: Listener = ignore,
) -> Recording:
    """Record the patterns of `heads` (None: all) on `texts` (token ids) into `directory`.

    Held in memory are the patterns of one layer on one batch, however many texts and layers there
    are. A directory in which the same recording was begun is finished; shards that are there are
    not done again. `batch_tokens` is the number of tokens of a batch, padding included; a text of
    more tokens is a batch of its own.

    Raises HeadscriptError on a text that is empty or longer than the model takes, heads the model
    does not have, a directory with another recording or one that cannot be written, and on
    attention that is not finite or whose rows do not sum to 1, naming layer, head and text.
    """
    begun = begin(model, texts, directory, heads=heads, dtype=dtype, batch_tokens=batch_tokens)
    missing = begun.missing()
    done = len(texts) - sum(len(begun.shards[number]) for number in missing)

    def on_texts(some: int) -> None:
        on_event(Event("recording", done + some, len(texts)))

    for number in missing:
        _make_shard(model, texts, begun, number, on_texts)
        done += len(begun.shards[number])
    on_texts(0)
    return Recording.open(directory)


def begin(
    model: Model,
    texts: Sequence[Sequence[int]],
    directory: Path,
    *,
    heads: Sequence[Head] | None = None,
    dtype: Precision = "float16",
    batch_tokens: int = 4096,
) -> Begun:
    """Begin the recording that `record` makes, or see that it was begun; raises as that does.

    Its missing shards are made by `record_shard`, in any order and by any number of processes.
    """
    chosen = checked_heads(model, heads)
    _check_texts(model, texts)
    counts = [len(ids) for ids in texts]
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "model": model.name,
        "weights_hash": model.weights_hash,
        "network_dtype": str(model.network.dtype).removeprefix("torch."),
        "ids_hash": _ids_hash(texts),
        "causal": model.causal,
        "dtype": dtype,
        "batch_tokens": batch_tokens,
        "heads": [str(head) for head in chosen],
        "token_counts": counts,
        "shards": Plan(counts, chosen, model.causal, dtype).shards(),
    }
    with clear_disk_errors(directory):
        begun = begin_folder(directory, manifest)
        for part in directory.glob(".shard-*.part"):  # what killed processes left
            shutil.rmtree(part, ignore_errors=True)
    return begun


def record_shard(
    model: Model, texts: Sequence[Sequence[int]], directory: Path, number: int
) -> None:
    """Make one shard of a recording that was begun with this model and these texts.

    Several processes may make the same: the first one's stays. Raises HeadscriptError as `record`
    does, and where another recording was begun there, or none.
    """
    begun = read_begun(directory)
    for key, here in (("weights_hash", model.weights_hash), ("ids_hash", _ids_hash(texts))):
        if begun.manifest[key] != here:
            raise HeadscriptError(f"{directory} holds another recording (different: {key}).")
    _make_shard(model, texts, begun, number, lambda some: None)


def _make_shard(
    model: Model,
    texts: Sequence[Sequence[int]],
    begun: Begun,
    number: int,
    on_texts: Callable[[int], None],
) -> None:
    """Record the texts of a shard beside its place, and rename; another one's that is there stays.

    `on_texts` hears how many of its texts the model has seen.
    """
    folder, plan, shard = begun.folder(number), begun.plan, begun.shards[number]
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    with clear_disk_errors(begun.directory):
        part.mkdir()
        try:
            headers = {
                layer: plan.header(shard, len(heads)) for layer, heads in plan.heads_of.items()
            }
            with ShardWriter(part, headers, shard) as writer:
                done = 0
                batch_tokens = begun.manifest["batch_tokens"]
                most_heads = max(model.heads_per_layer)
                for batch in batches(shard, plan.token_counts, batch_tokens, most_heads):
                    _record_batch(model, [texts[text] for text in batch], batch, plan, writer)
                    done += len(batch)
                    on_texts(done)
                if missing := writer.missing():
                    raise HeadscriptError(
                        f"{model.name} did not show the attention of layer {missing[0]}."
                    )
            with suppress(FileExistsError):
                _take_place(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


class _Seen(Exception):
    """All that is recorded of a forward pass was seen, and the rest of it need not be run."""


def _record_batch(
    model: Model,
    texts: Sequence[Sequence[int]],
    batch: Sequence[int],
    plan: Plan,
    writer: ShardWriter,
) -> None:
    """Run the model on texts, which are those numbered `batch`, and write what it attends to."""
    # Two seconds of imports that those who only read a recording need not pay.
    from headscript.models import observed
    from headscript.models.probe import padding_id, run_backbone

    counts = [len(text) for text in texts]
    ids = torch.full((len(texts), max(counts)), padding_id(model.network))
    real = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        real[row, : len(text)] = 1
    waiting = set(plan.heads_of)

    def keep(layer: int, weights: Tensor) -> None:
        chosen = plan.heads_of[layer]
        if len(chosen) < weights.shape[1]:
            weights = weights[:, [head.head for head in chosen]]
        check_rows(weights, real.to(weights.device), chosen, batch)
        writer.write(layer, batch, pack(weights, counts, plan.causal, _DTYPES[plan.dtype]))
        waiting.discard(layer)
        if not waiting:
            raise _Seen

    with (
        torch.no_grad(),
        suppress(_Seen),
        observed(model.network, plan.heads_of, keep, mixed_by_weights=True),
    ):
        run_backbone(model.network, ids.to(model.device), real.to(model.device))


def _check_texts(model: Model, texts: Sequence[Sequence[int]]) -> None:
    if not texts:
        raise HeadscriptError("There is nothing to record: no text was given.")
    for number, ids in enumerate(texts):
        if not ids:
            raise HeadscriptError(f"Text {number} is empty: it has no tokens to record.")
        if len(ids) > model.max_tokens:
            raise HeadscriptError(
                f"Text {number} has {len(ids)} tokens, more than the {model.max_tokens} that "
                f"{model.name} takes; shorten it, or have texts cut."
            )


def _ids_hash(texts: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for ids in texts:
        digest.update(len(ids).to_bytes(8, "little"))
        digest.update(torch.tensor(ids, dtype=torch.int64).numpy().tobytes())
    return digest.hexdigest()


def _take_place(part: Path, folder: Path) -> None:
    """Rename a folder; raises FileExistsError where another has that name and is not empty."""
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # what POSIX lets a system say in place of EEXIST
            raise FileExistsError from error
        raise

"""Recordings: the attention patterns of chosen heads on chosen texts, streamed to disk.

A recording is a folder. Its manifest says what was recorded; each shard holds some texts, one
safetensors file per layer, one tensor (heads, cells) per text. Of a pattern (n, n) only the cells
that can carry weight are kept, row after row: in a decoder row i has its i + 1 first cells, in an
encoder all n. A shard takes its place by a rename once it is complete, so a killed recording goes
on with the first unfinished shard and ends with the same files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.packing import check_rows, num_cells, pack, unpack

if TYPE_CHECKING:
    from headscript.models import Model

Precision = Literal["float16", "float32"]

_FORMAT = 1
_MANIFEST = "recording.json"
_DTYPES = {"float16": torch.float16, "float32": torch.float32}
_SHARD_BYTES = 256 << 20  # what is held in memory before it is written
_WEIGHTS_BYTES = 256 << 20  # the unpacked float32 weights of one layer for one batch


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
        return (
            f"{self.patterns:,} patterns of {self.patterns // max(self.texts, 1):,} heads on "
            f"{self.texts:,} texts ({self.tokens:,} tokens): {_size(self.bytes)} on disk as "
            f"{self.precision}"
        )


def estimate(
    model: Model,
    token_counts: Sequence[int],
    heads: Sequence[Head] | None = None,
    *,
    dtype: Precision = "float16",
) -> RecordingCost:
    """Say what recording `heads` (None: all) on texts of these lengths in tokens will take."""
    num_heads = len(_checked_heads(model, heads))
    cells = sum(num_cells(n, model.causal) for n in token_counts)
    return RecordingCost(
        patterns=num_heads * len(token_counts),
        texts=len(token_counts),
        tokens=sum(token_counts),
        bytes=num_heads * cells * _DTYPES[dtype].itemsize,
        precision=dtype,
    )


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

    Memory does not grow with the number of texts. A directory in which the same recording was begun
    is finished; shards that are there are not done again. `batch_tokens` is the number of tokens of
    a batch, padding included; a text of more tokens is a batch of its own.

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


@dataclass(frozen=True)
class Begun:
    """A recording of which the manifest is there, and perhaps some shards."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def shards(self) -> list[list[int]]:
        """The texts of each shard."""
        found: list[list[int]] = self.manifest["shards"]
        return found

    def missing(self) -> list[int]:
        """The shards that are not there yet."""
        return [
            number
            for number in range(len(self.shards))
            if not (self.directory / _shard_name(number)).is_dir()
        ]


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
    chosen = _checked_heads(model, heads)
    _check_texts(model, texts)
    counts = [len(ids) for ids in texts]
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "model": model.name,
        "weights_hash": model.weights_hash,
        "network_dtype": str(model.network.dtype).removeprefix("torch."),
        "ids_hash": _ids_hash(texts),
        "causal": model.causal,
        "dtype": dtype,
        "batch_tokens": batch_tokens,
        "heads": [str(head) for head in chosen],
        "token_counts": counts,
        "shards": _plan_shards(counts, len(chosen), model.causal, _DTYPES[dtype]),
    }
    with _clear_disk_errors(directory):
        _begin(directory, manifest, estimate(model, counts, chosen, dtype=dtype))
        for part in directory.glob(".shard-*.part"):  # what killed processes left
            shutil.rmtree(part, ignore_errors=True)
    return Begun(directory, manifest)


def record_shard(
    model: Model, texts: Sequence[Sequence[int]], directory: Path, number: int
) -> None:
    """Make one shard of a recording that was begun with this model and these texts.

    Several processes may make the same: the first one's stays. Raises HeadscriptError as `record`
    does, and where another recording was begun there, or none.
    """
    manifest = _read_manifest(directory)
    if manifest is None:
        raise HeadscriptError(f"{directory} holds no recording.")
    for key, here in (("weights_hash", model.weights_hash), ("ids_hash", _ids_hash(texts))):
        if manifest[key] != here:
            raise HeadscriptError(f"{directory} holds another recording (different: {key}).")
    _make_shard(model, texts, Begun(directory, manifest), number, lambda some: None)


class Recording:
    """A finished recording on disk; patterns are read when they are asked for."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest
        self.heads: list[Head] = [Head.parse(name) for name in manifest["heads"]]
        self.token_counts: list[int] = manifest["token_counts"]
        self.causal: bool = manifest["causal"]
        self._shard_of = {
            text: number for number, shard in enumerate(manifest["shards"]) for text in shard
        }

    @classmethod
    def open(cls, directory: Path) -> Recording:
        """Open a finished recording; raises HeadscriptError where there is none."""
        manifest = _read_manifest(directory)
        if manifest is None:
            raise HeadscriptError(f"{directory} holds no recording.")
        missing = [
            number
            for number in range(len(manifest["shards"]))
            if not (directory / _shard_name(number)).is_dir()
        ]
        if missing:
            raise HeadscriptError(
                f"The recording in {directory} is not finished: {len(missing)} of "
                f"{len(manifest['shards'])} shards are missing; start it again to go on."
            )
        return cls(directory, manifest)

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
            file = self.directory / _shard_name(number) / _layer_name(layer)
            try:
                with safe_open(file, framework="pt") as tensors:
                    for text in members:
                        found[text] = tensors.get_tensor(str(text)).float()
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
    manifest = begun.manifest
    folder = begun.directory / _shard_name(number)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    with _clear_disk_errors(begun.directory):
        part.mkdir()
        try:
            layers = _record_shard(
                model,
                texts,
                begun.shards[number],
                [Head.parse(name) for name in manifest["heads"]],
                _DTYPES[manifest["dtype"]],
                manifest["batch_tokens"],
                on_texts,
            )
            for layer, tensors in layers.items():
                (part / _layer_name(layer)).write_bytes(save(tensors))
            with suppress(FileExistsError):
                _take_place(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _record_shard(
    model: Model,
    texts: Sequence[Sequence[int]],
    shard: Sequence[int],
    heads: Sequence[Head],
    dtype: torch.dtype,
    batch_tokens: int,
    on_texts: Callable[[int], None],
) -> dict[int, dict[str, Tensor]]:
    """Record the texts of one shard: layer -> text -> (heads, cells)."""
    # Two seconds of imports that those who only read a recording need not pay.
    from headscript.models import observed
    from headscript.models.probe import padding_id, run_backbone

    layers = sorted({head.layer for head in heads})
    heads_of = {layer: [head for head in heads if head.layer == layer] for layer in layers}
    recorded: dict[int, dict[str, Tensor]] = {layer: {} for layer in layers}
    done = 0
    for batch in _batches(shard, [len(ids) for ids in texts], batch_tokens, model.heads_per_layer):
        longest = max(len(texts[text]) for text in batch)
        ids = torch.full((len(batch), longest), padding_id(model.network))
        real = torch.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(texts[text])] = torch.tensor(texts[text])
            real[row, : len(texts[text])] = 1

        def keep(
            layer: int, weights: Tensor, batch: Sequence[int] = batch, real: Tensor = real
        ) -> None:
            chosen = heads_of[layer]
            if len(chosen) < weights.shape[1]:
                weights = weights[:, [head.head for head in chosen]]
            check_rows(weights, real.to(weights.device), chosen, batch)
            counts = [len(texts[text]) for text in batch]
            packed = pack(weights, counts, model.causal, dtype)
            recorded[layer].update(
                (str(text), cells) for text, cells in zip(batch, packed, strict=True)
            )

        with torch.no_grad(), observed(model.network, layers, keep):
            run_backbone(model.network, ids.to(model.device), real.to(model.device))
        done += len(batch)
        on_texts(done)
    for layer, tensors in recorded.items():
        if len(tensors) != len(shard):
            raise HeadscriptError(f"{model.name} did not show the attention of layer {layer}.")
    return recorded


def _plan_shards(
    counts: Sequence[int], num_heads: int, causal: bool, dtype: torch.dtype
) -> list[list[int]]:
    """Share out the texts, those of like length together, so that a shard fits in memory."""
    shards: list[list[int]] = []
    filled = 0
    for text in sorted(range(len(counts)), key=lambda text: counts[text]):
        size = num_heads * num_cells(counts[text], causal) * dtype.itemsize
        if not shards or filled + size > _SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(text)
        filled += size
    return shards


def _batches(
    shard: Sequence[int], counts: Sequence[int], batch_tokens: int, heads_per_layer: Sequence[int]
) -> Iterator[list[int]]:
    """Cut a shard into batches by their padded size; its texts come in order of length."""
    batch: list[int] = []
    for text in shard:
        padded = (len(batch) + 1) * counts[text]
        weights = padded * counts[text] * max(heads_per_layer) * torch.float32.itemsize
        if batch and (padded > batch_tokens or weights > _WEIGHTS_BYTES):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _checked_heads(model: Model, heads: Sequence[Head] | None) -> list[Head]:
    known = set(model.heads)
    chosen = model.heads if heads is None else sorted(set(heads))
    for head in chosen:
        if head not in known:
            raise HeadscriptError(f"There is no head {head} in {model.name}.")
    if not chosen:
        raise HeadscriptError("There is nothing to record: no head was chosen.")
    return chosen


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


def _begin(directory: Path, manifest: dict[str, Any], cost: RecordingCost) -> None:
    """Write the manifest, or see that the one there is of the same recording."""
    directory.mkdir(parents=True, exist_ok=True)
    begun = _read_manifest(directory)
    if begun is None:
        _check_room(directory, cost.bytes)
        part = directory / f".{_MANIFEST}.part"
        part.write_text(json.dumps(manifest))
        part.rename(directory / _MANIFEST)
        return
    # The name may differ: the same weights can be reached by several.
    different = [key for key in manifest if key != "model" and manifest[key] != begun.get(key)]
    if different:
        raise HeadscriptError(
            f"{directory} holds another recording (different: {', '.join(different)}); choose "
            "another directory, or delete this one."
        )
    shards = manifest["shards"]
    missing = sum(not (directory / _shard_name(number)).is_dir() for number in range(len(shards)))
    _check_room(directory, cost.bytes * missing // len(shards))


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise HeadscriptError(
            f"The recording needs {_size(needed)}, but only {_size(free)} are free in {directory}; "
            "record fewer texts, tokens or heads, or choose another place."
        )


def _read_manifest(directory: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HeadscriptError(
            f"The recording in {directory} cannot be read ({error}); delete it and record again."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise HeadscriptError(
            f"The recording in {directory} was made by another version; delete it and record again."
        )
    return manifest


@contextmanager
def _clear_disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; make room and start again, nothing finished is lost",
            errno.EDQUOT: "the quota is used up; make room and start again",
            errno.EACCES: "no permission; choose another directory",
            errno.EPERM: "no permission; choose another directory",
            errno.EROFS: "the disk is read-only; choose another directory",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise HeadscriptError(
            f"The recording cannot be written to {directory}: {reason}."
        ) from error


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


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}"


def _layer_name(layer: int) -> str:
    return f"layer-{layer:03d}.safetensors"


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"

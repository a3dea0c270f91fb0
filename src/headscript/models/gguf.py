"""GGUF files: dequantised once by transformers, then kept as a safetensors folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    modeling_gguf_pytorch_utils,
)

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.models.cache import built_once
from headscript.models.weights import file_hash, first_line, quiet

_MAGIC = b"GGUF"


def dequantised(file: Path, *, on_event: Listener = ignore) -> tuple[Path, str]:
    """Give the cached float32 folder of a GGUF file and the file's SHA-256.

    The first call dequantises (tens of seconds); later ones hash the file and find the folder.
    Raises HeadscriptError where the file is none, is truncated or holds an unknown architecture.
    """
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
        digest = file_hash(file) if magic == _MAGIC else ""
    except OSError as error:
        raise HeadscriptError(f"{file} cannot be read: {error.strerror or error}.") from error
    if not digest:
        raise HeadscriptError(f"{file} is not a GGUF file: it does not begin with the bytes GGUF.")

    def build(folder: Path) -> str:
        dequantise(file, folder, on_event=on_event)
        return digest

    return built_once(f"gguf-{digest[:16]}", build)


def dequantise(file: Path, folder: Path, *, on_event: Listener = ignore) -> None:
    """Write the network and tokenizer of a GGUF file to `folder` in float32."""
    on_event(Event("loading", 0, 0, f"dequantising {file.name} (once)"))
    try:
        with quiet(), _counting(on_event):
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
            network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, dtype=torch.float32
            )
    except Exception as error:  # transformers and gguf raise what they like on a broken file
        raise HeadscriptError(
            f"{file.name} cannot be read as a GGUF model ({first_line(error)}); it may be "
            "truncated, or of an architecture that transformers does not read from GGUF."
        ) from error
    # The weights are plain float32 now; what remembers the quantisation would forbid saving them.
    network.hf_quantizer = None  # type: ignore[assignment]
    network.config.__dict__.pop("quantization_config", None)
    with quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _counting(on_event: Listener) -> Iterator[None]:
    """Turn the bar that transformers draws while it dequantises into events."""

    def count(tensors: Sequence[Any], **_: object) -> Iterator[Any]:
        for done, tensor in enumerate(tensors):
            on_event(Event("loading", done, len(tensors), "dequantising"))
            yield tensor

    names: dict[str, Any] = vars(modeling_gguf_pytorch_utils)
    drawn = names["tqdm"]
    names["tqdm"] = count
    try:
        yield
    finally:
        names["tqdm"] = drawn

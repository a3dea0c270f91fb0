"""Weight files: finding them, hashing them, and reading them without transformers' chatter."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers.utils import logging as hf_logging


def weight_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face model folder that hold its weights, in name order."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def file_hash(*files: Path) -> str:
    """SHA-256 of the contents of files, one after another, as hexadecimal."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def tensor_hash(network: nn.Module) -> str:
    """SHA-256 over the names, types and values of a network's tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and its hub client from printing and drawing bars for a while."""
    hub = logging.getLogger("huggingface_hub")
    level, verbosity, bars = (
        hub.level,
        hf_logging.get_verbosity(),
        hf_logging.is_progress_bar_enabled(),
    )
    hub.setLevel(logging.ERROR)
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hub.setLevel(level)
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def first_line(error: Exception) -> str:
    """The first line of what somebody else's error says, to be quoted in a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__

"""Files of attention made for tests: random patterns in words "w4" to "w63", and what is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.models.networks import tokenizer
from torch import Tensor

from headscript.attention_files import save_attention

LAYERS, HEADS = 2, 3


def patterns(tokens: int, *, seed: int = 0, causal: bool = True, layers: int = LAYERS) -> Tensor:
    """Random attention (layers, heads, n, n) of a decoder or an encoder."""
    draw = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(layers, HEADS, tokens, tokens, generator=draw)
    if causal:
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(-1)


def ids(tokens: int, *, seed: int = 0) -> list[int]:
    """Ids of words, no special token among them."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(4, 64, (tokens,), generator=draw).tolist()


def save_tokenizer(folder: Path) -> Path:
    """The tokenizer of one token a word."""
    tokenizer().save_pretrained(folder)
    return folder


def save_files(folder: Path, number: int = 5, suffix: str = ".npz", **more: Any) -> list[Path]:
    """A file for each of some texts of 6 to 9 tokens; the first file is the shortest text's."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place in range(number):
        n = 6 + place % 4
        file = folder / f"text{place}{suffix}"
        save_attention(file, patterns(n, seed=place, **more), ids(n, seed=place), model="toy")
        files.append(file)
    return files


def plain(tokens: int = 5, *, seed: int = 0) -> dict[str, Any]:
    """The plain form as a value, to be spoiled and written as JSON."""
    return {"token_ids": ids(tokens, seed=seed), "attention": patterns(tokens, seed=seed).tolist()}


def write_json(file: Path, value: Any) -> Path:
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def write_npz(file: Path, **arrays: Any) -> Path:
    """Arrays as they are, objects too."""
    np.savez(file, **arrays)
    return file

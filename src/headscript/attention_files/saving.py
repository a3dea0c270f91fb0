"""Writing attention in the plain form, from whatever recorded it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError


def save_attention(
    file: str | Path,
    attention: Tensor | np.ndarray,
    token_ids: Sequence[int] | None = None,
    *,
    tokens: Sequence[str] | None = None,
    text: str | None = None,
    model: str | None = None,
    part: str | None = None,
) -> None:
    """Write the attention of all heads on one text, for `headscript record --import`.

    `attention` is (layers, heads, n, n) after the softmax, rows are queries; of the tokens their
    ids or strings are given. The end of the file's name, .npz, .safetensors or .json, is its form;
    numbers keep their precision, but for bfloat16 in .npz and .json, which becomes float32.

    Raises HeadscriptError where the file has another end or cannot be written.
    """
    file = Path(file).expanduser()
    values = torch.as_tensor(attention).detach().cpu().contiguous()
    named = {"text": text, "model": model, "part": part}
    said = {name: value for name, value in named.items() if value is not None}
    lists = {
        name: list(value)
        for name, value in (("token_ids", token_ids), ("tokens", tokens))
        if value is not None
    }
    if file.suffix == ".safetensors":
        metadata = dict(said)
        if "tokens" in lists:
            metadata["tokens"] = json.dumps(lists["tokens"])
        tensors = {"attention": values}
        if "token_ids" in lists:
            tensors["token_ids"] = torch.tensor(lists["token_ids"], dtype=torch.int64)
        content = save(tensors, metadata)
    elif file.suffix == ".npz":
        stream = io.BytesIO()
        arrays: dict[str, Any] = {name: np.array(v) for name, v in {**said, **lists}.items()}
        np.savez_compressed(stream, **arrays, attention=_numpy(values))
        content = stream.getvalue()
    elif file.suffix == ".json":
        content = json.dumps({**said, **lists, "attention": _numpy(values).tolist()}).encode()
    else:
        raise HeadscriptError(f"{file} must end in .npz, .safetensors or .json.")
    write_atomically(file, content)


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return array

"""Files of attention as JSON: the plain form, and that of Transformer Explainer's examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headscript.attention_files.text import FIELDS, AttentionText
from headscript.errors import HeadscriptError

MAX_BYTES = 256 << 20
"""Of a file; JSON takes many times its size in memory while it is read."""

_ALIASES = {"tokenIds": "token_ids", "prompt": "text"}
_BY_HEAD = "attention_softmax_by_layer_head"
_ATTENTION = ("attention", _BY_HEAD)
_HEAD = re.compile(r"(?:L(\d+)H(\d+))|(?:(\d+)\.(\d+))", re.IGNORECASE)


def read_json(file: Path) -> list[AttentionText]:
    """The texts of a JSON file.

    Raises HeadscriptError where it is no JSON, too large, or of another form.
    """
    found = _parsed(file)
    listed = found.get("texts")
    if listed is None:
        return [_text(file, None, found)]
    if not isinstance(listed, list) or not listed:
        raise HeadscriptError(f"The 'texts' in {file} must be a list with a text at least.")
    shared = {name: found[name] for name in ("model",) if name in found}
    texts = []
    for number, each in enumerate(listed):
        if not isinstance(each, dict):
            raise HeadscriptError(f"Text {number} of {file} is no JSON object.")
        texts.append(_text(file, number, shared | each))
    return texts


def _text(file: Path, number: int | None, found: Mapping[str, Any]) -> AttentionText:
    place = str(file) if number is None else f"text {number} of {file}"
    said = {_ALIASES.get(name, name): value for name, value in found.items()}
    attention = _attention(place, found)
    name = file.stem if number is None else f"{file.stem}.{number}"

    def layers() -> Iterator[Tensor]:  # held in memory, a fifth of the file's size
        return map(torch.from_numpy, attention)

    known = {key: said.get(key) for key in FIELDS}
    return AttentionText.of(place, name, attention.shape, known, layers)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise HeadscriptError(
                f"{file} has {size >> 20} MB, and JSON is read up to {MAX_BYTES >> 20}; save it as "
                ".npz or .safetensors."
            )
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise HeadscriptError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise HeadscriptError(f"{file} is no JSON that can be read.") from error
    if not isinstance(found, dict):
        raise HeadscriptError(f"{file} holds no JSON object with 'attention' and 'tokens'.")
    return found


def _attention(place: str, found: Mapping[str, Any]) -> np.ndarray:
    """The patterns (layers, heads, n, n), float32."""
    name = next((name for name in _ATTENTION if name in found), None)
    if name is None:
        raise HeadscriptError(
            f"{place} has no 'attention'; docs/importing.md has the form of such files."
        )
    value = found[name]
    if isinstance(value, dict):
        value = _by_head(place, name, value)
    try:
        attention = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise HeadscriptError(_uneven(place, name)) from error
    if attention.dtype.kind not in "fiu":
        raise HeadscriptError(_uneven(place, name))
    # Whole numbers and those beyond float32 may stand in a hostile file; the check finds them.
    with np.errstate(over="ignore"):
        return attention.astype(np.float32)


def _by_head(place: str, name: str, found: Mapping[str, Any]) -> list[list[Any]]:
    """Patterns by the names of heads, "L5H3" or "5.3", as nested lists."""
    patterns: dict[tuple[int, int], Any] = {}
    for head, pattern in found.items():
        match = _HEAD.fullmatch(head)
        if match is None or len(head) > 12:
            raise HeadscriptError(
                f"The {name!r} in {place} has the key {head[:20]!r}, which is no name of a head "
                "such as 'L5H3' or '5.3'."
            )
        layer, number = (int(part) for part in match.groups() if part is not None)
        patterns[layer, number] = pattern.get("data") if isinstance(pattern, dict) else pattern
    layers = 1 + max((layer for layer, _ in patterns), default=-1)
    heads = 1 + max((number for _, number in patterns), default=-1)
    if not patterns or len(patterns) != layers * heads:
        raise HeadscriptError(
            f"The {name!r} in {place} must have all heads of all layers, as many in each; it has "
            f"{len(patterns)} of {layers} x {heads}."
        )
    return [[patterns[layer, number] for number in range(heads)] for layer in range(layers)]


def _uneven(place: str, name: str) -> str:
    return (
        f"The {name!r} in {place} must be nested lists of numbers, layers x heads x n x n, each as "
        "long as its neighbours."
    )

"""Files of attention as arrays: .npz and .safetensors, a layer at a time and without pickle."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headscript.attention_files.text import FIELDS, AttentionText
from headscript.errors import HeadscriptError

MAX_SMALL_BYTES = 64 << 20
"""Of an array that is no attention."""

_ATTENTION = "attention"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_WHOLE = {"I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64"}
_TAILS = {"tokens", "text", "part", "model", "id"}  # what safetensors can say as metadata alone


def read_npz(file: Path) -> list[AttentionText]:
    """The texts of a .npz file; raises HeadscriptError where it is damaged or of another form."""
    with _reading(file), zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        texts = []
        for tail in _tails(file, names):
            place = _place(file, tail)
            with _array(archive, f"{_ATTENTION}{tail}", place) as (shape, dtype, _):
                if dtype.kind != "f":
                    raise HeadscriptError(_no_floats(place, str(dtype)))
            said = {
                name: _small(archive, key, place)
                for name, key in _fields(tail)
                if key in names  # a name may be given for all texts, or for one
            }
            texts.append(
                AttentionText.of(place, file.stem + tail, shape, said, _NpzLayers(file, tail))
            )
    return texts


def read_safetensors(file: Path) -> list[AttentionText]:
    """The texts of a .safetensors file; raises HeadscriptError as `read_npz` does."""
    with _reading(file), safe_open(file, framework="pt") as tensors:
        names, metadata = list(tensors.keys()), tensors.metadata() or {}
        texts = []
        for tail in _tails(file, names):
            place = _place(file, tail)
            whole = tensors.get_slice(f"{_ATTENTION}{tail}")
            if whole.get_dtype() not in _FLOATS:
                raise HeadscriptError(_no_floats(place, whole.get_dtype()))
            said: dict[str, Any] = {}
            for name, key in _fields(tail):
                if name in _TAILS and key in metadata:
                    said[name] = metadata[key]
                elif name == "token_ids" and key in names:
                    said[name] = _ids(tensors, key, place)
            if "tokens" in said:
                said["tokens"] = _json_list(place, said["tokens"])
            layers = _SafetensorsLayers(file, tail)
            texts.append(AttentionText.of(place, file.stem + tail, whole.get_shape(), said, layers))
    return texts


class _NpzLayers:
    """Reads the attention of one text layer by layer."""

    def __init__(self, file: Path, tail: str) -> None:
        self._file, self._tail = file, tail

    def __call__(self) -> Iterator[Tensor]:
        place = _place(self._file, self._tail)
        with (
            _reading(self._file),
            zipfile.ZipFile(self._file) as archive,
            _array(archive, f"{_ATTENTION}{self._tail}", place) as (shape, dtype, stream),
        ):
            size = prod(shape[1:]) * dtype.itemsize
            for _ in range(shape[0]):
                values = np.frombuffer(stream.read(size), dtype).reshape(shape[1:])
                with np.errstate(over="ignore"):  # the check finds what float32 has not
                    yield torch.from_numpy(values.astype(np.float32))


class _SafetensorsLayers:
    """Reads the attention of one text layer by layer."""

    def __init__(self, file: Path, tail: str) -> None:
        self._file, self._tail = file, tail

    def __call__(self) -> Iterator[Tensor]:
        with _reading(self._file), safe_open(self._file, framework="pt") as tensors:
            whole = tensors.get_slice(f"{_ATTENTION}{self._tail}")
            for layer in range(whole.get_shape()[0]):
                yield whole[layer : layer + 1][0].float()


def _tails(file: Path, names: Sequence[str]) -> list[str]:
    """What follows "attention" in the names of arrays: "" alone, or ".0", ".1" and so on."""
    found = [name.removeprefix(_ATTENTION) for name in names if name.startswith(_ATTENTION)]
    tails = [tail for tail in found if not tail or (tail[0] == "." and len(tail) > 1)]
    if not tails:
        raise HeadscriptError(
            f"{file} has no array 'attention'; docs/importing.md has the form of such files."
        )
    if len(set(tails)) < len(tails) or ("" in tails and len(tails) > 1):
        raise HeadscriptError(
            f"{file} has several arrays 'attention'; name them attention.0, attention.1 and so on, "
            "each once."
        )
    # By number where they are numbers, so that text 10 does not come before text 2.
    return sorted(tails, key=lambda tail: (len(tail), tail) if tail[1:].isdecimal() else (0, tail))


def _fields(tail: str) -> Iterator[tuple[str, str]]:
    """Names of what may be said of a text, with those in the file; the text's own last."""
    yield "model", "model"
    for name in FIELDS:
        yield name, f"{name}{tail}"


def _place(file: Path, tail: str) -> str:
    return f"{tail[1:]!r} of {file}" if tail else str(file)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Whatever the readers raise becomes one sentence."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        SafetensorError,
        ValueError,
        KeyError,
    ) as error:
        raise HeadscriptError(
            f"{file} is damaged, or not what its name says: it cannot be read."
        ) from error
    except OSError as error:
        raise HeadscriptError(f"{file} cannot be read: {error.strerror or error}.") from error


# npz ---------------------------------------------------------------------------------------------


@contextmanager
def _array(
    archive: zipfile.ZipFile, name: str, place: str
) -> Iterator[tuple[tuple[int, ...], np.dtype[Any], IO[bytes]]]:
    """Shape, type and values of an array that are as many as its header says, and no objects."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as stream:
        shape, fortran, dtype = _header(stream)
        if dtype.kind == "O":
            raise HeadscriptError(
                f"The array {name!r} in {place} holds Python objects, which could run code when "
                "they are read; save numbers or strings, as numpy.array(..., dtype=str) makes them."
            )
        if fortran and len(shape) > 1:
            raise HeadscriptError(
                f"The array {name!r} in {place} is in Fortran's order; save what "
                "numpy.ascontiguousarray makes of it."
            )
        if min(shape, default=1) < 0 or prod(shape) * dtype.itemsize != (
            entry.file_size - stream.tell()
        ):
            raise ValueError("a header that does not fit")
        yield shape, dtype, stream


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of an array; raises ValueError where damaged."""
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("a header of another version")
        found: tuple[tuple[int, ...], bool, np.dtype[Any]] = npy.read_array_header_1_0(stream)
    except (zipfile.BadZipFile, zlib.error, OSError):
        raise
    except Exception as error:  # a parser of Python reads headers, and raises what it likes
        raise ValueError("a header that cannot be read") from error
    return found


def _small(archive: zipfile.ZipFile, name: str, place: str) -> Any:
    """What an array of strings or whole numbers says, as plain Python values."""
    with _array(archive, name, place) as (shape, dtype, stream):
        size = prod(shape) * dtype.itemsize
        if size > MAX_SMALL_BYTES:
            raise HeadscriptError(f"The array {name!r} in {place} is too large: {size:,} bytes.")
        if dtype.kind not in "Uiu" or not dtype.itemsize:
            raise HeadscriptError(
                f"The array {name!r} in {place} must hold strings or whole numbers, not {dtype}."
            )
        return np.frombuffer(stream.read(size), dtype).reshape(shape).tolist()


# safetensors -------------------------------------------------------------------------------------


def _ids(tensors: Any, name: str, place: str) -> list[int]:
    part = tensors.get_slice(name)
    if part.get_dtype() not in _WHOLE or prod(part.get_shape()) * 8 > MAX_SMALL_BYTES:
        raise HeadscriptError(f"The tensor {name!r} in {place} must be a list of whole numbers.")
    ids: list[int] = tensors.get_tensor(name).tolist()
    return ids


def _json_list(place: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise HeadscriptError(
            f"The 'tokens' in the metadata of {place} must be a list of strings as JSON."
        ) from None


def _no_floats(place: str, kind: str) -> str:
    return f"The attention in {place} must be of floating-point numbers, not {kind.lower()}."

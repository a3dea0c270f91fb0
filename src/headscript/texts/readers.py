"""Rows of text from files and folders; every mistake in a file is named with its place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headscript.errors import HeadscriptError

SUFFIXES = (".txt", ".jsonl", ".parquet")
SEPARATOR = "<|endoftext|>"
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")

Row = tuple[str, dict[str, object]]
"""Where it stands, as an error would say it ("line 3 of x.jsonl"), and its fields."""


def rows_of_file(path: Path, field: str) -> Iterator[Row]:
    """The rows of a .txt, .jsonl or .parquet file; those of a .txt file have their text in `field`.

    Raises HeadscriptError where the file cannot be read, is empty, or is not what its suffix says.
    """
    readers: dict[str, Callable[[Path, str], Iterator[Row]]] = {
        ".txt": _txt_rows,
        ".jsonl": _jsonl_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise HeadscriptError(
            f"{path} must be a .txt, .jsonl or .parquet file, or a folder of .txt."
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
        if empty:
            raise HeadscriptError(f"{path} is empty; give a file with at least one text.")
        yield from reader(path, field)
    except OSError as error:
        raise HeadscriptError(_unreadable(path, error)) from error


def folder_rows(path: Path, field: str) -> Iterator[Row]:
    """A row for each .txt file of a folder, in the order of their names, which are the ids."""
    try:
        paths = _txt_files(path)
    except OSError as error:
        raise HeadscriptError(_unreadable(path, error)) from error
    if not paths:
        raise HeadscriptError(f"The folder {path} holds no .txt file; name one that does.")
    for file in paths:
        try:
            text = _decode(file.read_bytes(), str(file))
        except OSError as error:
            raise HeadscriptError(_unreadable(file, error)) from error
        yield str(file), {"id": file.name, field: text.strip()}


def contents_hash(path: Path) -> str:
    """SHA-256 of a file, or of the .txt files of a folder; HeadscriptError if not readable."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        each = [f"{file.name} {contents_hash(file)}" for file in _txt_files(path)]
    except OSError as error:
        raise HeadscriptError(_unreadable(path, error)) from error
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def _txt_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt")


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; HeadscriptError where we may not even look."""
    try:
        return path.exists()
    except OSError as error:  # no permission, or a name longer than the file system takes
        raise HeadscriptError(_unreadable(path, error)) from error


def no_field(where: str, field: str, there: Iterable[str]) -> str:
    """The sentence for a field that is not there."""
    names = ", ".join(repr(name) for name in there)
    return f"There is no field {field!r} in {where}; the fields there are {names or 'none'}."


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror or error}."


def _decode(raw: bytes, where: str) -> str:
    """UTF-8, with or without a byte order mark; every line end becomes one newline."""
    advice = "save it as UTF-8 text, or give another file"
    if b"\0" in raw:
        raise HeadscriptError(f"{where} is not text: it holds zero bytes; {advice}.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HeadscriptError(
            f"{where} is not UTF-8 text: its byte {error.start} is 0x{raw[error.start]:02x}; "
            f"{advice}."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _txt_rows(path: Path, field: str) -> Iterator[Row]:
    text = _decode(path.read_bytes(), str(path))
    pieces = text.split(SEPARATOR) if SEPARATOR in text else _BLANK_LINES.split(text)
    for number, piece in enumerate(pieces, start=1):
        yield f"text {number} of {path}", {field: piece.strip()}


def _jsonl_rows(path: Path, field: str) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            where = f"line {number} of {path}"
            line = _decode(raw, f"L{where[1:]}")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise HeadscriptError(f"L{where[1:]} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise HeadscriptError(
                    f'L{where[1:]} is JSON but not an object such as {{"{field}": "Once"}}.'
                )
            yield where, row


def _parquet_rows(path: Path, field: str) -> Iterator[Row]:
    import polars  # a tenth of a second that other texts need not pay

    try:
        frame = polars.scan_parquet(path, glob=False)
        columns = frame.collect_schema().names()
        if field not in columns:
            raise HeadscriptError(no_field(str(path), field, columns))
        wanted = [name for name in dict.fromkeys((field, "id", "part")) if name in columns]
        rows = frame.select(wanted).collect().iter_rows(named=True)
        for number, row in enumerate(rows, start=1):
            yield f"row {number} of {path}", row
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise HeadscriptError(f"{path} cannot be read as parquet: {reason}.") from error

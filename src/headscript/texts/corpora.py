"""Texts by name or from a file, as documents in a fixed order."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from headscript.errors import HeadscriptError
from headscript.texts.hub import HUB_CORPORA, hub_rows
from headscript.texts.readers import SUFFIXES, Row, folder_rows, is_there, no_field, rows_of_file

BUILT_IN = ("stories", "code", "maths")


@dataclass(frozen=True)
class Document:
    """One text, before any tokenizer has seen it."""

    id: str
    """Unique among the documents loaded together: the row's `id`, or its number from 0."""
    text: str
    """The text as written, never blank."""
    part: str | None = None
    """The split it belongs to, where the source names one: "fit", "select" or "test"."""


def load_texts(
    name_or_path: str | Path, *, max_texts: int | None = None, field: str = "text"
) -> list[Document]:
    """Read texts by name or from a file or folder, in the order in which they stand there.

    What `name_or_path` can be:

    - `stories`, `code`, `maths`: short stories, programming tasks each with its code, and problems
      with their solutions; they come with headscript.
    - `tinystories`, `tiny-codes`, `math-500`: from the Hugging Face hub, with the extra `hub`;
      the first 1,000 texts unless `max_texts` says otherwise.
    - a folder: each .txt file in it is a text, in the order of their names.
    - a .txt file: texts are separated by blank lines, or by `<|endoftext|>` where that occurs.
    - a .jsonl or .parquet file: a text a row, under the name `field`; `id` and `part` are read
      too. Where an id is missing or repeats, all rows are numbered instead, from 0.

    Blank texts are left out. Of the rest at most `max_texts` are taken, the first ones; where the
    rows name a `part`, each part gives as many as its share, the first ones of each.

    Raises HeadscriptError for an unknown name, a file that is missing, empty, binary or not what
    its name says, a field that is not there, and a source without any text.
    """
    if max_texts is not None and max_texts < 1:
        raise HeadscriptError(f"The number of texts must be at least 1, not {max_texts}.")
    name = str(name_or_path)
    path = Path(name_or_path).expanduser()
    if name in BUILT_IN:
        with as_file(files("headscript.texts") / f"{name}.jsonl") as built_in:
            documents = _documents(rows_of_file(built_in, "text"), "text", max_texts)
    elif name in HUB_CORPORA:
        documents = _documents(hub_rows(name, max_texts), "text", max_texts)
    elif is_there(path):
        rows = folder_rows(path, field) if path.is_dir() else rows_of_file(path, field)
        documents = _documents(rows, field, max_texts)
    else:
        raise HeadscriptError(_not_found(path))
    if not documents:
        raise HeadscriptError(f"{name} holds no text; give a source with at least one.")
    return documents


def is_named(name_or_path: str | Path) -> bool:
    """Whether these are texts that have a name, and no file or folder."""
    return str(name_or_path) in (*BUILT_IN, *HUB_CORPORA)


def check_texts(name_or_path: str | Path) -> None:
    """Raise HeadscriptError where these are no texts that `load_texts` would look for.

    Before a model is loaded for them, or a folder made.
    """
    if not is_named(name_or_path) and not is_there(Path(name_or_path).expanduser()):
        raise HeadscriptError(_not_found(Path(name_or_path).expanduser()))


def _not_found(path: Path) -> str:
    name = str(path)
    if path.suffix.lower() in SUFFIXES or len(path.parts) != 1:
        return f"There is no file or folder {name}."
    names = [*BUILT_IN, *HUB_CORPORA]
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"There are no texts named {name!r}; did you mean {close[0]!r}?"
    return (
        f"There are no texts named {name!r}; give {', '.join(names)}, "
        "or the path of a .txt, .jsonl or .parquet file."
    )


def _documents(rows: Iterable[Row], field: str, max_texts: int | None) -> list[Document]:
    documents: list[Document] = []
    numbered: list[Document] = []
    for number, (where, row) in enumerate(rows):
        text = _text(where, row, field)
        if not text.strip():
            continue
        part = None if row.get("part") is None else str(row["part"])
        identity = "" if row.get("id") is None else str(row["id"])
        documents.append(Document(identity, text, part))
        numbered.append(Document(str(number), text, part))
        # A file whose first row names no part is read no further than asked.
        if len(documents) == max_texts and documents[0].part is None:
            break
    ids = {document.id for document in documents}
    if len(ids) < len(documents) or "" in ids:
        documents = numbered
    if max_texts is None or len(documents) <= max_texts:
        return documents
    left = _shares(Counter(document.part for document in documents), max_texts)
    taken = []
    for document in documents:
        if left[document.part] > 0:
            left[document.part] -= 1
            taken.append(document)
    return taken


def _text(where: str, row: dict[str, object], field: str) -> str:
    if field not in row:
        raise HeadscriptError(no_field(where, field, row))
    text = row[field]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise HeadscriptError(
            f"The field {field!r} in {where} must be a text, not {type(text).__name__}."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HeadscriptError(
            f"The text in {where} has half of a surrogate pair, {text[error.start]!r}, "
            "which is no character; remove it."
        ) from error
    return text


def _shares(counts: Counter[str | None], limit: int) -> dict[str | None, int]:
    """How many of each part to take: in proportion, together `limit`, and at least one of each."""
    total = counts.total()
    ideal = {part: limit * count / total for part, count in counts.items()}
    shares = {part: max(1, int(amount)) for part, amount in ideal.items()}
    while sum(shares.values()) != limit:
        step = 1 if sum(shares.values()) < limit else -1
        part = max(shares, key=lambda part: step * (ideal[part] - shares[part]))
        shares[part] += step
    return shares

"""The texts of the field that live on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from headscript.errors import HeadscriptError
from headscript.texts.readers import Row

DEFAULT_TEXTS = 1_000
"""Taken of a hub corpus where nobody says how many; TinyStories alone has over two million."""


@dataclass(frozen=True)
class HubCorpus:
    """A data set of the hub, and how its rows become texts."""

    repository: str
    split: str
    fields: tuple[str, ...]
    """The fields that make the text, joined by a newline."""


HUB_CORPORA = {
    "tinystories": HubCorpus("roneneldan/TinyStories", "train", ("text",)),
    "tiny-codes": HubCorpus("nampdn-ai/tiny-codes", "train", ("prompt", "response")),
    "math-500": HubCorpus("HuggingFaceH4/MATH-500", "test", ("problem", "solution")),
}


def hub_rows(name: str, max_texts: int | None) -> Iterator[Row]:
    """Stream the first rows of a corpus of HUB_CORPORA, each with its text in the field "text".

    Raises HeadscriptError where the extra `hub` is missing or the hub does not give the data.
    """
    try:
        import datasets
    except ImportError as error:
        raise HeadscriptError(
            f"The texts {name!r} come from the Hugging Face hub, which takes the extra 'hub': "
            "pip install 'headscript[hub]'."
        ) from error
    corpus = HUB_CORPORA[name]
    try:
        rows = datasets.load_dataset(corpus.repository, split=corpus.split, streaming=True)
        for number, row in enumerate(islice(rows, max_texts or DEFAULT_TEXTS), start=1):
            text = "\n".join(row[field] for field in corpus.fields if row[field])
            yield f"row {number} of {corpus.repository}", {"text": text}
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise HeadscriptError(
            f"The texts {name!r} ({corpus.repository} on the hub) cannot be had: {reason}."
        ) from error

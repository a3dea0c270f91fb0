"""What a run's programs have seen: the texts they were fitted and chosen on, and their library's.

Scores on such texts, or on texts that repeat them, are too good; so whoever scores counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, field_validator

from headscript.errors import HeadscriptError
from headscript.records import damaged
from headscript.runs import Run
from headscript.texts import Trace, as_read, repeating

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILE = "library.json"


class LibraryRecord(BaseModel):
    """The library that a run takes programs from, as it was then; the contents of library.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called: its path, or "starter"."""
    sha256: str
    """Over its programs."""
    programs: int
    texts: tuple[str, ...] | None = None
    """Traces of the texts its programs were fitted and chosen on; none where it does not say."""

    @field_validator("texts")
    @classmethod
    def _are_traces(cls, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in texts or ():
            Trace.parse(text)
        return texts


def settle_library(run: Run, asked: LibraryRecord) -> None:
    """Write down the library of a run, or make sure that it is the one the run was begun with.

    Raises HeadscriptError where it is not.
    """
    begun = library_of(run)
    if begun is None:
        run.write_json(_FILE, asked.model_dump(mode="json"))
    elif begun.sha256 != asked.sha256:
        raise HeadscriptError(
            f"The library {asked.name} has changed since the run in {run.directory} was begun with "
            "it; choose another --out."
        )


def library_of(run: Run) -> LibraryRecord | None:
    """The library of a run; None where it has none, or has not used it yet."""
    if not run.has(_FILE):
        return None
    try:
        return LibraryRecord.model_validate(run.read_json(_FILE))
    except ValueError as error:
        raise HeadscriptError(damaged(run.directory / _FILE)) from error


def used_texts(run: Run, tokenizer: PreTrainedTokenizerBase) -> list[Trace]:
    """The texts on which a run's programs were fitted and chosen, those of its library included.

    `tokenizer` is that of its model.
    """
    own = [
        Trace.of(as_read(tokenizer, text.token_ids)) for text in run.texts() if text.split != "test"
    ]
    library = library_of(run)
    theirs = () if library is None else library.texts or ()
    return [*own, *map(Trace.parse, theirs)]


def traces_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """What is kept of the texts on which the programs of runs were fitted and chosen, sorted.

    Those of their libraries are among them. A text that several runs have is there once, as far as
    any of them reads it. Raises HeadscriptError where a run's texts or tokenizer cannot be read.
    """
    from headscript.models.loading import read_tokenizer

    read: dict[str, str] = {}
    traces: set[str] = set()
    for run in runs:
        tokenizer = read_tokenizer(run.tokenizer_folder)
        for text in run.texts():
            if text.split != "test":
                part = as_read(tokenizer, text.token_ids)
                read[text.text] = max(read.get(text.text, ""), part, key=len)
        library = library_of(run)
        if library is not None:
            traces.update(library.texts or ())
    return tuple(sorted(traces.union(str(Trace.short(part)) for part in read.values())))


def seen_by(
    library: LibraryRecord, run: Run, tokenizer: PreTrainedTokenizerBase, *splits: str
) -> int | None:
    """How many texts of these splits of a run repeat texts of a library; None: it does not say."""
    if library.texts is None:
        return None
    ids = [text.token_ids for text in run.texts() if text.split in splits]
    return count_seen(ids, [*map(Trace.parse, library.texts)], tokenizer)


def count_seen(
    texts: Iterable[Sequence[int]], known: Sequence[Trace], tokenizer: PreTrainedTokenizerBase
) -> int:
    """How many of `texts`, token ids of this tokenizer, repeat a text that is known."""
    return sum(repeating((as_read(tokenizer, ids) for ids in texts), known))

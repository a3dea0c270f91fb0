"""What a run writes down about itself: its settings, its model, its texts, and who made it.

The contents of run.json and of the rows of texts.jsonl, and when these bar another run from going
on in the same folder.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.versions import VOCABULARY_VERSION

FORMAT = 1
"""Of the folder; grows when an older headscript could not read a newer run, or the reverse."""

RECORD = "run.json"

SPLITS = ("fit", "select", "test")
"""What texts are for: constants and prompts, choices, and what is reported."""

IMPORTED = "imported"
"""The architecture of a model of which a run has recorded attention, and nothing else."""

RECORDING_SETTINGS = (
    *("model", "texts", "field", "max_texts", "max_tokens", "heads", "seed"),
    "recording_bits",
)
"""The settings that a recording hangs on."""

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunConfig(_Frozen):
    """What a person asked for."""

    model: str
    """Built-in name, folder, .gguf file or hub id of the model."""
    texts: str
    """Name or path of the texts."""
    field: str = "text"
    """Field of a row that holds its text, in .jsonl and .parquet files."""
    max_texts: int | None = None
    """How many texts are taken at most; none means all."""
    max_tokens: int | None = None
    """How many tokens of each text are taken at most; none means whole texts."""
    heads: str = "all"
    """The heads to explain: "all", or names of heads and layers such as "L5H3,L6"."""
    max_terms: int = 24
    """How many constants a program has at most."""
    term_price: float = 0.0015
    """The IoU on the select texts that each constant must add to be kept."""
    fit_cells: int = 250_000
    """How many query-key pairs constants are fitted on; of more, rows of every text are sampled."""
    recording_bits: int = Field(default=16, ge=8, le=16, multiple_of=8)
    """How many bits a recorded weight takes on disk; with 8 patterns are off by 0.004 in IoU."""
    seed: int = 0
    """Seed of the splits, the search and the bootstrap."""
    proposers: tuple[str, ...] = ("search",)
    """What proposes programs: "search", "llm", "library"; none where a run is a recording alone."""
    library: str | None = None
    """The library that the library proposer takes programs from; none means the starter library."""
    explainer: str | None = None
    """The language model that the llm proposer asks."""
    candidates: int = 4
    """How many programs it asks for in one prompt."""
    rounds: int = 1
    """How often it asks again with what came of the programs before."""
    prompt_tokens: int = 4_000
    """How many tokens of a prompt tell what the head does."""
    answer_tokens: int = 4_000
    """How many tokens an answer may have."""
    temperature: float | None = 1.0
    """How much chance there is in an answer; none leaves it to the explainer."""


class ModelFacts(_Frozen):
    """The model that a run is about."""

    name: str
    weights_hash: str
    """SHA-256 of the weights, as hexadecimal; of the files where the attention was imported."""
    architecture: str
    """The network's class, or "imported" where there is no model, but files of its attention."""
    heads_per_layer: tuple[int, ...]
    causal: bool

    @property
    def imported(self) -> bool:
        """Whether its attention came from files, so that there is no model to load."""
        return self.architecture == IMPORTED

    @property
    def heads(self) -> list[Head]:
        """All heads of the model, sorted."""
        return [
            Head(layer, head) for layer, n in enumerate(self.heads_per_layer) for head in range(n)
        ]


class SplitFacts(_Frozen):
    """The texts of one split."""

    texts: int
    tokens: int
    sha256: str
    """Over ids, texts and token ids, in their order."""


class Maker(_Frozen):
    """The versions and the machine that wrote a run, or a part of it."""

    headscript: str
    vocabulary: int
    plugins: tuple[str, ...] = ()
    """Plug-ins that add to the vocabulary, each with its version."""
    python: str
    libraries: dict[str, str]
    system: str
    machine: str

    @classmethod
    def here(cls) -> Maker:
        """This process."""
        return cls(
            headscript=version("headscript"),
            vocabulary=VOCABULARY_VERSION,
            plugins=_plugins(),
            python=platform.python_version(),
            libraries={name: version(name) for name in _LIBRARIES},
            system=platform.platform(),
            machine=platform.machine(),
        )


def _plugins() -> tuple[str, ...]:
    found = entry_points(group="headscript.vocabulary")
    return tuple(sorted(f"{each.name} {each.dist.version if each.dist else ''}" for each in found))


class RunRecord(_Frozen):
    """The contents of run.json."""

    format: int
    config: RunConfig
    made_with: tuple[Maker, ...]
    """Usually one; a run that was continued elsewhere names each, in order."""
    model: ModelFacts | None = None
    texts: dict[str, SplitFacts] | None = None


@dataclass(frozen=True)
class RunText:
    """One text of a run, as the model read it."""

    id: str
    split: str
    """One of `SPLITS`."""
    text: str
    token_ids: tuple[int, ...]


def refuse_other_settings(directory: Path, begun: RunConfig, asked: RunConfig) -> None:
    """Raise HeadscriptError where a run that was begun with `begun` cannot go on with `asked`.

    Where one of them asks for a recording alone, only what that hangs on counts. What model and
    texts of the same name hold is compared when they are loaded.
    """
    different = []
    both_propose = begun.proposers and asked.proposers
    for name in RunConfig.model_fields if both_propose else RECORDING_SETTINGS:
        then, now = getattr(begun, name), getattr(asked, name)
        if then != now and not (name in ("model", "texts") and _same_file(then, now)):
            different.append(f"{name} was {then!r} and is now {now!r}")
    if different:
        raise HeadscriptError(
            f"The run in {directory} was begun with other settings ({'; '.join(different)}); "
            "choose another --out."
        )


def _same_file(one: str, other: str) -> bool:
    """Whether two names lead to one file or folder, as "texts.txt" and "./texts.txt" do."""
    try:
        return Path(one).expanduser().samefile(Path(other).expanduser())
    except OSError:
        return False


def refuse_other_version(directory: Path, then: Maker, now: Maker, *, resuming: bool) -> None:
    """Raise HeadscriptError where a run of `then` means other things here, or cannot go on here."""
    if then.vocabulary != now.vocabulary:
        raise HeadscriptError(
            f"The run in {directory} was made by headscript {then.headscript} with version "
            f"{then.vocabulary} of the vocabulary, and this is {now.headscript} with version "
            f"{now.vocabulary}; make the run anew, or install headscript {then.headscript}."
        )
    if resuming and then.headscript != now.headscript:
        raise HeadscriptError(
            f"The run in {directory} was begun by headscript {then.headscript}, and this is "
            f"{now.headscript}; choose another --out, or install headscript {then.headscript}."
        )
    if resuming and then.plugins != now.plugins:
        raise HeadscriptError(
            f"The run in {directory} was begun with other plug-ins of the vocabulary "
            f"({', '.join(then.plugins) or 'none'}), and here are "
            f"{', '.join(now.plugins) or 'none'}; choose another --out, or install those."
        )


def read_record(directory: Path) -> RunRecord:
    """The record of the run in a folder; raises HeadscriptError where it is none of this format."""
    file = directory / RECORD
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise HeadscriptError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise HeadscriptError(damaged(file)) from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise HeadscriptError(f"{file} is no record of a run of headscript.")
    if found["format"] != FORMAT:
        raise HeadscriptError(
            f"The run in {directory} was made by another version: it has format {found['format']}, "
            f"and this headscript reads {FORMAT}; make it anew, or use the version that made it."
        )
    try:
        record = RunRecord.model_validate(found)
        if not record.made_with:
            raise ValueError("no maker")
    except ValueError as error:
        raise HeadscriptError(damaged(file)) from error
    return record


def split_facts(texts: Sequence[RunText]) -> dict[str, SplitFacts]:
    """What is written down of each split's texts, to know them again."""
    splits: dict[str, list[RunText]] = {}
    for text in texts:
        splits.setdefault(text.split, []).append(text)
    return {
        split: SplitFacts(
            texts=len(members),
            tokens=sum(len(text.token_ids) for text in members),
            sha256=hashlib.sha256("\n".join(map(line_of, members)).encode()).hexdigest(),
        )
        for split, members in splits.items()
    }


def line_of(text: RunText) -> str:
    """A text's row of texts.jsonl, without the line break."""
    return json.dumps(asdict(text), ensure_ascii=False)


def damaged(file: Path) -> str:
    """The sentence on a file that is not what was written."""
    return f"{file} is damaged; restore it, or delete the run's folder and make it anew."

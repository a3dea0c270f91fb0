"""Libraries of programs, each with what it explains, what it is about, and where it came from.

A library is a file of JSON lines, a program each:

    {"name": "...", "category": "...", "iou": 0.71,
     "origins": [{"model": "...", "head": "L05H03", "proposer": "search"}], "source": "..."}

and one with traces of the texts on which the programs were fitted and chosen, to know these
again (`headscript.texts.Trace`):

    {"texts": ["<AAECAw==", ...]}

A run and a folder of program files can be read like one. Whatever is read passes the gate.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError
from headscript.language.gate import GateError
from headscript.programs.program import Program
from headscript.records import RECORD
from headscript.runs import Run
from headscript.texts import Trace
from headscript.used_texts import LibraryRecord, traces_of
from headscript.wording import short_name

STARTER = Path(__file__).with_name("starter.jsonl")
"""The library that comes with the package."""


class Origin(BaseModel):
    """Where a program came from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """The model for which it was written."""
    head: str
    """The head for which it was written, as in L05H03."""
    proposer: str
    """Who wrote it: "search", "llm", or all that had a part in it, as in "search+llm"."""

    def __str__(self) -> str:
        return f"{self.head} of {self.model}, {self.proposer}"


class _Line(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    category: str | None = None
    iou: float | None = None
    origins: tuple[Origin, ...] = ()
    source: str


class _Texts(BaseModel):
    """The line of the texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One program of a library."""

    program: Program
    """Its name is unique in the library."""
    category: str | None = None
    """What the head it was written for measurably does."""
    origins: tuple[Origin, ...] = ()
    """The heads it was written for; several where programs that behave alike were merged."""
    iou: float | None = None
    """Mean IoU with the head it was written for, on texts by which programs were chosen."""

    @property
    def name(self) -> str:
        """Unique in the library."""
        return self.program.name

    @property
    def source(self) -> str:
        """The program as it reads."""
        return self.program.source

    @property
    def explanation(self) -> str:
        """What it says of itself."""
        return self.program.explanation

    @property
    def headline(self) -> str:
        """The first sentence of that."""
        return re.split(r"\n\s*\n|(?<=[.;])\s", self.explanation.strip(), maxsplit=1)[0]

    def as_json(self) -> dict[str, Any]:
        """Plain data, as in a line of the file."""
        return _Line(
            name=self.name,
            category=self.category,
            iou=None if self.iou is None else round(self.iou, 4),
            origins=self.origins,
            source=self.source,
        ).model_dump(mode="json")


@dataclass(frozen=True)
class Library:
    """Programs by name."""

    entries: tuple[Entry, ...]
    name: str
    """What it is called, as a person would say it: its path, or "starter"."""
    texts: tuple[str, ...] | None = None
    """Traces of the texts on which they were fitted and chosen; none where nobody knows."""
    run: Run | None = None
    """Whose programs they are, where they are a run's."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for entry in self.entries:
            if entry.name in seen:
                raise HeadscriptError(
                    f"The library {self.name} has two programs of the name {entry.name!r}; rename "
                    "one."
                )
            seen.add(entry.name)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def sha256(self) -> str:
        """Over its programs, as hexadecimal, however they are ordered."""
        ordered = sorted(self.entries, key=lambda entry: entry.name)
        lines = [json.dumps(entry.as_json(), sort_keys=True) for entry in ordered]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def record(self) -> LibraryRecord:
        """What a run that takes programs from it writes down; raises HeadscriptError as `load`."""
        texts = self.texts if self.run is None else traces_of([self.run])
        return LibraryRecord(name=self.name, sha256=self.sha256, programs=len(self), texts=texts)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Library:
        """Read a library from a .jsonl file, a run or a folder of .py files; None: the starter.

        Raises HeadscriptError where there is none, and where the gate refuses a program, naming
        file and line.
        """
        path = place_of(path)
        if path == STARTER:
            entries, texts = _read_lines(STARTER)
            return cls(entries, "starter", texts)
        if path.is_file():
            entries, texts = _read_lines(path)
            return cls(entries, str(path), texts)
        if (path / RECORD).is_file():
            run = Run.open(path)
            return cls(_read_run(run), str(path), run=run)
        files = sorted(path.glob("*.py"))
        if not files:
            raise HeadscriptError(
                f"The folder {path} holds no library: it is no run, and has no program files "
                "(*.py)."
            )
        return cls(tuple(Entry(Program.load(file)) for file in files), str(path))

    def save(self, path: str | Path) -> None:
        """Write the library as JSON lines, whole or not at all; the same programs, the same file.

        Raises HeadscriptError where that cannot be done.
        """
        lines = [
            json.dumps(entry.as_json(), ensure_ascii=False, allow_nan=False)
            for entry in sorted(self.entries, key=lambda entry: entry.name)
        ]
        if (texts := self.record().texts) is not None:
            lines.append(json.dumps({"texts": texts}))
        write_atomically(Path(path).expanduser(), "".join(f"{line}\n" for line in lines).encode())

    def found(self, category: str | None = None, word: str | None = None) -> list[Entry]:
        """The entries of a category that speak of a word, in name, explanation or origins.

        Raises HeadscriptError for a category that no entry has.
        """
        chosen: Sequence[Entry] = self.entries
        if category is not None:
            known = sorted({entry.category for entry in self.entries if entry.category})
            if category not in known:
                raise HeadscriptError(
                    f"No program of the library {self.name} has the category {category!r}; there "
                    f"are {', '.join(known) or 'none'}."
                )
            chosen = [entry for entry in chosen if entry.category == category]
        if word is not None:
            wanted = word.casefold()
            chosen = [entry for entry in chosen if wanted in _said(entry).casefold()]
        return list(chosen)


def place_of(path: str | Path | None) -> Path:
    """Where a library is, None being the starter; raises HeadscriptError where nothing is there."""
    if path is None:
        if not STARTER.is_file():
            raise HeadscriptError(
                "This headscript comes without its starter library; name a file, a run or a "
                "folder of programs by --library."
            )
        return STARTER
    path = Path(path).expanduser()
    if not path.exists():
        raise HeadscriptError(f"There is no library at {path}: no such file or folder.")
    return path


def unique_names(wanted: Iterable[str]) -> list[str]:
    """Names made unique by a number behind those that came before: a, b, a-2."""
    counts: dict[str, int] = {}
    given: set[str] = set()
    names = []
    for name in wanted:
        while True:
            counts[name] = counts.get(name, 0) + 1
            candidate = name if counts[name] == 1 else f"{name}-{counts[name]}"
            if candidate not in given:
                break
        given.add(candidate)
        names.append(candidate)
    return names


def entry_name(model: str, head: str) -> str:
    """What the program of a head is called in a library: smollm2-135m-L05H03."""
    last = short_name(model).split("/")[-1].removesuffix(".gguf")
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', last).strip('-') or 'model'}-{head}"


def _said(entry: Entry) -> str:
    return "\n".join([entry.name, entry.explanation, *map(str, entry.origins)])


def _read_lines(path: Path) -> tuple[tuple[Entry, ...], tuple[str, ...] | None]:
    """The programs of a file, and what it says of the texts that they come from."""
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HeadscriptError(f"{path} is no text in UTF-8; is it a library?") from None
    except OSError as error:
        raise HeadscriptError(f"{path} cannot be read: {error.strerror}.") from None
    entries: list[Entry] = []
    texts: set[str] | None = None
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        if line.lstrip().startswith('{"texts"'):
            texts = (texts or set()).union(_read_texts(line, f"Line {number} of {path}"))
            continue
        try:
            found = _Line.model_validate_json(line)
        except ValidationError as error:
            reason = error.errors()[0]
            where = ".".join(str(part) for part in reason["loc"])
            raise HeadscriptError(
                f"Line {number} of {path} is no program of a library "
                f"({f'{where}: ' if where else ''}{reason['msg']})."
            ) from None
        try:
            program = Program.parse(found.source, found.name, found.name)
        except GateError as error:
            raise HeadscriptError(f"Line {number} of {path}: {error}") from error
        entries.append(Entry(program, found.category, found.origins, found.iou))
    if not entries:
        raise HeadscriptError(f"{path} holds no programs.")
    return tuple(entries), None if texts is None else tuple(sorted(texts))


def _read_texts(line: str, where: str) -> list[str]:
    try:
        texts = _Texts.model_validate_json(line).texts
        for text in texts:
            Trace.parse(text)
    except ValueError:
        raise HeadscriptError(
            f"{where} does not tell the texts of a library as it should; build it anew, or leave "
            "out the line."
        ) from None
    return list(texts)


def _read_run(run: Run) -> tuple[Entry, ...]:
    """The newest programs of a run, each once."""
    rows = {(row.layer, row.head): row for row in run.results().heads}
    entries: dict[str, Entry] = {}
    for head, program in run.programs().items():
        if type(program) is not Program:  # a free-form one, which runs in the sandbox alone
            continue
        row = rows.get(head)
        proposer = (row.proposer if row else None) or "+".join(run.config.proposers)
        origin = Origin(model=short_name(run.model.name), head=str(head), proposer=proposer)
        known = entries.get(program.key)
        if known is not None:
            entries[program.key] = Entry(
                known.program, known.category, (*known.origins, origin), known.iou
            )
            continue
        entries[program.key] = Entry(
            replace(program, name=entry_name(run.model.name, str(head))),
            row.category if row else None,
            (origin,),
            row.select_iou if row else None,
        )
    return tuple(entries.values())

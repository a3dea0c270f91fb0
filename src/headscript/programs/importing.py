"""Taking in published files: find the programs, try each in the sandbox, keep what works."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from headscript.disk import clear_disk_errors, write_atomically
from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.language.text import Text, TextReader
from headscript.programs.freeform import FreeForm
from headscript.programs.prefixes import SHORTEST, difference
from headscript.programs.program import read_source
from headscript.programs.sentences import answers_of, parse_of, sentence_of
from headscript.sandbox import Outcome, Sandbox, Sentence
from headscript.sandbox.pool import FoundProgram
from headscript.sandbox.worker import Answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PREFIXES = 4
"""Prefixes of each text that a program is run on."""


@dataclass(frozen=True)
class Verdict:
    """What became of one program of a file."""

    name: str
    line: int
    """Where its function begins in the file."""
    accepted: bool
    reason: str = ""
    """Why it failed."""
    prefix_consistent: bool | None = None
    """Whether each row is the same on prefixes of the texts; None for an encoder, and if failed."""
    inconsistency: str = ""
    """What was seen of a program that is not."""
    runs_per_minute: float | None = None
    """Of one core, on the texts it was tried on."""
    head: tuple[int, int] | None = None
    """The layer and head that the file says it is for."""
    explanation: str = ""
    file: str | None = None
    """The name of the file it was written to."""
    same_as: str | None = None
    """The program before it that has the very same source; it is not written again."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a file."""

    source: str
    found: int
    accepted: list[Verdict]
    failed: list[Verdict]
    texts: int
    tokens: int
    isolation: dict[str, Any]
    programs: dict[str, FreeForm] = field(default_factory=dict, repr=False)
    """The accepted programs by the name of their file."""

    def as_json(self) -> dict[str, Any]:
        """As plain data, without the programs."""
        values = {name: value for name, value in vars(self).items() if name != "programs"}
        return values | {
            "accepted": [asdict(verdict) for verdict in self.accepted],
            "failed": [asdict(verdict) for verdict in self.failed],
        }


@dataclass(frozen=True)
class Sample:
    """A text to try programs on, and prefixes of it, the shortest first."""

    whole: Sentence
    prefixes: tuple[Sentence, ...]

    @staticmethod
    def of(text: Text) -> Sample:
        """A text with prefixes spread over its length; an encoder's has none."""
        lengths: set[int] = set()
        if text.causal and len(text) > SHORTEST:
            spread = np.linspace(SHORTEST, len(text) - 1, _PREFIXES)
            lengths = {int(length) for length in spread}
        prefixes = tuple(sentence_of(text.prefix(length)) for length in sorted(lengths))
        return Sample(sentence_of(text), prefixes)

    def parsed(self) -> Sample:
        """The same with what spaCy finds in each."""
        return Sample(_parsed(self.whole), tuple(_parsed(prefix) for prefix in self.prefixes))


def _parsed(sentence: Sentence) -> Sentence:
    return replace(sentence, parse=parse_of(sentence.text))


def import_programs(
    file: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    causal: bool = True,
    max_tokens: int = 64,
    sandbox: Sandbox,
    on_event: Listener = ignore,
) -> ImportReport:
    """Find the programs of a file, and run each on the first `max_tokens` tokens of the texts.

    A program is accepted if it works on every text, twice with the same result. Raises
    HeadscriptError where the file cannot be read or holds no program, and where no text is left.
    """
    path = Path(file).expanduser()
    found = sandbox.find(read_source(path))
    if not found:
        raise HeadscriptError(
            f"{path} holds no program: a function f(sentence, tokenizer) at its top level."
        )
    read = TextReader(tokenizer, causal=causal)
    ids = [tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"] for text in texts]
    samples = [Sample.of(read(tokens)) for tokens in ids if tokens]
    if not samples:
        raise HeadscriptError("There is no text to try the programs on.")
    trial = _Trial(samples, sandbox, answers_of(tokenizer), len(found), on_event)
    names = _file_names([one.name for one in found])
    first: dict[str, str] = {}
    jobs = []
    for number, (one, name) in enumerate(zip(found, names, strict=True)):
        same_as = first.setdefault(f"{one.name}\n{one.source}", name) if one.source else name
        jobs.append((number, one, name, None if same_as == name else same_as))
    judged = sandbox.each(lambda job: trial.judge(job[1], job[2], job[3]), jobs)
    verdicts = [verdict for verdict, _ in judged]
    return ImportReport(
        source=str(path),
        found=len(found),
        accepted=[verdict for verdict in verdicts if verdict.accepted],
        failed=[verdict for verdict in verdicts if not verdict.accepted],
        texts=len(samples),
        tokens=sum(len(sample.whole) for sample in samples),
        isolation=sandbox.isolation.as_json(),
        programs={v.file: program for v, program in judged if v.file and program is not None},
    )


def write_programs(report: ImportReport, folder: str | Path) -> None:
    """Write each accepted program as a file, and the report beside them as import.json.

    The folder must be new or empty: raises HeadscriptError where it is not, or cannot be written.
    """
    folder = Path(folder).expanduser()
    with clear_disk_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise HeadscriptError(f"{folder} is there already and not empty; choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)
    for name, program in report.programs.items():
        write_atomically(folder / name, program.source.encode())
    content = json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "import.json", content.encode())


class _Trial:
    """The sample texts, and programs run on them."""

    def __init__(
        self,
        samples: Sequence[Sample],
        sandbox: Sandbox,
        answers: Answers,
        total: int,
        on_event: Listener,
    ) -> None:
        self._samples = list(samples)
        self._parsed: list[Sample] | HeadscriptError | None = None
        self._sandbox = sandbox
        self._answers = answers
        self._total, self._done = total, 0
        self._on_event = on_event

    def judge(
        self, found: FoundProgram, name: str, same_as: str | None
    ) -> tuple[Verdict, FreeForm | None]:
        """Run a program on all samples and their prefixes."""
        verdict, program = self._judged(found, name)
        if same_as is not None:
            verdict, program = replace(verdict, same_as=same_as, file=None), None
        self._done += 1
        self._on_event(Event("trying programs", self._done, self._total))
        return verdict, program

    def _judged(self, found: FoundProgram, name: str) -> tuple[Verdict, FreeForm | None]:
        verdict = Verdict(
            found.name, found.line, False, head=found.head, explanation=found.explanation
        )
        if found.error:
            return replace(verdict, reason=found.error), None
        if found.findings:
            return replace(verdict, reason=f"syntax check: {found.findings[0]}"), None
        try:
            samples = self._samples_for(found)
        except HeadscriptError as error:
            return replace(verdict, reason=str(error)), None
        inconsistency, seconds = "", []
        for number, sample in enumerate(samples):
            # Prefixes come before the text, so that nothing of what follows them was there yet.
            parts: list[Outcome] = []
            for prefix in sample.prefixes:
                parts += self._run(found, prefix)
                if parts[-1].failure == "timeout":  # once is enough
                    break
            if parts and parts[-1].failure == "timeout":
                whole = parts[-1]
            else:
                (whole,) = self._run(found, sample.whole, twice=True)
            if whole.matrix is None:
                where = f" (text {number + 1} of {len(samples)})" if len(samples) > 1 else ""
                return replace(verdict, reason=f"{whole.failure}{where}"), None
            seconds.append(whole.seconds)
            for prefix, part in zip(sample.prefixes, parts, strict=True):
                inconsistency = inconsistency or difference(whole.matrix, part, len(prefix))
        consistent = not inconsistency if samples[0].whole.causal else None
        program = FreeForm(
            found.source,
            found.name,
            name=Path(name).stem,
            explanation=found.explanation,
            numbers=found.numbers,
            uses_spacy=found.uses_spacy,
            prefix_consistent=consistent,
        )
        verdict = replace(
            verdict,
            accepted=True,
            prefix_consistent=consistent,
            inconsistency=inconsistency,
            runs_per_minute=round(60 / fmean(seconds), 1),
            file=name,
        )
        return verdict, program

    def _samples_for(self, found: FoundProgram) -> list[Sample]:
        """The samples, parsed if the program uses spaCy; raises HeadscriptError without it."""
        if not found.uses_spacy:
            return self._samples
        if self._parsed is None:
            try:
                self._parsed = [sample.parsed() for sample in self._samples]
            except HeadscriptError as error:
                self._parsed = error
        if isinstance(self._parsed, HeadscriptError):
            raise self._parsed
        return self._parsed

    def _run(
        self, found: FoundProgram, sentence: Sentence, *, twice: bool = False
    ) -> list[Outcome]:
        return self._sandbox.run(
            found.source, found.name, [sentence], answers=self._answers, twice=twice
        )


def _file_names(names: Sequence[str]) -> list[str]:
    """A file name for each program; names that come again are numbered."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        seen[name] += 1
        stem = name if seen[name] == 1 else f"{name}-{seen[name]}"
        found.append(f"{stem}.py")
    return found

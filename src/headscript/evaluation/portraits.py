"""One head closely: its program, its scores, and what both do on its best and worst text."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headscript.errors import HeadscriptError
from headscript.evaluation.portrait_files import kept_portrait
from headscript.heads import Head, parse_heads
from headscript.results import HeadResult
from headscript.runs import Run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from transformers import PreTrainedTokenizerBase

    from headscript.language import Text
    from headscript.programs import Program


@dataclass(frozen=True, eq=False)
class Sighting:
    """A head and its program on one text."""

    text_id: str
    iou: float
    surfaces: tuple[str, ...]
    real: NDArray[np.float32]
    """(n, n), the model's own pattern."""
    predicted: NDArray[np.float32]
    """(n, n), the program's."""

    def as_json(self) -> dict[str, Any]:
        """Plain data; weights rounded to what float16 holds."""
        return {
            "text": self.text_id,
            "iou": self.iou,
            "tokens": list(self.surfaces),
            "model": _rounded(self.real),
            "program": _rounded(self.predicted),
        }

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.sighting(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.sighting(self)


@dataclass(frozen=True, eq=False)
class Portrait:
    """All that a run knows of one head."""

    head: Head
    scores: HeadResult
    file: Path
    """Where its program is kept."""
    source: str | None
    """What is there now; none where the head is not covered."""
    explanation: str | None
    constants: dict[str, float] | None
    edited: bool
    """Whether that is another program than the one the scores are of."""
    best: Sighting | None
    """On the test text where it does best; none where the run's recording is gone."""
    worst: Sighting | None
    note: str = field(default="")
    """Why patterns are missing, or nothing."""

    @cached_property
    def program(self) -> Program | None:
        """What the source spells."""
        if self.source is None:
            return None
        from headscript.programs.loading import read_program

        return read_program(self.source, self.file.stem, str(self.file))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "head": str(self.head),
            "source": self.source,
            "explanation": self.explanation,
            "constants": None if self.constants is None else dict(self.constants),
            "edited": self.edited,
            "scores": self.scores.model_dump(mode="json"),
            "best": None if self.best is None else self.best.as_json(),
            "worst": None if self.worst is None else self.worst.as_json(),
        }

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.portrait(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.portrait(self)


def portrait(run: Run, head: Head | str) -> Portrait:
    """Look at one head of a finished run.

    What `explain` has kept of it is read, without torch; where that is not there, or the program
    was edited since, the program is run. Raises HeadscriptError where the run is not finished or
    does not have the head, and where the gate refuses the program's file, naming the line.
    """
    if isinstance(head, str):
        chosen = parse_heads(str(Head.parse(head)), run.model.heads_per_layer)
        head = chosen[0]
    scores = next((row for row in run.results().heads if (row.layer, row.head) == head), None)
    if scores is None:
        raise HeadscriptError(
            f"The run in {run.directory} did not explain {head}: it was asked for "
            f"{run.config.heads}."
        )
    file = run.program_file(head)
    if not file.is_file():
        return Portrait(
            head, scores, file, None, None, None, False, None, None, f"no program: {scores.status}"
        )
    kept = kept_portrait(run, head)
    if kept is not None:
        best, worst = (None if seen is None else Sighting(*seen) for seen in kept.seen)
        return Portrait(
            head, scores, file, kept.source, kept.explanation, kept.constants, False, best, worst
        )
    from headscript.programs.loading import load_program

    program = load_program(file)
    best = worst = None
    note = ""
    try:
        best, worst = _sightings(run, head, program, [scores.best_text, scores.worst_text])
    except HeadscriptError as error:
        note = f"no patterns: {error}"
    edited = scores.program_key not in (None, program.key)
    return Portrait(
        head,
        scores,
        file,
        program.source,
        program.explanation,
        dict(program.constants),
        edited,
        best,
        worst,
        note,
    )


def _sightings(
    run: Run, head: Head, program: Program, ids: list[str | None]
) -> list[Sighting | None]:
    from headscript.packing import pack_rows
    from headscript.recording import Recording
    from headscript.similarity import iou

    recording = Recording.open(run.recording_folder("test"))
    texts = run.texts("test")
    numbers = {text.id: number for number, text in enumerate(texts)}
    read = RunReader(run, program.entries)
    sightings: list[Sighting | None] = []
    for text_id in ids:
        if text_id is None or text_id not in numbers:
            sightings.append(None)
            continue
        number = numbers[text_id]
        real = recording.pattern(head, number)
        text = read(texts[number].token_ids)
        predicted = program(text).detach()
        similarity = iou(pack_rows(predicted, text.causal), pack_rows(real, text.causal))
        sightings.append(
            Sighting(
                text_id, float(similarity), text.surfaces, real.numpy(), predicted.float().numpy()
            )
        )
    return sightings


class RunReader:
    """Makes the texts of a run into what programs look at, without the model where that does.

    `entries` are those of the vocabulary that the programs use. Raises HeadscriptError where the
    tokenizer cannot be read, and where the model is needed and cannot be loaded.
    """

    def __init__(self, run: Run, entries: Set[str]) -> None:
        from headscript.language.text import TextReader
        from headscript.language.vocabulary import NEED_EMBEDDINGS
        from headscript.models.loading import read_tokenizer

        table = None
        if entries & NEED_EMBEDDINGS:
            from headscript.models import load_model

            table = load_model(run.model_name).embedding_table
        tokenizer = read_tokenizer(run.tokenizer_folder)
        self._read = TextReader(tokenizer, causal=run.model.causal, embedding_table=table)

    def __call__(self, token_ids: Sequence[int]) -> Text:
        """The text that these ids spell."""
        return self._read(token_ids)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the run's model."""
        return self._read.tokenizer


def _rounded(pattern: NDArray[np.float32]) -> list[list[float]]:
    return [[round(weight, 4) for weight in row] for row in pattern.tolist()]

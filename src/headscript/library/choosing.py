"""Each head's program of a library: the best as they are, and the best of those refitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import distances
from headscript.events import Listener
from headscript.library.entries import Library
from headscript.library.masks import suited
from headscript.library.matches import Choice
from headscript.library.refitting import Refit, finish, try_programs
from headscript.packing import num_cells
from headscript.programs.program import Program
from headscript.recorded import RecordedSplit

_CELLS = 40_000  # query-key pairs of select texts on which all programs meet all heads
_MOST_CELLS = 150_000  # of the texts they are drawn from


@dataclass(frozen=True)
class Usable:
    """The programs of a library that suit the kind of a model."""

    programs: list[Program]
    reasons: dict[str, int]
    """Why others are not, and how many."""

    @classmethod
    def of(cls, library: Library, causal: bool) -> Usable:
        """Raises HeadscriptError where there is none."""
        found = [suited(entry.program, causal=causal) for entry in library.entries]
        programs = [program for program in found if program is not None]
        if not programs:
            kind = "a decoder" if causal else "an encoder"
            raise HeadscriptError(f"No program of the library {library.name} is for {kind}.")
        missing = len(found) - len(programs)
        reason = "looks ahead" if causal else "cannot be given an encoder's mask"
        return cls(programs, {reason: missing} if missing else {})


def compare_all(
    programs: Sequence[Program], select: RecordedSplit, *, seed: int, on_event: Listener
) -> tuple[Tensor, Tensor]:
    """(programs, heads) mean IoU on select texts, and which programs failed.

    Evaluating a thousand programs on long texts takes longer than comparing them, so only as many
    texts are taken as have `_MOST_CELLS`.
    """
    texts, recording = select.texts, select.recording
    number, cells = 0, 0
    while number < len(texts) and (number < 2 or cells < _MOST_CELLS):
        cells += num_cells(len(texts[number]), recording.causal)
        number += 1
    return distances(
        programs,
        texts[:number],
        recording,
        max_cells=_CELLS,
        seed=seed,
        on_event=on_event,
    )


def best_as_they_are(programs: Sequence[Program], table: Tensor) -> list[Choice]:
    """For each head the best program of a table (programs, heads) of mean IoU."""
    return [
        Choice(programs[place], float(table[place, head]))
        for head, place in enumerate(table.argmax(0).tolist())
    ]


def refit(
    programs: Sequence[Program],
    table: Tensor,  # (programs, heads) mean IoU of the programs as they are
    as_is: Sequence[Choice],
    fit: RecordedSplit,
    select: RecordedSplit,
    *,
    seed: int,
    on_event: Listener,
) -> list[Choice]:
    """For each head its best refitted program, or that as it is where fitting gains nothing."""
    tried = try_programs(programs, table, fit.texts, fit.recording, seed=seed, on_event=on_event)
    found = finish(programs, tried, fit, select, seed=seed, on_event=on_event)
    used = []
    for choice, refits in zip(as_is, found, strict=True):
        best = _better(refits, choice, programs)
        if best is None:
            used.append(choice)
        else:
            program = programs[best.program].with_constants(best.constants)
            used.append(Choice(program, best.select_iou, best.fit_iou))
    return used


def _better(refits: Sequence[Refit], as_is: Choice, programs: Sequence[Program]) -> Refit | None:
    """The best of a head's refits, where it beats the best program as it came."""
    if not refits:
        return None
    unfitted = [each.unfitted_select_iou for each in refits]
    if all(programs[each.program] is not as_is.program for each in refits):
        unfitted.append(as_is.select_iou)
    return refits[0] if refits[0].select_iou > max(unfitted) else None

"""A library from finished runs: collected, merged where programs behave alike, cut to the useful.

What a run offers: the programs of all its versions, shorter ones from the frontiers of its search,
and the candidates of its other proposers. Everything is measured on the runs' select texts; nothing
of their test texts enters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import distances
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.language import Text
from headscript.library.entries import Entry, Library, Origin, entry_name, unique_names
from headscript.library.merging import ALIKE, covering, likeness, merged
from headscript.programs.emit import emit
from headscript.programs.program import Program
from headscript.propose.bench import search_file
from headscript.propose.candidates import Outcome
from headscript.propose.combining import layer_candidates
from headscript.propose.writing import read_frontiers
from headscript.recorded import Recorded
from headscript.recording import Recording
from headscript.results import HeadResult
from headscript.runs import FOUND, Run
from headscript.used_texts import traces_of
from headscript.wording import short_name

MOST = 999
"""Programs of a library, at most."""
_SHORT = (4, 8, 16)
"""Terms at most of the shorter programs that are taken from a head's frontier."""
_TOKENS = 3_000
"""Of a run's select texts, on which programs are measured."""
_CELLS = 60_000
"""Query-key pairs of them on which all programs meet all heads."""


class Built(BaseModel):
    """How a library came about."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    collected: int
    """Programs that the runs offer, each once."""
    distinct: int
    """Those left when programs that behave alike are merged, and those that fail are dropped."""
    kept: int
    """Those in the library."""
    heads: int
    """Heads of the runs."""
    best_iou: dict[str, float]
    """Mean over heads of the best IoU on select texts: of all that was collected, of the distinct,
    and of the library."""


@dataclass
class _Bench:
    """A run's heads and the select texts on which programs meet them."""

    run: Run
    texts: list[Text]
    recording: Recording

    @classmethod
    def of(cls, run: Run) -> _Bench:
        recorded = Recorded(run)
        recording = recorded.recording("select")
        texts: list[Text] = []
        for text in run.texts("select"):
            if texts and sum(map(len, texts)) + len(text.token_ids) > _TOKENS:
                break
            texts.append(recorded.read(text.token_ids))
        return cls(run, texts, recording)

    def table(self, programs: Sequence[Program], seed: int, on_event: Listener) -> Tensor:
        """(programs, heads) mean IoU."""
        return distances(
            programs, self.texts, self.recording, max_cells=_CELLS, seed=seed, on_event=on_event
        )[0]


def build(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    threshold: float = ALIKE,
    most: int = MOST,
    max_terms: int | None = None,
    seed: int = 0,
    on_event: Listener = ignore,
) -> Built:
    """Build a library from finished runs and write it to the file `out`.

    Of programs whose patterns agree by a mean IoU of `threshold` one stays; of these the `most`
    that do most for the heads of the runs. With `max_terms` longer programs are left out: a library
    of short ones is sooner read, and of every head the runs have a short program too. Programs of
    decoders and of encoders are merged apart.
    The same runs give the same file. Raises HeadscriptError where a run is not finished or its
    recording is gone.
    """
    if Path(out).suffix != ".jsonl":
        raise HeadscriptError(f"A library is a .jsonl file, and {out} is named otherwise.")
    if not runs:
        raise HeadscriptError("A library is made from runs; name at least one.")
    benches = [_Bench.of(Run.open(run)) for run in runs]
    entries: list[Entry] = []
    parts: list[_Part] = []
    for causal in (True, False):
        of_kind = [bench for bench in benches if bench.run.model.causal is causal]
        if of_kind:
            parts.append(_part(of_kind, threshold, max_terms, seed, on_event))
    num_heads = sum(part.table.shape[1] for part in parts)
    for part in parts:
        share = most * part.table.shape[1] // num_heads
        chosen = _chosen(part, max(1, share))
        part.best["library"] = float(part.table[chosen].amax(0).sum()) if chosen else 0.0
        entries += [part.entries[place] for place in chosen]
    Library(_named(entries), str(out), traces_of(bench.run for bench in benches)).save(out)
    return Built(
        collected=sum(part.collected for part in parts),
        distinct=sum(len(part.entries) for part in parts),
        kept=len(entries),
        heads=num_heads,
        best_iou={
            name: sum(part.best[name] for part in parts) / num_heads for name in parts[0].best
        },
    )


def _chosen(part: _Part, most: int) -> list[int]:
    """The places of the programs that are kept, half of them, where there are, written in words.

    By IoU with the heads of the runs the longer programs of the search would take all places; but
    those that were written from a look at a head carry over best when they are refitted.
    """
    written = [
        place
        for place, entry in enumerate(part.entries)
        if any(origin.proposer == "llm" for origin in entry.origins)
    ]
    kept = [written[place] for place in covering(part.table[written], most // 2)]
    return covering(part.table, most, kept)


@dataclass
class _Part:
    """The distinct programs of all runs of decoders, or of encoders."""

    entries: list[Entry]
    table: Tensor
    """(entries, heads)"""
    collected: int
    best: dict[str, float]
    """Sums over heads of the best IoU."""


def _part(
    benches: Sequence[_Bench],
    threshold: float,
    max_terms: int | None,
    seed: int,
    on_event: Listener,
) -> _Part:
    found = _distinct(
        entry
        for bench in benches
        for entry in collect(bench.run)
        if max_terms is None or entry.program.terms <= max_terms
    )
    if not found:
        raise HeadscriptError(f"No program of these runs has at most {max_terms} terms.")
    programs = [entry.program for entry in found]
    table = torch.cat([bench.table(programs, seed, on_event) for bench in benches], 1)
    texts = [text for bench in benches for text in bench.texts]
    alike = likeness(programs, texts, seed=seed, on_event=on_event)
    kept = merged(found, alike, threshold=threshold)
    of_kept = table[[place for place, _ in kept]]
    best = {"collected": float(table.amax(0).sum()), "distinct": float(of_kept.amax(0).sum())}
    return _Part([entry for _, entry in kept], of_kept, len(found), best)


def _distinct(entries: Iterator[Entry]) -> list[Entry]:
    """Each program once, with all its origins, in the order of names."""
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.get(entry.program.key)
        if known is None:
            found[entry.program.key] = entry
        else:
            origins = tuple(dict.fromkeys((*known.origins, *entry.origins)))
            found[entry.program.key] = replace(known, origins=origins)
    return sorted(found.values(), key=lambda entry: (entry.name, entry.program.key))


def _named(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries under names of their own."""
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.program.key))
    names = unique_names(entry.name for entry in ordered)
    return tuple(
        replace(entry, program=replace(entry.program, name=name))
        for entry, name in zip(ordered, names, strict=True)
    )


# What a run offers -------------------------------------------------------------------------------


def collect(run: Run) -> Iterator[Entry]:
    """All programs of the language that a finished run has, several a head.

    Raises HeadscriptError where the run is not finished or damaged.
    """
    rows = {Head(row.layer, row.head): row for row in run.results().heads}
    yield from _of_versions(run, rows)
    yield from _of_frontiers(run, rows)
    yield from _of_candidates(run, rows)


def _of_versions(run: Run, rows: Mapping[Head, HeadResult]) -> Iterator[Entry]:
    for version in run.versions():
        for head, program in run.programs(version).items():
            if not _in_language(program) or head not in rows:
                continue
            row = rows[head]
            proposer = row.proposer or "+".join(run.config.proposers)
            owner = head
            if version != FOUND:
                proposer = f"{proposer}, tuned"
            elif row.chosen_from is not None and row.program_key == program.key:
                try:
                    owner = Head.parse(row.chosen_from)
                except HeadscriptError:  # from a library: it is this head's by its constants
                    owner = head
            iou = row.select_iou if version == FOUND else None
            yield _entry(run, owner, program, proposer, rows, iou)


def _of_frontiers(run: Run, rows: Mapping[Head, HeadResult]) -> Iterator[Entry]:
    layers = sorted({head.layer for head in rows})
    searched = [layer for layer in layers if run.has(search_file(layer))]
    for head, frontier in read_frontiers(run, searched).items():
        if head not in rows:
            continue
        taken = set()
        for most in _SHORT:
            fitting = [n for n, step in enumerate(frontier.steps) if 0 < len(step.terms) <= most]
            if not fitting or fitting[-1] in taken:
                continue
            taken.add(fitting[-1])
            step = frontier.steps[fitting[-1]]
            program = emit(
                str(head),
                run.model.name,
                step.terms,
                step.weights,
                causal=run.model.causal,
                strengths=step.strengths,
            )
            iou = frontier.held_out[fitting[-1]]
            yield _entry(run, head, program, "search", rows, iou)


def _of_candidates(run: Run, rows: Mapping[Head, HeadResult]) -> Iterator[Entry]:
    scores: dict[tuple[str, str], float] = {}
    if run.has("candidates/selection.json"):
        for found in run.read_json("candidates/selection.json"):
            scores[found["head"], found["program_key"]] = found["select_iou"]
    for layer in sorted({head.layer for head in rows}):
        for candidate in layer_candidates(run, layer):
            program = candidate.program() if candidate.outcome is Outcome.OK else None
            if program is None:  # free-form ones have another outcome
                continue
            iou = scores.get((str(candidate.head), program.key), candidate.fit_iou)
            yield _entry(run, candidate.head, program, candidate.origin, rows, iou)


def _in_language(program: Program) -> bool:
    return type(program) is Program  # free-form ones are kinds of it


def _entry(
    run: Run,
    head: Head,
    program: Program,
    proposer: str,
    rows: Mapping[Head, HeadResult],
    iou: float | None,
) -> Entry:
    model = short_name(run.model.name)
    row = rows.get(head)
    first_line, rest = program.source.split("\n", 1)
    if first_line.startswith('"""'):  # it names the model as it was opened, by a path maybe
        source = "\n".join((first_line.replace(run.model.name, model), rest))
        program = Program.parse(source)
    return Entry(
        replace(program, name=entry_name(model, str(head))),
        None if row is None else row.category,
        (Origin(model=model, head=str(head), proposer=proposer),),
        iou,
    )

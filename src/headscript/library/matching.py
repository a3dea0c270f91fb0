"""`headscript match`: for each head of any model the program of a library that fits it best.

All programs meet all heads on select texts, as they are; each head takes the best. Then the
constants of its few best are fitted to it on fit texts, and the select texts say which of these it
takes. Both are reported on test texts, which neither choice has seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import HeadScores, distances, score_heads
from headscript.events import Listener, ignore
from headscript.heads import Head, parse_heads
from headscript.language import Text
from headscript.language.text import TextReader
from headscript.library.entries import Library
from headscript.library.masks import suited
from headscript.library.matches import Choice, HeadMatch, Match, head_matches, totals
from headscript.library.refitting import Refit, finish, try_programs
from headscript.models import Model, load_model
from headscript.packing import num_cells
from headscript.programs.program import Program
from headscript.programs.reading import read_terms
from headscript.recording import Recording
from headscript.records import RunConfig, RunText
from headscript.runs import Run
from headscript.stages import (
    SPLITS,
    Clock,
    categories,
    head_row,
    mean_by_position,
    prepare_texts,
    record_splits,
    summary_of,
)
from headscript.tuning.retelling import Reteller, with_first_line

TOKENS = {"fit": 3_000, "select": 2_500, "test": 4_000}
"""Tokens of each split that are taken where nobody says how many texts."""
_LOOKED_AT = 2_000  # texts that these are drawn from
_CELLS = 40_000  # query-key pairs of select texts on which all programs meet all heads
_MOST_CELLS = 150_000  # of the texts they are drawn from
_FILE = "match.json"
_RETOLD_TEXTS = 12


def match(
    model: str | Path,
    texts: str | Path,
    *,
    library: str | Path | Library | None = None,
    refit: bool = True,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    heads: str = "all",
    out: str | Path | None = None,
    field: str = "text",
    seed: int = 0,
    on_event: Listener = ignore,
) -> Match:
    """Give each head of `model` its best program of a library (None: the starter), on `texts`.

    `refit` also fits the constants of the best few to each head. Without `max_texts` as many texts
    are taken as make about `TOKENS`. With `out` a run is left there, with the refitted programs or,
    without `refit`, those as they are; a run that is finished is read, not made anew.

    Raises HeadscriptError where there is no such model, library or text, where no program works,
    and where `out` holds something else.
    """
    clock = Clock()
    with clock.timing("reading"):
        if not isinstance(library, Library):
            library = Library.load(library)
    config = RunConfig(
        model=str(model),
        texts=str(texts),
        field=field,
        max_texts=max_texts,
        max_tokens=max_tokens,
        heads=heads,
        seed=seed,
        proposers=("library",),
        library=None if library.name == "starter" else library.name,
    )
    with ExitStack() as stack:
        folder = out if out is not None else stack.enter_context(TemporaryDirectory())
        run = stack.enter_context(Run.create_or_resume(folder, config))
        with clock.timing("loading"):
            loaded = load_model(config.model, on_event=on_event)
            run.settle_model(loaded)
            run_texts = _prepare(run, loaded)
        if run.finished:
            return _finished(run, library, refit)
        with clock.timing("recording"):
            run.save_tokenizer(loaded.tokenizer)
            chosen = parse_heads(heads, loaded.heads_per_layer)
            bench = _Bench(
                run, run_texts, record_splits(run, loaded, run_texts, chosen, on_event), loaded
            )
        del loaded
        found, used, scores = _match(bench, library, refit, clock, on_event)
        if out is not None:
            _write(bench, found, used, scores)
    return found


class _Bench:
    """A model's heads and the texts on which programs meet them."""

    def __init__(
        self,
        run: Run,
        run_texts: Sequence[RunText],
        recordings: Mapping[str, Recording],
        model: Model,
    ) -> None:
        read = TextReader(model.tokenizer, causal=model.causal)
        self.run = run
        self.recordings = recordings
        self.causal = model.causal
        self.seed = run.config.seed
        self.texts: dict[str, list[Text]] = {}
        self.ids: dict[str, list[str]] = {}
        for split in SPLITS:
            of_split = [text for text in run_texts if text.split == split]
            self.texts[split] = [read(text.token_ids) for text in of_split]
            self.ids[split] = [text.id for text in of_split]

    def of(self, split: str) -> tuple[list[Text], Recording]:
        """The texts of a split and the heads' patterns there."""
        return self.texts[split], self.recordings[split]


def _prepare(run: Run, model: Model) -> list[RunText]:
    """The texts, as many as were asked for or as make about `TOKENS`, one of a split at least."""
    config = run.config
    if config.max_texts is not None:
        prepared = prepare_texts(config, model)
    else:
        found = prepare_texts(config.model_copy(update={"max_texts": _LOOKED_AT}), model)
        prepared, tokens = [], dict.fromkeys(SPLITS, 0)
        for text in found:
            if not tokens[text.split] or tokens[text.split] < TOKENS[text.split]:
                tokens[text.split] += len(text.token_ids)
                prepared.append(text)
    run.settle_texts(prepared)
    return prepared


def _match(
    bench: _Bench, library: Library, refitting: bool, clock: Clock, on_event: Listener
) -> tuple[Match, list[Choice], dict[Head, HeadScores]]:
    with clock.timing("comparing"):
        usable = _usable(library, bench.causal)
        table, failed = _table(usable.programs, bench, on_event)
        if int(failed.sum()):
            usable.reasons["fails on these texts"] = int(failed.sum())
        if int(failed.sum()) == len(usable.programs):
            raise HeadscriptError(
                f"No program of the library {library.name} works on these texts of "
                f"{bench.run.model.name}."
            )
    as_is = [
        Choice(usable.programs[place], float(table[place, head]))
        for head, place in enumerate(table.argmax(0).tolist())
    ]
    used = as_is
    if refitting:
        with clock.timing("refitting"):
            used = _refitted(usable.programs, table, as_is, bench, on_event)
    with clock.timing("scoring"):
        texts, recording = bench.of("test")
        scores = score_heads(
            recording,
            texts,
            {head: each.program for head, each in zip(recording.heads, used, strict=True)},
            {head: each.program for head, each in zip(recording.heads, as_is, strict=True)},
            mean_by_position=mean_by_position(bench.recordings["fit"]),
            seed=bench.seed,
            on_event=on_event,
        )
        kinds = categories(bench.recordings["select"], bench.texts["select"])
        rows = head_matches(as_is, used if refitting else None, scores, kinds, bench.seed)
    refitted = [found.chosen for found in scores.values()]
    found = Match(
        model=bench.run.model.name,
        library=library.name,
        library_hash=_hash(library),
        programs=len(library),
        unusable=usable.reasons,
        as_is=totals(as_is, [found.intended for found in scores.values()], bench.seed),
        refitted=totals(used, refitted, bench.seed) if refitting else None,
        baselines={name: mean(row.baselines[name] for row in rows) for name in rows[0].baselines},
        coverage=mean(row.status == "ok" for row in rows),
        heads=len(rows),
        texts={split: len(members) for split, members in bench.texts.items()},
        tokens={split: sum(map(len, members)) for split, members in bench.texts.items()},
        seconds=dict(clock.seconds),
        by_head=rows,
    )
    return found, used, scores


@dataclass(frozen=True)
class _Usable:
    programs: list[Program]
    reasons: dict[str, int]
    """Why others are not, and how many."""


def _usable(library: Library, causal: bool) -> _Usable:
    """The programs that suit the model's kind."""
    found = [suited(entry.program, causal=causal) for entry in library.entries]
    programs = [program for program in found if program is not None]
    if not programs:
        kind = "a decoder" if causal else "an encoder"
        raise HeadscriptError(f"No program of the library {library.name} is for {kind}.")
    missing = len(found) - len(programs)
    reason = "looks ahead" if causal else "cannot be given an encoder's mask"
    return _Usable(programs, {reason: missing} if missing else {})


def _table(programs: Sequence[Program], bench: _Bench, on_event: Listener) -> tuple[Tensor, Tensor]:
    """(programs, heads) mean IoU on select texts, and which programs failed.

    Evaluating a thousand programs on long texts takes longer than comparing them, so only as many
    texts are taken as have `_MOST_CELLS`.
    """
    texts, recording = bench.of("select")
    number, cells = 0, 0
    while number < len(texts) and (number < 2 or cells < _MOST_CELLS):
        cells += num_cells(len(texts[number]), bench.causal)
        number += 1
    return distances(
        programs,
        texts[:number],
        recording,
        max_cells=_CELLS,
        seed=bench.seed,
        on_event=on_event,
    )


def _refitted(
    programs: Sequence[Program],
    table: Tensor,
    as_is: Sequence[Choice],
    bench: _Bench,
    on_event: Listener,
) -> list[Choice]:
    """For each head its best refitted program, or that as it is where fitting gains nothing."""
    tried = try_programs(programs, table, *bench.of("fit"), seed=bench.seed, on_event=on_event)
    found = finish(
        programs, tried, bench.of("fit"), bench.of("select"), seed=bench.seed, on_event=on_event
    )
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


def _hash(library: Library) -> str:
    lines = [json.dumps(entry.as_json(), sort_keys=True) for entry in library.entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# The run -----------------------------------------------------------------------------------------


def _write(
    bench: _Bench, found: Match, used: Sequence[Choice], scores: Mapping[Head, HeadScores]
) -> None:
    """Programs and results of a run; match.json comes before results.json, which finishes it."""
    run = bench.run
    retell = Reteller(bench.texts["select"][:_RETOLD_TEXTS], run.model.name, "fitted to this head")
    rows = []
    for (head, of_head), choice, told in zip(scores.items(), used, found.by_head, strict=True):
        program = _for_head(choice, head, run.model.name, retell)
        run.write(f"programs/{head}.py", program.source.encode())
        rows.append(_row(head, of_head, choice, program, told, bench))
    run.write_json(_FILE, found.model_dump(mode="json"))
    summary = summary_of(rows, scores, found.texts, bench.seed)
    run.write_results(summary | {"seconds": found.seconds}, rows)


def _row(
    head: Head,
    scores: HeadScores,
    choice: Choice,
    program: Program,
    told: HeadMatch,
    bench: _Bench,
) -> dict[str, object]:
    row = head_row(head, scores, program, bench.ids["test"], bench.seed)
    return row | {
        "intended_iou": None,  # no program was written for this head
        "select_iou": choice.select_iou,
        "fit_iou": choice.fit_iou,
        "chosen_from": choice.program.name,
        "proposer": "library",
        "category": told.category,
        "as_is_iou": told.as_is.iou,
    }


def _for_head(choice: Choice, head: Head, model: str, retell: Reteller) -> Program:
    """The program as the run keeps it; where it was refitted, its words are made anew."""
    source, how = choice.program.source, "as it is"
    if choice.fit_iou is not None:
        how = "fitted to this head"
        if read_terms(choice.program) is not None:
            source = retell(str(head), choice.program, choice.program.constants).source
            retell.forget()
    origin = f"{choice.program.name} of the library, {how}"
    return Program.parse(
        with_first_line(source, f'"""Head {head} of {model}: {origin}."""'), str(head)
    )


def _finished(run: Run, library: Library, refitting: bool) -> Match:
    """What a finished run holds; raises HeadscriptError where it was made in another way."""
    if not run.has(_FILE):
        raise HeadscriptError(
            f"The run in {run.directory} was made by 'headscript explain'; choose another --out."
        )
    found = Match.model_validate(run.read_json(_FILE))
    if found.library_hash != _hash(library):
        raise HeadscriptError(
            f"The library {found.library} has changed since the run in {run.directory} was matched "
            "with it; choose another --out."
        )
    if (found.refitted is not None) != refitting:
        raise HeadscriptError(
            f"The run in {run.directory} was matched {'with' if found.refitted else 'without'} "
            "refitting; choose another --out."
        )
    return found

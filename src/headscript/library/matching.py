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

from headscript.errors import HeadscriptError
from headscript.evaluation.portrait_files import keep_portraits
from headscript.evaluation.tables import HeadScores, score_heads
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.library.bench import Bench, load, recorded
from headscript.library.choosing import Usable, best_as_they_are, compare_all
from headscript.library.choosing import refit as refit_all
from headscript.library.entries import Library
from headscript.library.leaving_out import left_out
from headscript.library.matches import Choice, HeadMatch, Match, head_matches, totals
from headscript.programs.program import Program
from headscript.programs.reading import read_terms
from headscript.recording_runs import Recorded, recording_settings, take_recording
from headscript.records import RunConfig
from headscript.runs import Run
from headscript.stages import Clock, categories, head_row, mean_by_position, summary_of
from headscript.tuning.retelling import Reteller, with_first_line

_FILE = "match.json"
_RETOLD_TEXTS = 12


def match(
    model: str | Path,
    texts: str | Path | None = None,
    *,
    library: str | Path | Library | None = None,
    refit: bool = True,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    heads: str | None = None,
    out: str | Path | None = None,
    field: str = "text",
    seed: int | None = None,
    leave_one_out: bool = False,
    on_event: Listener = ignore,
) -> Match:
    """Give each head of `model` its best program of a library (None: the starter), on `texts`.

    `model` may be the folder of a run, whose recording is then taken with its texts, heads (None:
    all) and seed (None: 0). `refit` also fits the constants of the best few to each head. Without
    `max_texts` as many texts are taken as make about `bench.TOKENS`. With `out` a run is left
    there, with the refitted programs or, without `refit`, those as they are; a run that is finished
    is read, not made anew, and one that holds the recording alone gets programs. `leave_one_out`
    also measures what is gained when each text is left out once.

    Raises HeadscriptError where there is no such model, library or text, where no program works,
    and where `out` holds something else.
    """
    clock = Clock()
    with clock.timing("reading"):
        if not isinstance(library, Library):
            library = Library.load(library)
    source, settings = recording_settings(
        model,
        texts,
        max_texts=max_texts,
        max_tokens=max_tokens,
        heads=heads,
        seed=seed,
        field=field,
    )
    place = None if library.name == "starter" else library.name
    config = RunConfig(**settings, proposers=("library",), library=place)
    with ExitStack() as stack:
        folder = out if out is not None else stack.enter_context(TemporaryDirectory())
        run = stack.enter_context(Run.create_or_resume(folder, config))
        if source is None:
            with clock.timing("loading"):
                loaded, run_texts = load(run, on_event)
            if run.finished:
                return _finished(run, library, refit, leave_one_out)
            with clock.timing("recording"):
                found = recorded(run, loaded, run_texts, on_event)
            del loaded
        else:
            with clock.timing("loading"):
                found = Recorded.of(source)
                run.settle_model(found.model)
                run.settle_texts(found.texts)
                if out is not None:
                    take_recording(run, source, found)
            if run.finished:
                return _finished(run, library, refit, leave_one_out)
        job = _Job(run, library, Bench.of_run(found, run.config.seed), clock, on_event)
        matched, used, scores = _match(job, refit, leave_one_out)
        if out is not None:
            _write(job, matched, used, scores)
    return matched


@dataclass(frozen=True)
class _Job:
    """What is matched with what, and who hears of it."""

    run: Run
    library: Library
    bench: Bench
    clock: Clock
    on_event: Listener


def _match(
    job: _Job, refitting: bool, leave_one_out: bool
) -> tuple[Match, list[Choice], dict[Head, HeadScores]]:
    bench, library, clock, on_event = job.bench, job.library, job.clock, job.on_event
    with clock.timing("comparing"):
        usable = Usable.of(library, bench.causal)
        table, failed = compare_all(usable.programs, bench, on_event)
        if int(failed.sum()):
            usable.reasons["fails on these texts"] = int(failed.sum())
        if int(failed.sum()) == len(usable.programs):
            raise HeadscriptError(
                f"No program of the library {library.name} works on these texts of "
                f"{job.run.model.name}."
            )
    used = as_is = best_as_they_are(usable.programs, table)
    if refitting:
        with clock.timing("refitting"):
            used = refit_all(usable.programs, table, as_is, bench, on_event)
    without = None
    if leave_one_out:
        with clock.timing("leaving out"):
            without = left_out(usable.programs, bench, refitting=refitting, on_event=on_event)
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
        model=job.run.model.name,
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
        left_out=without,
    )
    return found, used, scores


def _hash(library: Library) -> str:
    lines = [json.dumps(entry.as_json(), sort_keys=True) for entry in library.entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# The run -----------------------------------------------------------------------------------------


def _write(
    job: _Job, found: Match, used: Sequence[Choice], scores: Mapping[Head, HeadScores]
) -> None:
    """Programs and results of a run; match.json comes before results.json, which finishes it."""
    run, bench = job.run, job.bench
    retell = Reteller(bench.texts["select"][:_RETOLD_TEXTS], run.model.name, "fitted to this head")
    rows = []
    for (head, of_head), choice, told in zip(scores.items(), used, found.by_head, strict=True):
        program = _for_head(choice, head, run.model.name, retell)
        run.write(f"programs/{head}.py", program.source.encode())
        rows.append(_row(head, of_head, choice, program, told, bench))
    run.write_json(_FILE, found.model_dump(mode="json"))
    summary = summary_of(rows, scores, found.texts, bench.seed)
    keep_portraits(run, rows)
    run.write_results(summary | {"seconds": found.seconds}, rows)


def _row(
    head: Head,
    scores: HeadScores,
    choice: Choice,
    program: Program,
    told: HeadMatch,
    bench: Bench,
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


def _finished(run: Run, library: Library, refitting: bool, leave_one_out: bool) -> Match:
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
    if leave_one_out and found.left_out is None:
        raise HeadscriptError(
            f"The run in {run.directory} was matched without leaving texts out; choose another "
            "--out, or none."
        )
    return found

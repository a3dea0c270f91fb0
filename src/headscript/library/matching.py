"""`headscript match`: for each head of any model the program of a library that fits it best.

All programs meet all heads on select texts, as they are; each head takes the best. Then the
constants of its few best are fitted to it on fit texts, and the select texts say which of these it
takes. Both are reported on test texts, which neither choice has seen.
"""

from __future__ import annotations

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
from headscript.library.choosing import Usable, best_as_they_are, compare_all
from headscript.library.choosing import refit as refit_all
from headscript.library.entries import Library
from headscript.library.leaving_out import left_out
from headscript.library.matches import Choice, HeadMatch, Match, head_matches, totals
from headscript.models import Model
from headscript.programs.program import Program
from headscript.programs.reading import read_terms
from headscript.recorded import Recorded
from headscript.recording_runs import recorded_for, recording_settings
from headscript.records import SPLITS, RunConfig, RunText
from headscript.runs import Run
from headscript.stages import (
    Clock,
    categories,
    head_row,
    prepare_texts,
    summary_of,
)
from headscript.tuning.retelling import Reteller, with_first_line
from headscript.used_texts import LibraryRecord, seen_by, settle_library

TOKENS = {"fit": 3_000, "select": 2_500, "test": 4_000}
"""Tokens of each split that are taken where nobody says how many texts."""

_LOOKED_AT = 2_000  # texts that these are drawn from
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
    `max_texts` as many texts are taken as make about `TOKENS`. With `out` a run is left there, with
    the refitted programs or, without `refit`, those as they are; a run that is finished is read,
    not made anew, and one that holds the recording alone gets programs. `leave_one_out` also
    measures what is gained when each text is left out once.

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
        recorded = recorded_for(
            run, source, clock, prepare=_few_texts, keeping=out is not None, on_event=on_event
        )
        if recorded is None:
            return _finished(run, library, refit, leave_one_out)
        job = _Job(run, library, library.record(), recorded, clock, on_event)
        matched, used, scores = _match(job, refit, leave_one_out)
        if out is not None:
            _write(job, matched, used, scores)
    return matched


def _few_texts(config: RunConfig, model: Model) -> list[RunText]:
    """As many texts as were asked for, or as make about `TOKENS`."""
    if config.max_texts is not None:
        return prepare_texts(config, model)
    found = prepare_texts(config.model_copy(update={"max_texts": _LOOKED_AT}), model)
    taken, tokens = [], dict.fromkeys(SPLITS, 0)
    for text in found:
        if not tokens[text.split] or tokens[text.split] < TOKENS[text.split]:
            tokens[text.split] += len(text.token_ids)
            taken.append(text)
    return taken


@dataclass(frozen=True)
class _Job:
    """What is matched with what, and who hears of it."""

    run: Run
    library: Library
    told: LibraryRecord
    """What the library tells of itself."""
    recorded: Recorded
    clock: Clock
    on_event: Listener


def _match(
    job: _Job, refitting: bool, leave_one_out: bool
) -> tuple[Match, list[Choice], dict[Head, HeadScores]]:
    recorded, library, clock, on_event = job.recorded, job.library, job.clock, job.on_event
    seed = job.run.config.seed
    with clock.timing("comparing"):
        usable = Usable.of(library, recorded.model.causal)
        select = recorded.split("select")
        table, failed = compare_all(usable.programs, select, seed=seed, on_event=on_event)
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
            fit = recorded.split("fit")
            used = refit_all(
                usable.programs, table, as_is, fit, select, seed=seed, on_event=on_event
            )
    without = None
    if leave_one_out:
        with clock.timing("leaving out"):
            without = left_out(usable.programs, recorded, refitting=refitting, on_event=on_event)
            seen = seen_by(job.told, job.run, recorded.tokenizer, *SPLITS)
            without = without.model_copy(update={"seen": seen})
    with clock.timing("scoring"):
        test = recorded.split("test")
        heads = test.recording.heads
        scores = score_heads(
            test.recording,
            test.texts,
            {head: each.program for head, each in zip(heads, used, strict=True)},
            {head: each.program for head, each in zip(heads, as_is, strict=True)},
            mean_by_position=recorded.recording("fit"),
            seed=seed,
            on_event=on_event,
        )
        kinds = categories(recorded.split("select"))
        rows = head_matches(as_is, used if refitting else None, scores, kinds, seed)
    refitted, sizes = [found.chosen for found in scores.values()], recorded.sizes()
    found = Match(
        model=job.run.model.name,
        library=library.name,
        library_hash=job.told.sha256,
        programs=len(library),
        unusable=usable.reasons,
        as_is=totals(as_is, [found.intended for found in scores.values()], seed),
        refitted=totals(used, refitted, seed) if refitting else None,
        baselines={name: mean(row.baselines[name] for row in rows) for name in rows[0].baselines},
        coverage=mean(row.status == "ok" for row in rows),
        heads=len(rows),
        texts=sizes["texts"],
        tokens=sizes["tokens"],
        seen=seen_by(job.told, job.run, recorded.tokenizer, "test"),
        seconds=dict(clock.seconds),
        by_head=rows,
        left_out=without,
    )
    return found, used, scores


# The run -----------------------------------------------------------------------------------------


def _write(
    job: _Job, found: Match, used: Sequence[Choice], scores: Mapping[Head, HeadScores]
) -> None:
    """Programs and results of a run; match.json comes before results.json, which finishes it."""
    run, seed = job.run, job.run.config.seed
    settle_library(run, job.told)
    texts = job.recorded.split("select").texts[:_RETOLD_TEXTS]
    retell = Reteller(texts, run.model.name, "fitted to this head")
    ids = [text.id for text in run.texts("test")]
    rows = []
    for (head, of_head), choice, told in zip(scores.items(), used, found.by_head, strict=True):
        program = _for_head(choice, head, run.model.name, retell)
        run.write(f"programs/{head}.py", program.source.encode())
        rows.append(head_row(head, of_head, program, ids, seed) | _facts(choice, told))
    run.write_json(_FILE, found.model_dump(mode="json"))
    summary = summary_of(rows, scores, found.texts, seed)
    keep_portraits(run, rows)
    run.write_results(summary | {"seconds": found.seconds}, rows)


def _facts(choice: Choice, told: HeadMatch) -> dict[str, object]:
    """What a row of results tells of the choice."""
    return {
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
    settle_library(run, library.record())
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

"""A run's programs on its own test texts, whose attention was recorded: the model is not needed."""

from __future__ import annotations

import torch

from headscript.errors import HeadscriptError
from headscript.evaluation.portraits import RunReader
from headscript.evaluation.scoring import Score, Tally, score_of
from headscript.evaluation.tables import score_heads
from headscript.events import Listener, ignore
from headscript.heads import parse_heads
from headscript.programs.freeform import isolation_of
from headscript.recording import Recording
from headscript.runs import Run
from headscript.used_texts import count_seen, used_texts


def score_recorded(
    run: Run, *, version: str | None = None, seed: int | None = None, on_event: Listener = ignore
) -> Score:
    """Score the programs in a run's folder, as they are now, on its recorded test texts.

    `version` None is the newest of the programs, `seed` (None: the run's) that of the random
    baselines and the bootstrap. Nothing is written. Raises HeadscriptError where the run is not
    finished, its recording is gone, or the gate refuses a program, naming its line.
    """
    run.results()
    asked = parse_heads(run.config.heads, run.model.heads_per_layer)
    recording = Recording.open(run.recording_folder("test"))
    programs = {
        head: program for head, program in run.programs(version).items() if head in recording.heads
    }
    if not programs:
        raise HeadscriptError(f"The run in {run.directory} has no programs to score.")
    read = RunReader(run, frozenset().union(*(each.entries for each in programs.values())))
    ids = [text.token_ids for text in run.texts("test")]
    seed = run.config.seed if seed is None else seed
    isolation = isolation_of(programs.values())
    scores = score_heads(
        recording,
        [read(each) for each in ids],
        programs,
        {},
        mean_by_position=Recording.open(run.recording_folder("fit")),
        seed=seed,
        on_event=on_event,
    )
    covered = [scores[head] for head in programs]
    tally = Tally(
        torch.tensor([found.chosen for found in covered]),
        {
            name: torch.tensor([found.baselines[name] for found in covered])
            for name in covered[0].baselines
        },
        {head: scores[head].failure or "" for head in programs if scores[head].failure},
    )
    seen = count_seen(ids, used_texts(run, read.tokenizer), read.tokenizer)
    return score_of(programs, tally, len(asked), ids, seen, seed, isolation)


def refuse_without_texts(**given: object) -> None:
    """Raise HeadscriptError where something is `given` that only other texts have a use for."""
    for name, value in given.items():
        if value is not None:
            raise HeadscriptError(
                f"--{name.replace('_', '-')} is for other texts than the run's own: name some "
                "(--texts)."
            )

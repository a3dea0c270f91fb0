"""The paper's own protocol beside ours: what choosing and reporting on the same sentences is worth.

In arXiv 2606.19317 all programs of a model are scored on five short sentences, each head takes the
best, and the scores on these same sentences are reported. Here the programs of a run go through
that, and the very same choices are then scored on the run's test texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from headscript.evaluation.tables import HeadScores, score_heads
from headscript.events import Listener, ignore
from headscript.heads import Head, parse_heads
from headscript.models import Model
from headscript.programs.program import Program
from headscript.propose.writing import read_frontiers, write_program
from headscript.recorded import Recorded
from headscript.recording import record
from headscript.runs import FOUND, Run
from headscript.study.crossing import choose, overall


def papers_protocol(
    run: Run, model: Model, sentences: Sequence[str], *, on_event: Listener = ignore
) -> dict[str, Any]:
    """Choose the programs of a run anew on `sentences`, and report them there and on test texts.

    What is found, each a mean over heads with an interval over texts where there are several:

    - `five`: IoU on the sentences of the programs chosen on them, which the paper reports,
    - `five_intended`: IoU on the sentences of the programs written for the heads,
    - `five_ours`: IoU on the sentences of the programs that the run chose on its select texts,
    - `unseen`: IoU on the run's test texts of the programs chosen on the sentences,
    - `baselines`: IoU on the sentences of patterns that need no program,
    - `heads`: a row for each, `tokens`: those of each sentence.

    "Written for a head" is what the search wrote for it, whether the run gave it another's or not.
    Raises HeadscriptError where a sentence has more tokens than the model takes.
    """
    recorded = Recorded(run)
    ids = [tuple(model.encode(sentence, run.config.max_tokens)) for sentence in sentences]
    texts = [recorded.read(each) for each in ids]
    heads = parse_heads(run.config.heads, run.model.heads_per_layer)
    ours, written = run.programs(FOUND), _written(run)
    names, seed = list(written), run.config.seed
    with TemporaryDirectory() as folder:
        recording = record(model, ids, Path(folder) / "sentences", heads=heads)
        cells = sum(len(text) ** 2 for text in texts)
        chosen = choose(
            list(written.values()),
            texts,
            recording,
            seed=seed,
            max_cells=cells,
            on_event=on_event,
        )
        best = {head: written[names[place]] for head, place in chosen.items()}

        def score(programs: Mapping[Head, Program]) -> dict[Head, HeadScores]:
            return score_heads(
                recording,
                texts,
                best,
                programs,
                mean_by_position=None,
                seed=seed,
                on_event=on_event,
            )

        here, of_ours = score(written), score(ours)
    test = recorded.split("test")
    there = score_heads(
        test.recording, test.texts, best, {}, mean_by_position=None, seed=seed, on_event=on_event
    )
    rows = [
        {
            "head": str(head),
            "five_iou": fmean(found.chosen),
            "five_from": str(names[chosen[head]]),
            "five_intended_iou": fmean(found.intended),
            "five_ours_iou": fmean(of_ours[head].intended),
            "unseen_iou": fmean(there[head].chosen),
        }
        for head, found in here.items()
    ]
    baselines = {
        name: fmean(fmean(found.baselines[name]) for found in here.values())
        for name in next(iter(here.values())).baselines
    }
    return {
        "heads": rows,
        "tokens": [len(each) for each in ids],
        "five": overall(here, "chosen", seed),
        "five_intended": overall(here, "intended", seed),
        "five_ours": overall(of_ours, "intended", seed),
        "unseen": overall(there, "chosen", seed),
        "baselines": baselines,
    }


def _written(run: Run) -> dict[Head, Program]:
    """The program that the run's search wrote for each head; those it chose where it had none."""
    if "search" not in run.config.proposers:
        return run.programs(FOUND)
    layers = sorted({head.layer for head in run.covered_heads()})
    return {
        head: write_program(run, frontier)[0]
        for head, frontier in read_frontiers(run, layers).items()
    }

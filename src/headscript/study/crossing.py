"""Programs of one run met with the heads of another: other models, other domains of text.

Choices are made on the other run's select texts and reported on its test texts, as in the run
itself, so that a number here stands beside the run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from headscript.evaluation.tables import HeadScores, distances, score_heads
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.language import Text
from headscript.library.masks import suited
from headscript.programs.program import Program
from headscript.recorded import Recorded
from headscript.recording import Recording
from headscript.runs import FOUND, Run
from headscript.similarity import bootstrap_interval

_CELLS = 100_000
"""Cells of select texts on which programs meet heads; as in `headscript explain`."""


def carried(source: Run, target: Run, *, on_event: Listener = ignore) -> dict[str, Any]:
    """Programs of a run on the heads of another run.

    Where both are of one model, each head's own program is also scored as it is. What is found:

    - `heads`: a row for each head with `best_iou`, `best_from` (the head the program chosen on the
      select texts was found for), and `own_iou` where there is one,
    - `best`, `own`: mean over heads with a 95 % interval over test texts,
    - `programs`: how many there were to choose from, `unsuited`: how many do not fit the model's
      kind (a decoder takes none that looks ahead).
    """
    recorded = Recorded(target)
    causal = target.model.causal
    programs = source.programs(FOUND)
    fitting = {
        head: fit
        for head, program in programs.items()
        if (fit := suited(program, causal=causal)) is not None
    }
    test, select = recorded.split("test"), recorded.split("select")
    seed = target.config.seed
    sources, candidates = list(fitting), list(fitting.values())
    chosen = choose(candidates, select.texts, select.recording, seed=seed, on_event=on_event)
    same = source.model.weights_hash == target.model.weights_hash
    own = {head: fitting[head] for head in test.recording.heads if same and head in fitting}
    scores = score_heads(
        test.recording,
        test.texts,
        {head: candidates[place] for head, place in chosen.items()},
        own,
        mean_by_position=None,
        seed=seed,
        on_event=on_event,
    )
    rows = []
    for head, score in scores.items():
        place = chosen.get(head)
        rows.append(
            {
                "head": str(head),
                "best_iou": fmean(score.chosen),
                "best_from": None if place is None else str(sources[place]),
                "own_iou": fmean(score.intended) if head in own else None,
            }
        )
    return {
        "heads": rows,
        "best": overall(scores, "chosen", seed),
        "own": overall(scores, "intended", seed) if own else None,
        "programs": len(fitting),
        "unsuited": len(programs) - len(fitting),
    }


def choose(
    programs: list[Program],
    texts: list[Text],
    recording: Recording,
    *,
    seed: int,
    max_cells: int = _CELLS,
    on_event: Listener = ignore,
) -> dict[Head, int]:
    """The place of the program with the highest mean IoU on these texts, for each head."""
    if not programs:
        return {}
    table, _ = distances(
        programs, texts, recording, max_cells=max_cells, seed=seed, on_event=on_event
    )
    return dict(zip(recording.heads, table.argmax(0).tolist(), strict=True))


def overall(scores: Mapping[Head, HeadScores], kind: str, seed: int) -> dict[str, Any]:
    """Mean IoU over heads and texts of the programs of a kind, and its 95 % interval over texts."""
    by_head = [getattr(score, kind) for score in scores.values()]
    by_text = [fmean(values) for values in zip(*by_head, strict=True)]
    return {"mean": fmean(by_text), "ci95": bootstrap_interval(by_text, seed=seed)}

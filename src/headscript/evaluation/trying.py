"""A person's own idea of a head, beside what the run found for it and beside the baselines.

All are scored on the same texts, as they were recorded, so the idea and the run's program are
compared text by text: the interval is that of the difference, and much narrower than those of the
two scores. Constants are fitted on fit texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headscript.errors import HeadscriptError
from headscript.evaluation.ideas import read_idea
from headscript.evaluation.portraits import RunReader, Sighting
from headscript.evaluation.tables import HeadScores, score_heads
from headscript.evaluation.trials import Against, Mean, Trial
from headscript.events import Listener, ignore
from headscript.heads import Head, parse_heads
from headscript.language import Text
from headscript.programs.freeform import FreeForm, isolation_of
from headscript.programs.loading import load_program, read_program
from headscript.programs.program import Program
from headscript.propose.search import SearchSettings, fit_rows
from headscript.recording import Recording
from headscript.runs import Run
from headscript.tuning.fitting import FittedProgram, fit_program, summed

SPLITS = ("select", "test")
"""The texts of a run that ideas are tried on, the usual ones first."""


def try_program(
    run: Run | str | Path,
    head: Head | str,
    program: Program | str | Path,
    on: str = "select",
    *,
    fit: bool = False,
    version: str | None = None,
    on_event: Listener = ignore,
) -> Trial:
    """Score an idea of a head beside the run's own program of it and beside the baselines.

    `program` is a program, a file of one (of the language, or a free-form one, which runs in the
    sandbox), or a string of several lines, the source of one of the language. It is tried on the
    run's select texts or, with `on="test"`, on its test texts, against the recording of these: the
    model is needed only where a program looks at its embeddings. Select is the default because who
    tries many ideas chooses among them, and scores on the texts that one chose by are too high.
    `fit` fits the idea's constants to the head first, on the fit texts alone. `version` None is the
    newest of the run's programs.

    Raises HeadscriptError where the head was not recorded, the recording is gone, the idea cannot
    be read, has no constants to fit, or fails on every text; GateError, with the line, for what the
    language does not allow.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if on not in SPLITS:
        raise HeadscriptError(f"Ideas are tried on {' or '.join(SPLITS)} texts, not on {on!r}.")
    named = head if isinstance(head, Head) else Head.parse(head)
    (head,) = parse_heads(str(named), run.model.heads_per_layer)
    recording = _recording(run, on, head)
    idea = _read(program, run, on_event)
    version, own = _own_program(run, head, version)
    together = [idea] if own is None else [idea, own]
    read = RunReader(run, frozenset().union(*(each.entries for each in together)))
    fitted: FittedProgram | None = None
    turned: tuple[str, ...] = ()
    if fit:
        fitted = _fitted(run, head, idea, read)
        turned, idea = _turned(idea, fitted.program), fitted.program
    text_ids = tuple(text.id for text in run.texts(on))
    texts = [read(text.token_ids) for text in run.texts(on)]
    isolation = isolation_of(together)
    with_means = run.recording_folder("fit").is_dir()
    seed = run.config.seed
    scores = score_heads(
        recording,
        texts,
        {head: idea},
        {} if own is None else {head: own},
        mean_by_position=_recording(run, "fit", head) if with_means else None,
        seed=seed,
        on_event=lambda event: on_event(replace(event, stage=f"scoring on the {on} texts")),
    )[head]
    if scores.failure is not None and not any(scores.chosen):
        raise HeadscriptError(scores.failure)
    return Trial(
        head=head,
        on=on,
        text_ids=text_ids,
        tokens=sum(map(len, texts)),
        idea=idea,
        iou=Mean.of(scores.chosen, seed),
        status=scores.failure or "ok",
        against=None if own is None else _against(own, version, scores, seed),
        baselines={name: Mean.of(values, seed) for name, values in scores.baselines.items()},
        worst=_worst(recording, head, idea, text_ids, texts, scores),
        fitted=fitted,
        turned=turned,
        isolation=isolation,
    )


def _against(own: Program, version: str, scores: HeadScores, seed: int) -> Against:
    """The run's program, and what the idea is worth beside it, text by text."""
    gained = [ours - its for ours, its in zip(scores.chosen, scores.intended, strict=True)]
    return Against(
        program=own,
        version=version,
        iou=Mean.of(scores.intended, seed),
        status=scores.intended_failure or "ok",
        difference=Mean.of(gained, seed),
    )


def _recording(run: Run, split: str, head: Head) -> Recording:
    """The head on the texts of a split."""
    folder = run.recording_folder(split)
    if not folder.is_dir():
        raise HeadscriptError(
            f"The run in {run.directory} has no recording of its {split} texts (any more), and "
            "ideas are tried against that; make the run anew with another --out."
        )
    recording = Recording.open(folder)
    if head not in recording.heads:
        raise HeadscriptError(
            f"The run in {run.directory} did not record {head}: it was asked for "
            f"{run.config.heads}."
        )
    return recording.only([head])


def _read(program: Program | str | Path, run: Run, on_event: Listener) -> Program:
    if isinstance(program, Program):
        return program
    if isinstance(program, str) and "\n" in program:
        return read_program(program, "idea")
    return read_idea(program, run, on_event=on_event)


def _own_program(run: Run, head: Head, version: str | None) -> tuple[str, Program | None]:
    """The run's program of a head, if it has one, and of which version."""
    if version is None:
        version = run.versions()[-1]
    else:
        run.covered_heads(version)  # raises where there is no such version
    file = run.program_file(head, version)
    return version, load_program(file) if file.is_file() else None


def _fitted(run: Run, head: Head, idea: Program, read: RunReader) -> FittedProgram:
    """An idea with constants fitted to the head, on the rows that the search fits on."""
    if isinstance(idea, FreeForm):
        raise HeadscriptError(
            f"{idea.name} is a free-form program, which has no constants to fit; try it as it is."
        )
    recording = _recording(run, "fit", head)
    texts = [read(text.token_ids) for text in run.texts("fit")]
    rows = fit_rows(texts, SearchSettings.of(run.config))
    actual = rows.gather(recording.layer(head.layer))[:, 0].contiguous()  # (cells,)
    try:
        fitted = fit_program(idea, rows, actual)
    except (RuntimeError, ArithmeticError, MemoryError) as error:  # too deep, too large
        raise HeadscriptError(f"{idea.name} cannot be fitted ({error}).") from error
    if not fitted.program.constants:
        raise HeadscriptError(f"{idea.name} has no constants to fit; try it as it is.")
    return fitted


def _turned(before: Program, after: Program) -> tuple[str, ...]:
    if before.constants.keys() != after.constants.keys():
        before = summed(before)  # as it was fitted
    values = before.constants
    return tuple(n for n, value in after.constants.items() if values.get(n, 0.0) * value < 0)


def _worst(
    recording: Recording,
    head: Head,
    idea: Program,
    text_ids: Sequence[str],
    texts: Sequence[Text],
    scores: HeadScores,
) -> Sighting:
    """Head and idea on the text with the lowest IoU, of those on which the idea works."""
    for number in sorted(range(len(texts)), key=lambda number: scores.chosen[number]):
        try:
            predicted = idea(texts[number]).detach().float().numpy()
        except HeadscriptError:
            continue
        finally:
            texts[number].forget()
        return Sighting(
            text_ids[number],
            scores.chosen[number],
            texts[number].surfaces,
            recording.pattern(head, number).numpy(),
            predicted,
        )
    raise HeadscriptError(scores.failure or f"{idea.name} gives no pattern on any text.")

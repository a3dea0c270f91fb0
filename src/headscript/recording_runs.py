"""Runs that hold the recording of a model and nothing else, as `headscript record` makes them.

`explain` with the same settings goes on from one, and `match` takes one in the place of a model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headscript.disk import clear_disk_errors
from headscript.engines import Engine
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.models import Model
from headscript.recorded import Recorded
from headscript.records import RECORD, RECORDING_SETTINGS, RunConfig, RunText
from headscript.runs import Run
from headscript.stages import Clock, check_bits, prepare_texts, record_splits, settle
from headscript.texts import check_texts


def record_run(
    model: str | Path,
    texts: str | Path | None,
    out: str | Path,
    *,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    heads: str | None = None,
    recording_bits: int = 16,
    seed: int | None = None,
    field: str = "text",
    on_event: Listener = ignore,
) -> Run:
    """Record the heads of `model` on `texts` in the run folder `out`, and do nothing else.

    `headscript.explaining.explain`, for which all of these mean the same, goes on from such a run;
    where it did already, all is there and nothing is changed. Raises HeadscriptError as that does.
    """
    source, settings = recording_settings(
        model,
        texts,
        max_texts=max_texts,
        max_tokens=max_tokens,
        heads=heads,
        seed=seed,
        field=field,
        recording_bits=recording_bits,
    )
    if source is not None:
        raise HeadscriptError(f"{source.directory} is a run, and has its recording already.")
    config = RunConfig(**settings, proposers=())
    with Run.create_or_resume(out, config) as run:
        _record(run, *settle(run, on_event), None, on_event)
    return run


def recording_settings(
    model: str | Path,
    texts: str | Path | None,
    *,
    max_texts: int | None,
    max_tokens: int | None,
    heads: str | None,
    seed: int | None,
    field: str = "text",
    recording_bits: int = 16,
) -> tuple[Run | None, dict[str, Any]]:
    """What a recording of `model` on `texts` hangs on, as settings of `RunConfig`.

    Where `model` is the folder of a run, that run is given too, and the settings are its own. None
    is what was not asked for: all heads, seed 0. Raises HeadscriptError where a model comes without
    texts, or a run with something that it settles itself.
    """
    folder = Path(model).expanduser()
    if (folder / RECORD).is_file():
        source = Run.open(folder)
        asked = {"--texts": texts, "--max-texts": max_texts, "--max-tokens": max_tokens}
        asked |= {"--heads": heads, "--seed": seed}
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise HeadscriptError(
                f"{folder} is a run, which has its texts and heads: leave out "
                f"{', '.join(given)}, or name a model."
            )
        return source, {name: getattr(source.config, name) for name in RECORDING_SETTINGS}
    if texts is None:
        raise HeadscriptError(
            f"{model} is a model, not a run: say on which texts to look at its heads, as in "
            "--texts stories."
        )
    check_bits(recording_bits)
    check_texts(texts)
    return None, {
        "model": str(model),
        "texts": str(texts),
        "field": field,
        "max_texts": max_texts,
        "max_tokens": max_tokens,
        "heads": "all" if heads is None else heads,
        "seed": seed or 0,
        "recording_bits": recording_bits,
    }


def recorded_for(
    run: Run,
    source: Run | None,
    clock: Clock,
    *,
    prepare: Callable[[RunConfig, Model], list[RunText]] = prepare_texts,
    keeping: bool = True,
    engine: Engine | None = None,
    on_event: Listener = ignore,
) -> Recorded | None:
    """Record what a run asks for in its folder, or take what `source` has recorded.

    None where the run is finished; then it is seen to be of this model and these texts alone.
    `prepare` takes the texts that are recorded; without `keeping` the recording of `source` stays
    where it is. Raises HeadscriptError as `explain` does where that cannot be.
    """
    with clock.timing("loading"):
        if source is not None:
            run.settle_model(source.model)
            run.settle_texts(source.texts())
        else:
            model, texts, heads = settle(run, on_event, prepare=prepare)
    if run.finished:
        return None
    if source is not None:
        found = Recorded(source)
        found.recordings()  # all are there, or nothing is taken
        if keeping:
            _take(run, found)
        return found
    with clock.timing("recording"):
        return _record(run, model, texts, heads, engine, on_event)


def _record(
    run: Run,
    model: Model,
    texts: list[RunText],
    heads: Sequence[Head],
    engine: Engine | None,
    on_event: Listener,
) -> Recorded:
    run.save_tokenizer(model.tokenizer)
    record_splits(run, model, texts, heads, on_event, engine=engine)
    return Recorded(run, model.tokenizer)


def _take(run: Run, recorded: Recorded) -> None:
    """Give a run the tokenizer and the recording of another, or keep its own.

    The files of the recording are shared where the disk can, for they never change. Raises
    HeadscriptError where the run cannot be written.
    """
    run.save_tokenizer(recorded.tokenizer)
    for split, theirs in recorded.recordings().items():
        ours = run.recording_folder(split)
        if ours.is_dir():
            continue
        with clear_disk_errors(ours):
            part = ours.with_name(f".{split}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(theirs.directory, part, copy_function=_shared)
            part.rename(ours)


def _shared(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
    return target

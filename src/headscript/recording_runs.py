"""Runs that hold the recording of a model and nothing else, as `headscript record` makes them.

`explain` with the same settings goes on from one, and `match` takes one in the place of a model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscript.disk import clear_disk_errors
from headscript.engines import Engine
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.models import Model
from headscript.recording import Recording
from headscript.records import RECORD, RECORDING_SETTINGS, ModelFacts, RunConfig, RunText
from headscript.runs import Run
from headscript.stages import SPLITS, Clock, check_bits, record_splits, settle
from headscript.texts import check_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


@dataclass(frozen=True)
class Recorded:
    """The heads of a model on the texts of a run, with the tokenizer that cut these."""

    model: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    texts: list[RunText]
    recordings: Mapping[str, Recording]
    """By split."""

    @classmethod
    def of(cls, run: Run) -> Recorded:
        """What a run has recorded; raises HeadscriptError where that is not finished, or gone."""
        from headscript.models.loading import read_tokenizer

        model, texts = run.model, run.texts()
        recordings = {split: Recording.open(run.recording_folder(split)) for split in SPLITS}
        return cls(model, read_tokenizer(run.tokenizer_folder), texts, recordings)

    def facts(self) -> dict[str, Any]:
        """Plain data: what was recorded, and the bytes it takes on disk."""
        recordings = self.recordings
        patterns = [file for each in recordings.values() for file in each.directory.rglob("*")]
        return {
            "model": self.model.name,
            "architecture": self.model.architecture,
            "causal": self.model.causal,
            "layers": len(self.model.heads_per_layer),
            "heads": len(next(iter(recordings.values())).heads),
            "texts": {split: len(each.token_counts) for split, each in recordings.items()},
            "tokens": {split: sum(each.token_counts) for split, each in recordings.items()},
            "bytes": sum(file.stat().st_size for file in patterns if file.is_file()),
        }


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
            f"{model} is no run, so texts are needed to see what its heads do; name some (--texts)."
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
    engine: Engine | None = None,
    on_event: Listener = ignore,
) -> Recorded | None:
    """Record what a run asks for in its folder, or take what `source` has recorded.

    None where the run is finished; then it is seen to be of this model and these texts alone.
    Raises HeadscriptError as `explain` does where that cannot be.
    """
    with clock.timing("loading"):
        if source is not None:
            run.settle_model(source.model)
            run.settle_texts(source.texts())
        else:
            model, texts, heads = settle(run, on_event)
    if run.finished:
        return None
    if source is not None:
        found = Recorded.of(source)
        take_recording(run, source, found)
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
    recordings = record_splits(run, model, texts, heads, on_event, engine=engine)
    return Recorded(run.model, model.tokenizer, texts, recordings)


def take_recording(run: Run, source: Run, recorded: Recorded) -> None:
    """Give a run the model, the texts, the tokenizer and the recording of another, or keep its own.

    The files of the recording are shared where the disk can, for they never change. Raises
    HeadscriptError where the run has those of something else, and where it cannot be written.
    """
    run.settle_model(recorded.model)
    run.settle_texts(recorded.texts)
    run.save_tokenizer(recorded.tokenizer)
    for split in SPLITS:
        theirs, ours = source.recording_folder(split), run.recording_folder(split)
        if ours.is_dir():
            continue
        with clear_disk_errors(ours):
            part = ours.with_name(f".{split}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(theirs, part, copy_function=_shared)
            part.rename(ours)


def _shared(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
    return target

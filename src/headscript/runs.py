"""Runs: a folder with everything that is needed to repeat, resume, score and show one job.

    RUN/run.json         what made it: settings, model, text hashes, versions
    RUN/texts.jsonl      the texts and their tokens, split by split
    RUN/tokenizer/       the model's tokenizer
    RUN/recording/       the attention patterns of each split
    RUN/search/          finished work items; RUN/candidates/ those of other proposers
    RUN/library.json     the library that programs were taken from
    RUN/programs/        L05H03.py, a program for each head
    RUN/results.json     scores, a row for each head; RUN/heads.parquet has the same rows as a table
    RUN/portraits.safetensors  what heads and programs do on their best and worst test texts
    RUN/versions/NAME/   the same programs with other constants, as 'headscript tune' leaves them
    RUN/costs/           what replacing each head costs, as 'headscript replace' measured it
    RUN/replacement/     what that command found, by version and texts
    RUN/qa/              questions answered with heads replaced, by version
    RUN/figures/         figures of a paper and their data
    RUN/parts/           what workers have found of a job that is not finished

Every file appears by a rename, so it is there as a whole or not at all: a run that was killed goes
on with what is missing. One process at a time writes a run.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr, ValidationError

from headscript.disk import clear_disk_errors, sweep, write_atomically
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.locking import locked
from headscript.records import (
    FORMAT,
    RECORD,
    Maker,
    ModelFacts,
    RunConfig,
    RunRecord,
    RunText,
    damaged,
    line_of,
    read_record,
    refuse_other_settings,
    refuse_other_version,
    split_facts,
)
from headscript.results import Results, table_rows

if TYPE_CHECKING:
    import torch
    from filelock import FileLock
    from rich.console import RenderableType
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from headscript.models import Model
    from headscript.programs import Program

FOUND = "found"
"""The version of a run's programs that 'headscript explain' wrote."""

_TEXTS = "texts.jsonl"
_RESULTS = "results.json"
_TABLE = "heads.parquet"


class RunModel(ModelFacts):
    """The model of a run: what is known of it and, called, the model itself with heads replaced."""

    _run: Run = PrivateAttr()

    def __init__(self, run: Run, **facts: Any) -> None:
        super().__init__(**facts)
        self._run = run

    def __call__(
        self,
        replace: float = 0.25,
        *,
        version: str | None = None,
        order: str | None = None,
        edits: Sequence[tuple[Head, Path]] | Mapping[Head, Path] = (),
        model: str | Path | Model | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        allow_inconsistent: bool = False,
    ) -> PreTrainedModel:
        """The transformers network, with this share of its heads replaced by the run's programs.

        It is used like any other, saved by its `save_pretrained` and loaded by
        `headscript.load_patched`; `network.headscript` says what was replaced, and undoes it.
        `edits` are program files that take the place of a head's own, and `model` says where the
        run's model is now. See `headscript.patched.patched_model` for what is refused.
        """
        from headscript.patched import patched_model

        return patched_model(
            self._run,
            replace,
            version=version,
            order=order,
            edits=edits,
            model=model,
            device=device,
            dtype=dtype,
            allow_inconsistent=allow_inconsistent,
        )


class Run:
    """A run's folder. Made by `create_or_resume`, it may be written until it is closed."""

    def __init__(self, directory: Path, record: RunRecord, lock: FileLock | None = None) -> None:
        self.directory = directory
        self.record = record
        self._lock = lock

    @classmethod
    def create_or_resume(cls, directory: str | Path, config: RunConfig) -> Run:
        """Begin a run in a new or empty folder, or go on with the one that was begun there.

        The run is locked against other processes until it is closed or the process ends, however
        that happens. One that holds a recording alone takes the settings of what goes on from it.
        Raises HeadscriptError where another process is writing it, where it was begun with other
        settings or by another version, and where the folder is something else.
        """
        directory = Path(directory).expanduser()
        with clear_disk_errors(directory):
            _refuse_what_is_no_run(directory)
            directory.mkdir(parents=True, exist_ok=True)
            lock = locked(directory, "run")
        try:
            maker = Maker.here()
            record = RunRecord(format=FORMAT, config=config, made_with=(maker,))
            begun = read_record(directory) if (directory / RECORD).exists() else record
            try:
                refuse_other_settings(directory, begun.config, config)
                refuse_other_version(directory, begun.made_with[-1], maker, resuming=True)
            except HeadscriptError:
                if begun.texts is not None:  # until then no work was done, and nothing binds
                    raise
            else:
                record = begun
                if begun.made_with[-1] != maker:
                    record = begun.model_copy(update={"made_with": (*begun.made_with, maker)})
                if not begun.config.proposers:
                    record = record.model_copy(update={"config": config})
            run = cls(directory, record, lock)
            with clear_disk_errors(directory):
                for folder in (directory, *directory.rglob("*/")):
                    sweep(folder)
            run._keep(record)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Open a run for reading.

        Raises HeadscriptError where there is none, where it was made by a version that means other
        things by it, and where its texts are not those it was made with.
        """
        directory = Path(directory).expanduser()
        if not (directory / RECORD).is_file():
            raise HeadscriptError(_no_run(directory))
        record = read_record(directory)
        refuse_other_version(directory, record.made_with[-1], Maker.here(), resuming=False)
        return cls(directory, record)

    @classmethod
    def open_for_writing(cls, directory: str | Path) -> Run:
        """Open a run to add to it, until it is closed.

        Raises HeadscriptError as `open` does, and where another process is writing it.
        """
        run = cls.open(directory)
        with clear_disk_errors(run.directory):
            run._lock = locked(run.directory, "run")
        return run

    def close(self) -> None:
        """Let other processes write the run; reading goes on."""
        if self._lock is not None:
            (self.directory / "lock.pid").unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.run(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.run(self)

    # What it is made of ------------------------------------------------------------------------

    @property
    def config(self) -> RunConfig:
        """What was asked for."""
        return self.record.config

    @property
    def model(self) -> RunModel:
        """The model it is about; `run.model(replace=0.25)` loads it with heads replaced.

        Raises HeadscriptError where the run was killed before it knew.
        """
        if self.record.model is None:
            raise HeadscriptError(_unfinished(self.directory))
        return RunModel(self, **dict(self.record.model))

    @property
    def model_name(self) -> str:
        """What leads to the run's model; raises HeadscriptError as `require_model` does."""
        self.require_model()
        return self.config.model

    def require_model(self) -> None:
        """Raise HeadscriptError where there is no model to run, but imported attention of one."""
        if self.model.imported:
            raise HeadscriptError(
                f"The run in {self.directory} holds imported attention of {self.model.name} and no "
                "model that could be run; 'match', 'score' without texts, 'show' and 'report' need "
                "none."
            )

    def settle_model(self, model: Model | ModelFacts) -> None:
        """Write down the model, or make sure that it is the one the run was begun with."""
        facts = (
            model
            if isinstance(model, ModelFacts)
            else ModelFacts(
                name=model.name,
                weights_hash=model.weights_hash,
                architecture=type(model.network).__name__,
                heads_per_layer=model.heads_per_layer,
                causal=model.causal,
            )
        )
        begun = self.record.model
        if begun is None:
            self._keep(self.record.model_copy(update={"model": facts}))
        elif begun.weights_hash != facts.weights_hash:
            raise HeadscriptError(
                f"The run in {self.directory} was begun with {begun.name} (weights "
                f"{begun.weights_hash[:12]}), and {facts.name} has other weights "
                f"({facts.weights_hash[:12]}); choose another --out."
            )

    def settle_texts(self, texts: Sequence[RunText]) -> None:
        """Keep the texts, or make sure that they are those the run was begun with."""
        facts = split_facts(texts)
        begun = self.record.texts
        if begun is not None and begun != facts:
            different = sorted(
                split for split in begun | facts if begun.get(split) != facts.get(split)
            )
            raise HeadscriptError(
                f"The run in {self.directory} was begun with other texts (different: "
                f"{', '.join(different)}); choose another --out."
            )
        if begun is None or not self.has(_TEXTS):
            lines = "".join(line_of(text) + "\n" for text in texts)
            self.write(_TEXTS, lines.encode())
            self._keep(self.record.model_copy(update={"texts": facts}))

    def texts(self, split: str | None = None) -> list[RunText]:
        """The texts of a split (None: of all), in their order.

        Raises HeadscriptError where they are missing or not those the run was made with.
        """
        if self.record.texts is None:
            raise HeadscriptError(_unfinished(self.directory))
        try:
            rows = [json.loads(line) for line in self.read(_TEXTS).splitlines()]
            texts = [RunText(**row | {"token_ids": tuple(row["token_ids"])}) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise HeadscriptError(damaged(self.directory / _TEXTS)) from error
        if split_facts(texts) != self.record.texts:
            raise HeadscriptError(
                f"{self.directory / _TEXTS} does not hold the texts that the run was made with: "
                "it was changed; restore it, or make the run anew."
            )
        return [text for text in texts if split is None or text.split == split]

    def save_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Keep the model's tokenizer, so that programs can be tried without the model."""
        self._must_be_open()
        folder = self.tokenizer_folder
        if folder.is_dir():
            return
        with clear_disk_errors(folder):
            part = folder.with_name(".tokenizer.part")
            shutil.rmtree(part, ignore_errors=True)
            tokenizer.save_pretrained(str(part))
            part.rename(folder)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer is kept."""
        return self.directory / "tokenizer"

    def recording_folder(self, split: str) -> Path:
        """Where the recording of a split is kept."""
        return self.directory / "recording" / split

    def program_file(self, head: Head, version: str = FOUND) -> Path:
        """Where the program of a head is kept; a head that is not covered has none."""
        return self.program_folder(version) / f"{head}.py"

    def program_folder(self, version: str = FOUND) -> Path:
        """Where the programs of a version are kept."""
        if version == FOUND:
            return self.directory / "programs"
        return self.directory / "versions" / version

    def versions(self) -> list[str]:
        """The versions of the programs, oldest first: "found", then those that were tuned.

        Raises HeadscriptError where the record of one is damaged.
        """
        finished = (self.directory / "versions").glob("*/version.json")
        by_age = sorted(finished, key=lambda file: (self._time_of(file), file.parent.name))
        return [FOUND, *(file.parent.name for file in by_age)]

    def _time_of(self, record: Path) -> float:
        """Seconds since 1970 at which a version was made: that which it tells itself.

        That of the file, which a copy may change, is for records from before they told it.
        """
        found = self.read_json(record.relative_to(self.directory).as_posix())
        try:
            made = found.get("made")
            return datetime.fromisoformat(made).timestamp() if made else record.stat().st_mtime
        except (AttributeError, TypeError, ValueError) as error:
            raise HeadscriptError(damaged(record)) from error

    def programs(self, version: str | None = None) -> dict[Head, Program]:
        """The programs of a version (None: the newest) of all heads that have one, sorted.

        Raises HeadscriptError where there is no such version or no program at all, and where the
        gate refuses a program, naming its line.
        """
        from headscript.programs.loading import load_program

        version = self.versions()[-1] if version is None else version
        return {
            head: load_program(self.program_file(head, version))
            for head in self.covered_heads(version)
        }

    def covered_heads(self, version: str = FOUND) -> list[Head]:
        """The heads that have a program in a version, sorted; raises HeadscriptError as above."""
        if version not in self.versions():
            raise HeadscriptError(
                f"The run in {self.directory} has no programs {version!r}; it has "
                f"{', '.join(self.versions())}."
            )
        found = [head for head in self.model.heads if self.program_file(head, version).is_file()]
        if not found:
            self._must_be_finished()
            raise HeadscriptError(f"The run in {self.directory} has no programs {version!r}.")
        return found

    # Its results -------------------------------------------------------------------------------

    def write_results(
        self, summary: Mapping[str, Any], heads: Iterable[Mapping[str, Any]], **more: Any
    ) -> Results:
        """Check and write results.json and heads.parquet; with these a run is finished.

        `more` are further parts of results.json. The table comes first, so that a run that has
        results.json has both.
        """
        import polars  # a tenth of a second that other commands need not pay

        results = Results.model_validate({"summary": summary, "heads": list(heads), **more})
        frame = polars.DataFrame(table_rows(results), infer_schema_length=None)
        table = io.BytesIO()
        frame.write_parquet(table)
        self.write(_TABLE, table.getvalue())
        self.write_json(_RESULTS, results.model_dump(mode="json"))
        return results

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return self.has(_RESULTS)

    def results(self) -> Results:
        """The contents of results.json; raises HeadscriptError where the run is not finished."""
        self._must_be_finished()
        try:
            return Results.model_validate(self.read_json(_RESULTS))
        except ValidationError as error:
            raise HeadscriptError(damaged(self.directory / _RESULTS)) from error

    def _must_be_finished(self) -> None:
        if self.finished:
            return
        if self.config.proposers:
            raise HeadscriptError(_unfinished(self.directory))
        raise HeadscriptError(
            f"The run in {self.directory} holds a recording and no programs yet; "
            f"'headscript match {self.directory} --out {self.directory}' gives it some."
        )

    # Its files ---------------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        """Whether a file of that path within the run is there, and so is finished."""
        return (self.directory / path).exists()

    def read(self, path: str) -> bytes:
        """The contents of a file of the run; raises HeadscriptError where it cannot be read."""
        try:
            return (self.directory / path).read_bytes()
        except OSError as error:
            raise HeadscriptError(
                f"{self.directory / path} cannot be read: {error.strerror or error}."
            ) from error

    def read_json(self, path: str) -> Any:
        """The value in a JSON file of the run; raises HeadscriptError where it is damaged."""
        try:
            return json.loads(self.read(path))
        except (ValueError, RecursionError) as error:
            raise HeadscriptError(damaged(self.directory / path)) from error

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the run as a whole; raises HeadscriptError where that cannot be done."""
        self._must_be_open()
        write_atomically(self.directory / path, content)

    def write_json(self, path: str, value: Any) -> None:
        """Write a value as a JSON file of the run; numbers must be finite."""
        self.write(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def _keep(self, record: RunRecord) -> None:
        content = (record.model_dump_json(indent=1) + "\n").encode()
        if not self.has(RECORD) or self.read(RECORD) != content:
            self.write(RECORD, content)
        self.record = record

    def _must_be_open(self) -> None:
        if self._lock is None:
            raise RuntimeError(f"{self} is open for reading only")


def load_run(directory: str | Path) -> Run:
    """Open a run for reading: its results, programs and texts."""
    return Run.open(directory)


def tokenizer_of(name: str, *, on_event: Listener = ignore) -> tuple[PreTrainedTokenizerBase, bool]:
    """The tokenizer of a run's folder or of a model, and whether its model is a decoder.

    Raises HeadscriptError where there is none.
    """
    from headscript.models.loading import load_tokenizer, read_tokenizer

    if not (Path(name).expanduser() / RECORD).is_file():
        return load_tokenizer(name, on_event=on_event)
    run = Run.open(name)
    return read_tokenizer(run.tokenizer_folder), run.model.causal


def _refuse_what_is_no_run(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise HeadscriptError(f"{directory} is a file; name a folder for the run in --out.")
    # Killed before its first file, a run leaves no more behind than its lock and a part of a file.
    others = [
        file
        for file in directory.iterdir()
        if file.name not in ("lock", "lock.pid") and not file.name.endswith(".part")
    ]
    if others and not (directory / RECORD).exists():
        raise HeadscriptError(
            f"The folder {directory} is not empty and holds no run; choose another --out."
        )


def _no_run(directory: Path) -> str:
    if not directory.exists():
        return f"There is no run at {directory}: no such folder."
    return f"{directory} holds no run (no {RECORD}); name a folder that 'headscript explain' made."


def _unfinished(directory: Path) -> str:
    return (
        f"The run in {directory} is not finished; start the same command again, it goes on "
        "where it was."
    )

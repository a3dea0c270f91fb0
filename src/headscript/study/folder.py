"""The folder of a study: its record, its runs, and what each step left.

STUDY/study.json            what is asked for, and who made it
STUDY/runs/MODEL/TEXTS/     a run, as 'headscript explain' makes it
STUDY/steps/NAME.json       what a step found that is of no single run, and what it took
STUDY/results/              tables, as parquet and CSV
STUDY/figures/, atlases/    to look at
STUDY/report.md, .html      to read
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from headscript.disk import clear_disk_errors, sweep, write_atomically
from headscript.errors import HeadscriptError
from headscript.locking import locked
from headscript.records import Maker
from headscript.study.spec import Opened, Study
from headscript.study.steps import file_stem

_RECORD = "study.json"
_PLAN = "plan.json"
_FORMAT = 1


class StudyRecord(BaseModel):
    """The contents of study.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    study: Study
    left_out: dict[str, str]
    made_with: tuple[Maker, ...]


class StudyFolder:
    """A study's folder, locked against other processes until it is closed."""

    def __init__(self, directory: Path, record: StudyRecord, lock: Any) -> None:
        self.directory = directory
        self.record = record
        self._lock = lock

    @classmethod
    def create_or_resume(cls, directory: str | Path, opened: Opened) -> StudyFolder:
        """Begin a study in a new or empty folder, or go on with the one that was begun there.

        Raises HeadscriptError where another process works on it, where another study was begun
        there, and where the folder is something else.
        """
        directory = Path(directory).expanduser()
        if directory.exists() and not directory.is_dir():
            raise HeadscriptError(f"{directory} is a file; name a folder for the study in --out.")
        file = directory / _RECORD
        if not file.exists() and directory.is_dir() and _holds_something(directory):
            raise HeadscriptError(
                f"The folder {directory} is not empty and holds no study; choose another --out."
            )
        with clear_disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = locked(directory, "study")
        try:
            maker = Maker.here()
            record = StudyRecord(
                format=_FORMAT, study=opened.study, left_out=opened.left_out, made_with=(maker,)
            )
            if file.exists():
                begun = _read(file)
                _refuse_another(directory, begun.study, opened.study)
                makers = begun.made_with
                record = record.model_copy(
                    update={"made_with": makers if maker in makers else (*makers, maker)}
                )
            folder = cls(directory, record, lock)
            for part in (directory, directory / "steps"):
                sweep(part)
            folder.write(_RECORD, (record.model_dump_json(indent=1) + "\n").encode())
        except BaseException:
            lock.release()
            raise
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        (self.directory / "lock.pid").unlink(missing_ok=True)
        self._lock.release()

    @property
    def study(self) -> Study:
        """What is asked for."""
        return self.record.study

    def run_folder(self, model: str, texts: str) -> Path:
        """Where the run of a model on texts is."""
        return self.directory / "runs" / model / texts

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the study as a whole."""
        write_atomically(self.directory / path, content)

    @property
    def has_plan(self) -> bool:
        """Whether a plan was kept."""
        return (self.directory / _PLAN).exists()

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Write down what the study is foreseen to take."""
        self.write(_PLAN, (json.dumps(plan, indent=1, allow_nan=False) + "\n").encode())

    def plan(self) -> dict[str, Any]:
        """What was written down; nothing where there is none."""
        return self._read_json(self.directory / _PLAN) if self.has_plan else {}

    def has_step(self, name: str) -> bool:
        """Whether a step is done."""
        return (self.directory / _step(name)).exists()

    def keep_step(self, name: str, seconds: float, found: Any) -> None:
        """Write down that a step is done, what its last process took, and what it found."""
        value = {"step": name, "seconds": round(seconds, 2), "found": found}
        self.write(_step(name), (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def step(self, name: str) -> Any:
        """What a step found; raises HeadscriptError where its file is damaged or missing."""
        return self._read_step(name)["found"]

    def seconds(self, name: str) -> float:
        """What a step took."""
        return float(self._read_step(name)["seconds"])

    def _read_step(self, name: str) -> dict[str, Any]:
        return self._read_json(self.directory / _step(name))

    def _read_json(self, file: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise HeadscriptError(
                f"{file} cannot be read ({error}); delete it and start the study again."
            ) from error
        return found


def _step(name: str) -> str:
    return f"steps/{file_stem(name)}.json"


def _holds_something(directory: Path) -> bool:
    return any(
        file.name not in ("lock", "lock.pid") and not file.name.endswith(".part")
        for file in directory.iterdir()
    )


def _read(file: Path) -> StudyRecord:
    try:
        return StudyRecord.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise HeadscriptError(
            f"{file} is damaged or of another version; choose another --out."
        ) from error


def _refuse_another(directory: Path, begun: Study, asked: Study) -> None:
    different = [
        name for name in Study.model_fields if getattr(begun, name) != getattr(asked, name)
    ]
    if different:
        raise HeadscriptError(
            f"The study in {directory} was begun with other settings (different: "
            f"{', '.join(different)}); choose another --out."
        )

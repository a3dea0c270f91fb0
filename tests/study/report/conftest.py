"""The report of the finished study, and a copy of that study."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headscript.study import open_study
from headscript.study.folder import StudyFolder


@pytest.fixture(scope="module")
def report(tiny_study: Path) -> str:
    """The report of the finished study, as Markdown."""
    return (tiny_study / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def copied(tiny_study: Path, tiny_study_file: Path, tmp_path: Path) -> Iterator[StudyFolder]:
    """A copy of the finished study, open."""
    shutil.copytree(tiny_study, tmp_path / "out")
    with StudyFolder.create_or_resume(tmp_path / "out", open_study(tiny_study_file)) as folder:
        yield folder

"""A copy of the small run, its model, and texts that it has not seen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.small_run import save_texts

from headscript.models import Model, load_model
from headscript.runs import Run
from headscript.texts import Document, load_texts


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy that a test may change, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


@pytest.fixture(scope="session")
def model(small_run: Path) -> Model:
    return load_model(small_run.parent / "model")


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    return load_texts(save_texts(tmp_path / "other.txt", number=4, seed=9))

"""What a run has recorded: read split by split, and kept by nobody but who asked."""

import gc
import shutil
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch

from headscript.errors import HeadscriptError
from headscript.recorded import Recorded
from headscript.records import SPLITS
from headscript.runs import Run


@pytest.fixture
def copied(small_run: Path, tmp_path: Path) -> Run:
    """A run that may be damaged."""
    return Run.open(shutil.copytree(small_run, tmp_path / "run"))


def test_a_split_is_the_texts_of_the_run_with_their_patterns(small_run: Path) -> None:
    run = Run.open(small_run)
    recorded = Recorded(run)
    for name in SPLITS:
        split = recorded.split(name)
        texts = run.texts(name)
        assert split.ids == [text.id for text in texts]
        assert [text.token_ids.tolist() for text in split.texts] == [
            list(text.token_ids) for text in texts
        ]
        assert split.recording.token_counts == [len(text) for text in split.texts]
        for number, text in enumerate(split.texts):
            pattern = split.recording.pattern(split.recording.heads[0], number)
            assert pattern.shape == (len(text), len(text))
            assert torch.allclose(pattern.sum(1), torch.ones(len(text)), atol=2e-3)
    results = run.results()
    assert recorded.sizes()["texts"] == results.summary.texts
    assert recorded.facts()["tokens"] == {
        name: sum(len(text.token_ids) for text in run.texts(name)) for name in SPLITS
    }


def test_nothing_of_a_split_stays(small_run: Path) -> None:
    recorded = Recorded(Run.open(small_run))
    split = recorded.split("select")
    values = [split.texts[0].distance, split.texts[0].allowed]  # kept by the text, until it goes
    gone: list[ref[Any]] = [ref(each) for each in (split, *split.texts, *values)]
    del split, values
    gc.collect()
    assert [each() for each in gone] == [None] * len(gone)
    assert recorded.split("select").texts


def test_only_what_is_asked_for_has_to_be_there(copied: Run) -> None:
    tokenizer = Recorded(copied).tokenizer
    shutil.rmtree(copied.recording_folder("select"))
    recorded = Recorded(copied)
    assert recorded.split("test").texts
    for read in (recorded.split, recorded.recording):
        with pytest.raises(HeadscriptError, match="holds no recording"):
            read("select")
    with pytest.raises(HeadscriptError, match="holds no recording"):
        recorded.recordings()
    shutil.rmtree(copied.tokenizer_folder)
    with pytest.raises(HeadscriptError, match="tokenizer"):
        Recorded(copied).split("fit")
    # One that is given is taken, and none is read.
    given = Recorded(copied, tokenizer).split("fit")
    assert [text.surfaces for text in given.texts] == [
        tuple(recorded.read.surfaces(text.token_ids)) for text in copied.texts("fit")
    ]

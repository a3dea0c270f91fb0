"""A library is made of what runs found, the same each time."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import distances
from headscript.heads import Head
from headscript.language.text import TextReader
from headscript.library.building import build, collect
from headscript.library.entries import Library
from headscript.models.loading import read_tokenizer
from headscript.programs import Program
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.judging import judged_file
from headscript.recording import Recording
from headscript.runs import Run
from headscript.texts import Trace, repeating
from headscript.used_texts import LibraryRecord, settle_library

SHARPER = 'def attend(text, a=1.7):\n    """Looks at the second word."""\n'
SHARPER += "    return softmax(a * text.at(2))\n"


@pytest.fixture
def run_with_candidates(small_run: Path, tmp_path: Path) -> Path:
    """A copy whose settings name the library as a proposer, with two candidates."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    with Run.open_for_writing(folder) as run:
        config = run.config.model_copy(update={"proposers": ("search", "library")})
        run._keep(run.record.model_copy(update={"config": config}))
        head = Head(1, 2)
        good = Candidate(head, "library", Outcome.OK, SHARPER, proposed_iou=0.1, fit_iou=0.2)
        bad = Candidate(head, "library", Outcome.REFUSED, "import os\n", reason="It imports.")
        run.write_json(judged_file("library", 1), [good.as_json(), bad.as_json()])
    return folder


def test_what_a_run_offers(run_with_candidates: Path):
    run = Run.open(run_with_candidates)
    found = list(collect(run))
    (written,) = (entry for entry in found if entry.origins[0].proposer == "library")
    assert written.source == SHARPER
    assert (written.origins[0].head, written.iou) == ("L01H02", 0.2)
    row = next(row for row in run.results().heads if (row.layer, row.head) == (1, 2))
    assert written.category == row.category
    keys = {entry.program.key for entry in found}
    assert {program.key for program in run.programs().values()} <= keys
    assert {entry.origins[0].model for entry in found} == {"model"}


def test_the_library_of_a_run(run_with_candidates: Path, tmp_path: Path):
    built = build([run_with_candidates], tmp_path / "one.jsonl", threshold=0.999)
    library = Library.load(tmp_path / "one.jsonl")
    assert len(library) == built.kept <= built.distinct <= built.collected
    assert built.heads == 5
    assert SHARPER in {entry.source for entry in library.entries}
    build([run_with_candidates], tmp_path / "two.jsonl", threshold=0.999)
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()

    run = Run.open(run_with_candidates)
    recording = Recording.open(run.recording_folder("select"))
    read = TextReader(read_tokenizer(run.tokenizer_folder), causal=True)
    texts = [read(text.token_ids) for text in run.texts("select")]
    programs = [entry.program for entry in library.entries]
    table, _ = distances(programs, texts, recording, max_cells=10**6, seed=0)
    assert float(table.amax(0).mean()) == pytest.approx(built.best_iou["library"], abs=1e-4)
    assert built.best_iou["library"] <= built.best_iou["distinct"] + 1e-6


def test_a_library_keeps_what_its_texts_are_known_again_by(small_run: Path, tmp_path: Path):
    build([small_run, small_run], tmp_path / "library.jsonl")
    built, run = Library.load(tmp_path / "library.jsonl"), Run.open(small_run)
    assert built.texts is not None
    assert len(built.texts) == 8
    known = [Trace.parse(text) for text in built.texts]
    texts = run.texts()
    repeats = repeating([text.text for text in texts], known)
    assert repeats == [text.split != "test" for text in texts]
    assert built.record() == replace(built, run=run).record()
    assert Library.load(small_run).record().texts == built.texts


def test_what_a_library_was_made_on_is_handed_on(small_run: Path, tmp_path: Path):
    build([small_run], tmp_path / "first.jsonl")
    folder = shutil.copytree(small_run, tmp_path / "run")
    other = str(Trace.short("A story that this run has not read, but its library."))
    theirs = LibraryRecord(name="other", sha256="0" * 64, programs=1, texts=(other,))
    with Run.open_for_writing(folder) as run:
        settle_library(run, theirs)
    build([folder], tmp_path / "second.jsonl")
    texts = Library.load(tmp_path / "second.jsonl").texts
    assert set(texts or ()) == {other, *(Library.load(tmp_path / "first.jsonl").texts or ())}


def test_few_programs_are_those_that_do_most(run_with_candidates: Path, tmp_path: Path):
    whole = build([run_with_candidates], tmp_path / "whole.jsonl", threshold=0.999)
    one = build([run_with_candidates], tmp_path / "one.jsonl", threshold=0.999, most=1)
    assert (one.kept, one.distinct) == (1, whole.distinct)
    assert one.best_iou["library"] < whole.best_iou["library"]
    assert one.best_iou["distinct"] == whole.best_iou["distinct"]


def test_the_same_run_twice_adds_nothing(small_run: Path, tmp_path: Path):
    once = build([small_run], tmp_path / "once.jsonl")
    twice = build([small_run, small_run], tmp_path / "twice.jsonl")
    assert twice.collected == once.collected
    sources = [
        {e.source for e in Library.load(tmp_path / f).entries}
        for f in ("once.jsonl", "twice.jsonl")
    ]
    assert sources[0] == sources[1]


def test_what_cannot_be_built(small_run: Path, tmp_path: Path):
    with pytest.raises(HeadscriptError, match="named otherwise"):
        build([small_run], tmp_path / "library.json")
    with pytest.raises(HeadscriptError, match="name at least one"):
        build([], tmp_path / "library.jsonl")
    with pytest.raises(HeadscriptError, match="no run"):
        build([tmp_path], tmp_path / "library.jsonl")
    copy = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(copy / "recording" / "select")
    with pytest.raises(HeadscriptError, match="holds no recording"):
        build([copy], tmp_path / "library.jsonl")
    (copy / "results.json").unlink()
    shutil.copytree(small_run / "recording" / "select", copy / "recording" / "select")
    with pytest.raises(HeadscriptError, match="not finished"):
        build([copy], tmp_path / "library.jsonl")
    assert not (tmp_path / "library.jsonl").exists()


def test_programs_of_the_library_run_as_they_are(small_run: Path, tmp_path: Path):
    build([small_run], tmp_path / "library.jsonl")
    run = Run.open(small_run)
    read = TextReader(read_tokenizer(run.tokenizer_folder), causal=True)
    text = read(run.texts("test")[0].token_ids)
    for entry in Library.load(tmp_path / "library.jsonl").entries:
        assert isinstance(entry.program, Program)
        rows = entry.program(text).sum(1)
        torch.testing.assert_close(rows, torch.ones(len(text)))


def test_short_programs_alone(small_run: Path, tmp_path: Path):
    build([small_run], tmp_path / "short.jsonl", max_terms=1)
    short = Library.load(tmp_path / "short.jsonl").entries
    build([small_run], tmp_path / "all.jsonl")
    longer = Library.load(tmp_path / "all.jsonl").entries
    assert max(entry.program.terms for entry in short) <= 1
    assert max(entry.program.terms for entry in longer) > 1
    with pytest.raises(HeadscriptError, match="at most -1 terms"):
        build([small_run], tmp_path / "none.jsonl", max_terms=-1)
    assert not (tmp_path / "none.jsonl").exists()


def test_what_was_written_in_words_keeps_a_place(small_run: Path, tmp_path: Path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    with Run.open_for_writing(folder) as run:
        config = run.config.model_copy(update={"proposers": ("search", "llm"), "rounds": 0})
        run._keep(run.record.model_copy(update={"config": config}))
        poor = Candidate(Head(1, 2), "llm", Outcome.OK, SHARPER, proposed_iou=0.1, fit_iou=0.1)
        run.write_json(judged_file("llm-0", 1), [poor.as_json()])
    build([folder], tmp_path / "few.jsonl", most=2)
    found = Library.load(tmp_path / "few.jsonl").entries
    assert {entry.origins[0].proposer for entry in found} == {"llm", "search"}


def test_a_model_opened_by_a_path_is_named_by_its_last_part(small_run: Path, tmp_path: Path):
    build([small_run], tmp_path / "one.jsonl")
    name = Run.open(small_run).model.name
    assert "/" in name
    assert name not in (tmp_path / "one.jsonl").read_text()

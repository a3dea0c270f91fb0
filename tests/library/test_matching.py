"""Heads of one model get programs that were written for others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from tests.planted import planted_bert, planted_llama, stories

from headscript.errors import HeadscriptError
from headscript.evaluation import portrait, score_run
from headscript.evaluation.scoring_recorded import score_recorded
from headscript.explaining import explain
from headscript.heads import Head
from headscript.library.entries import Entry, Library, Origin
from headscript.library.matching import match
from headscript.programs import Program
from headscript.runs import Run
from headscript.texts import Trace, load_texts


def entry(name: str, scores: str, constants: str) -> Entry:
    source = f'def attend(text, {constants}):\n    """{name.title()}."""\n    return {scores}\n'
    origin = Origin(model="another", head="L00H00", proposer="llm")
    return Entry(Program.parse(source, name), "mixed", (origin,))


LIBRARY = Library(
    (
        entry("previous", "softmax(a * text.previous(1) - b * text.itself)", "a=2.0, b=1.0"),
        entry("first", "softmax(a * text.first)", "a=2.0"),
        entry("same", "softmax(a * text.same_token + b * text.itself)", "a=2.0, b=0.5"),
        entry("next", "softmax(a * text.following(1), text.allowed)", "a=2.0"),
        entry("last", "softmax(a * text.last, text.allowed)", "a=9.0"),
        entry("broken", "softmax(a * log(text.distance))", "a=-1.0"),
    ),
    "some library",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file: Path = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n\n".join(stories(30)))
    return file


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    made = planted_llama()
    return made, made.save(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def matched(llama, texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("matched") / "run"
    return match(llama[1], texts, library=LIBRARY, max_tokens=40, out=out), out


def test_heads_get_the_programs_that_say_what_they_do(llama, matched):
    made, _ = llama
    found, _ = matched
    rows = {Head.parse(row.head): row for row in found.by_head}
    for head, what in made.heads.items():
        row = rows[head]
        assert row.refitted is not None
        wanted = {"previous": "previous", "first": "first", "same or itself": "same"}.get(what)
        if wanted is not None:
            assert row.refitted.name == wanted
            assert row.refitted.iou > 0.9
            assert row.refitted.iou > row.as_is.iou + 0.1
        assert row.refitted.ci95[0] <= row.refitted.iou <= row.refitted.ci95[1]
    assert found.refitted is not None
    assert found.refitted.iou.mean == pytest.approx(
        mean(row.refitted.iou for row in found.by_head if row.refitted)
    )
    assert found.as_is.iou.mean == pytest.approx(mean(row.as_is.iou for row in found.by_head))
    assert found.refitted.iou.mean > found.as_is.iou.mean
    assert found.coverage == 1


def test_what_does_not_work_is_counted(matched):
    found, _ = matched
    assert found.programs == 6
    assert found.unusable == {"looks ahead": 1, "fails on these texts": 1}
    assert not {"next", "last", "broken"} & {row.as_is.name for row in found.by_head}


def test_the_run_it_leaves_is_a_run(matched, texts, llama):
    found, out = matched
    run = Run.open(out)
    assert run.finished
    results = run.results()
    assert found.refitted is not None
    assert results.summary.iou.mean == pytest.approx(found.refitted.iou.mean)
    for row, told in zip(results.heads, found.by_head, strict=True):
        assert told.refitted is not None
        assert row.iou == pytest.approx(told.refitted.iou)
        assert row.chosen_from == told.refitted.name
        assert row.proposer == "library"
    assert portrait(run, "L0H0").program is not None
    assert not portrait(run, "L0H0").edited
    documents = load_texts(texts)
    by_id = {text.id: text for text in run.texts("test")}
    again = score_run(run, [d for d in documents if d.id in by_id], max_tokens=40)
    for row, scored in zip(results.heads, again.by_head, strict=True):
        # The recording is in half precision, and the program was written anew.
        assert scored.iou == pytest.approx(row.iou, abs=2e-3)


def test_a_finished_match_is_read_and_another_is_refused(matched, texts, llama, tmp_path):
    found, out = matched
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.json")}
    assert match(llama[1], texts, library=LIBRARY, max_tokens=40, out=out) == found
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.json")} == before
    with pytest.raises(HeadscriptError, match="matched with refitting"):
        match(llama[1], texts, library=LIBRARY, max_tokens=40, out=out, refit=False)
    with pytest.raises(HeadscriptError, match="max_tokens was 40"):
        match(llama[1], texts, library=LIBRARY, max_tokens=30, out=out)
    fewer = Library(LIBRARY.entries[:3], LIBRARY.name)
    with pytest.raises(HeadscriptError, match="has changed"):
        match(llama[1], texts, library=fewer, max_tokens=40, out=out)


def test_programs_whose_scores_are_infinite(llama, texts, tmp_path):
    """A logarithm of a condition takes keys out; such programs are used as they came."""
    mask = "log(text.first | text.within(3))"
    library = Library(
        (
            entry("masked", f"softmax(a * {mask} + b * text.first)", "a=1.0, b=-1.0"),
            entry("bent", f"softmax(a * {mask} + exp(-b * text.distance))", "a=1.0, b=0.5"),
            entry("steep", "softmax(a * text.first - b * exp(text.distance * 9))", "a=1.0, b=0.01"),
            entry("large", "softmax(a * text.first - b * exp(text.distance))", "a=1.0, b=0.01"),
            entry("zero", f"softmax(a * {mask} + b * text.first)", "a=0.0, b=1.0"),
        ),
        "infinite",
    )
    out = tmp_path / "run"
    found = match(llama[1], texts, library=library, max_tokens=40, out=out)
    assert found.unusable == {"fails on these texts": 1}
    assert {row.refitted.name for row in found.by_head if row.refitted} > {"large"}
    for row in found.by_head:
        assert row.refitted is not None
        assert 0 < row.as_is.iou <= row.refitted.iou + 0.02
        source = (out / f"programs/{row.head}.py").read_text()
        assert "nan" not in source
        if row.refitted.name in ("masked", "bent", "steep"):
            came = {e.program.name: e.program.constants for e in library.entries}
            assert Program.parse(source).constants == came[row.refitted.name]


def test_as_they_are_alone(llama, texts, matched):
    plain = match(llama[1], texts, library=LIBRARY, max_tokens=40, refit=False)
    found, _ = matched
    assert plain.refitted is None
    assert plain.as_is == found.as_is
    assert all(row.refitted is None for row in plain.by_head)


def test_an_encoder_takes_programs_for_decoders_with_its_own_mask(texts, tmp_path):
    made = planted_bert()
    folder = made.save(tmp_path / "bert")
    found = match(folder, texts, library=LIBRARY, max_tokens=40, out=tmp_path / "run")
    rows = {Head.parse(row.head): row for row in found.by_head}
    names = {}
    for head, what in made.heads.items():
        refitted = rows[head].refitted
        assert refitted is not None
        names[what] = refitted.name
    assert names["previous"] == "previous"
    assert names["next"] == "next"
    assert found.unusable == {"fails on these texts": 1}
    head = next(head for head, what in made.heads.items() if what == "previous")
    assert "text.allowed" in Run.open(tmp_path / "run").programs()[head].source


def test_a_library_without_a_program_for_the_model(llama, texts, tmp_path):
    ahead = Library(LIBRARY.entries[4:5], "ahead")
    with pytest.raises(HeadscriptError, match="is for a decoder"):
        match(llama[1], texts, library=ahead, max_tokens=40, out=tmp_path / "run")
    broken = Library(LIBRARY.entries[5:], "broken")
    with pytest.raises(HeadscriptError, match="works on these texts"):
        match(llama[1], texts, library=broken, max_tokens=40)
    assert not Run.open(tmp_path / "run").finished


def test_the_library_is_a_proposer(llama, texts, tmp_path):
    LIBRARY.save(tmp_path / "some.jsonl")
    run = explain(
        str(llama[1]),
        texts,
        tmp_path / "run",
        heads="L0",
        max_tokens=40,
        proposers="library",
        library=tmp_path / "some.jsonl",
        workers=1,
    )
    made, _ = llama
    rows = {Head(row.layer, row.head): row for row in run.results().heads}
    for head, what in made.heads.items():
        if what in ("previous", "first"):
            assert rows[head].iou > 0.9
            assert rows[head].proposer == "library"
    assert run.results().summary.proposers["library"].heads == 1
    assert run.results().summary.seen is None


def test_a_proposer_s_library_is_known_again(llama, texts, tmp_path):
    def explained(library: Library, out: str) -> Run:
        library.save(tmp_path / "some.jsonl")
        return explain(
            str(llama[1]),
            texts,
            tmp_path / out,
            heads="L0H0",
            max_tokens=40,
            proposers="library",
            library=tmp_path / "some.jsonl",
            workers=1,
        )

    run = explained(LIBRARY, "first")
    named = [text.text for text in run.texts("test")][:2]
    traces = tuple(str(Trace.short(text)) for text in [*named, "Of something else."])
    seeing = explained(replace(LIBRARY, texts=tuple(sorted(traces))), "second")
    assert seeing.results().summary.seen == 2
    assert seeing.read_json("results.json")["heads"] == run.read_json("results.json")["heads"]

    before = (run.directory / "library.json").read_bytes()
    fewer = Library(LIBRARY.entries[1:], LIBRARY.name)
    with pytest.raises(HeadscriptError, match="has changed since the run"):
        explained(fewer, "first")
    found = (run.directory / "results.json").read_bytes()
    (run.directory / "results.json").unlink()
    with pytest.raises(HeadscriptError, match="has changed since the run"):
        explained(fewer, "first")
    assert not run.finished
    assert (run.directory / "library.json").read_bytes() == before
    heads = explained(LIBRARY, "first").read_json("results.json")["heads"]
    assert heads == json.loads(found)["heads"]


def test_test_texts_that_the_library_has_seen(llama, texts, matched, tmp_path):
    found, out = matched
    assert found.seen is None
    test = Run.open(out).texts("test")
    traces = sorted(str(Trace.short(text.text)) for text in test[1:])
    library = replace(LIBRARY, texts=tuple(traces))
    out_too = tmp_path / "run"
    again = match(llama[1], texts, library=library, max_tokens=40, refit=False, out=out_too)
    assert again.seen == len(test) - 1
    assert again.library_hash == found.library_hash
    assert score_recorded(Run.open(out_too)).seen == len(test) - 1
    assert score_recorded(Run.open(out)).seen == 0


def test_a_run_of_explain_is_not_taken_over(small_run: Path, tmp_path: Path):
    copy = shutil.copytree(small_run, tmp_path / "run")
    before = (copy / "results.json").read_bytes()
    with pytest.raises(HeadscriptError, match="begun with other settings"):
        match(small_run.parent / "model", small_run.parent / "texts.txt", library=LIBRARY, out=copy)
    assert (copy / "results.json").read_bytes() == before
    assert json.loads(before)["summary"]

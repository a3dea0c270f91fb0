"""Libraries are read whole or refused in one sentence, and written the same each time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headscript.errors import HeadscriptError
from headscript.library import entries as module
from headscript.library.entries import Entry, Library, Origin, entry_name, unique_names
from headscript.programs import Program
from headscript.runs import Run
from headscript.texts import Trace

FIRST = 'def attend(text, a=3.1):\n    """Rests on “the first” token. And\n    no more."""\n'
FIRST += "    return softmax(a * text.first)\n"
COMMA = 'def attend(text, b=1.3):\n    """Looks at commas."""\n'
COMMA += "    return softmax(b * key(text.is_comma))\n"


def entry(name: str, source: str = FIRST, **more) -> Entry:
    return Entry(Program.parse(source, name), **more)


def some_library() -> Library:
    origins = (Origin(model="m", head="L00H01", proposer="llm"),)
    commas = entry("m-L00H01", COMMA, category="delimiter", origins=origins, iou=0.5)
    return Library((commas, entry("a-first", category="first token")), "some")


def test_what_is_written_is_read_again(tmp_path: Path):
    some_library().save(tmp_path / "some.jsonl")
    read = Library.load(tmp_path / "some.jsonl")
    assert [found.name for found in read.entries] == ["a-first", "m-L00H01"]
    first, commas = read.entries
    assert first.source == FIRST
    assert first.explanation.startswith("Rests on “the first” token. And")
    assert first.headline == "Rests on “the first” token."
    assert commas.origins == (Origin(model="m", head="L00H01", proposer="llm"),)
    assert (commas.category, commas.iou) == ("delimiter", 0.5)
    read.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "some.jsonl").read_bytes()
    assert read.texts is None


def test_the_texts_that_programs_come_from_are_kept_beside_them(tmp_path: Path):
    traces = tuple(sorted(str(Trace.short(f"Story {number} of a cat.")) for number in range(3)))
    library = replace(some_library(), texts=traces)
    library.save(tmp_path / "some.jsonl")
    read = Library.load(tmp_path / "some.jsonl")
    assert read.texts == traces
    assert len(read) == 2
    assert read.sha256 == library.sha256 == some_library().sha256
    read.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "some.jsonl").read_bytes()
    with (tmp_path / "some.jsonl").open("a") as file:
        file.write(json.dumps({"texts": [str(Trace.of("One more."))]}) + "\n")
    assert len(Library.load(tmp_path / "some.jsonl").texts or ()) == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Line 2 of "),
        ('{"name": "x"}', "source: "),
        (json.dumps({"name": "x", "source": FIRST, "more": 1}), "more: "),
        (json.dumps({"name": "x", "source": "import os\n"}), "Line 2 of "),
        (json.dumps({"name": "x", "source": FIRST.replace("text.first", "text.furst")}), "furst"),
        (json.dumps({"name": "a", "source": COMMA}), "two programs of the name 'a'"),
        ('{"texts": ["a story"]}', "Line 2 of "),
        ('{"texts": ["=AAAAAQ=="], "more": 1}', "does not tell the texts"),
    ],
)
def test_a_line_that_is_no_program_is_refused(tmp_path: Path, line: str, said: str):
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({"name": "a", "source": FIRST}) + "\n" + line + "\n")
    with pytest.raises(HeadscriptError) as refusal:
        Library.load(file)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_where_there_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STARTER", tmp_path / "starter.jsonl")
    with pytest.raises(HeadscriptError, match="without its starter library"):
        Library.load()
    with pytest.raises(HeadscriptError, match="no such file or folder"):
        Library.load(tmp_path / "nothing.jsonl")
    with pytest.raises(HeadscriptError, match="holds no library"):
        Library.load(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(HeadscriptError, match="holds no programs"):
        Library.load(tmp_path / "empty.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(HeadscriptError, match="UTF-8"):
        Library.load(tmp_path / "bytes.jsonl")


def test_the_packaged_file_is_the_starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    some_library().save(tmp_path / "starter.jsonl")
    monkeypatch.setattr(module, "STARTER", tmp_path / "starter.jsonl")
    assert Library.load().name == "starter"
    assert len(Library.load()) == 2


def test_a_folder_of_programs(tmp_path: Path):
    (tmp_path / "commas.py").write_text(COMMA)
    (tmp_path / "first.py").write_text(FIRST)
    assert [found.name for found in Library.load(tmp_path).entries] == ["commas", "first"]
    (tmp_path / "first.py").write_text(FIRST.replace("softmax", "sofmax"))
    with pytest.raises(HeadscriptError, match=r"first\.py, line 4"):
        Library.load(tmp_path)


def test_a_run_gives_each_of_its_programs_once(small_run: Path):
    run = Run.open(small_run)
    library = Library.load(small_run)
    keys = {program.key for program in run.programs().values()}
    assert {found.program.key for found in library.entries} == keys
    assert len(library) == len(keys)
    heads = [origin.head for found in library.entries for origin in found.origins]
    assert sorted(heads) == [str(head) for head in run.programs()]
    rows = {f"L{row.layer:02d}H{row.head:02d}": row for row in run.results().heads}
    for found in library.entries:
        assert found.iou == rows[found.origins[0].head].select_iou
        assert found.category == rows[found.origins[0].head].category


def test_entries_are_found_by_category_and_word():
    library = some_library()
    assert [found.name for found in library.found("delimiter")] == ["m-L00H01"]
    assert [found.name for found in library.found(word="COMMAS")] == ["m-L00H01"]
    assert [found.name for found in library.found(word="llm")] == ["m-L00H01"]
    assert library.found("first token", "commas") == []
    assert len(library.found()) == 2
    with pytest.raises(HeadscriptError, match="delimiter, first token"):
        library.found("delimiters")


def test_names():
    assert unique_names(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]
    assert entry_name("/some/where/stories", "L00H01") == "stories-L00H01"
    assert entry_name("Org/Some Model", "L00H01") == "Some-Model-L00H01"
    assert entry_name("file.gguf", "L00H01") == "file-L00H01"
    twice = (entry("x"), replace(entry("x"), category="broad"))
    with pytest.raises(HeadscriptError, match="two programs"):
        Library(twice, "twice")

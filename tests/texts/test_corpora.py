import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscript.errors import HeadscriptError
from headscript.texts import Document, load_texts


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def complaint(*args: Any, **options: Any) -> str:
    with pytest.raises(HeadscriptError) as caught:
        load_texts(*args, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".") or sentence.endswith("?")
    return sentence


# The stories that come with headscript


def test_the_built_in_stories_are_many_and_short() -> None:
    stories = load_texts("stories")
    assert len(stories) >= 150
    assert len({story.text for story in stories}) == len({story.id for story in stories})
    for story in stories:
        assert story.id
        assert story.part is None
        assert 90 <= len(story.text.split()) <= 260, story.id


def test_the_first_stories_are_the_first_ones() -> None:
    assert load_texts("stories", max_texts=7) == load_texts("stories")[:7]


def test_built_in_stories_are_found_whatever_lies_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stories").mkdir()
    (tmp_path / "stories" / "mine.txt").write_text("A story of mine.")
    assert len(load_texts("stories")) > 1
    assert [document.text for document in load_texts("./stories")] == ["A story of mine."]


# Plain text


def test_blank_lines_separate_the_texts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_bytes("\ufeffOne line,\r\nand its next.\r\n \t\r\n\r\n\r\nA second text.\n".encode())
    assert load_texts(path) == [
        Document("0", "One line,\nand its next."),
        Document("1", "A second text."),
    ]


def test_a_separator_in_the_file_leaves_blank_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "valid.txt"
    path.write_text("A.\n\nStill the first.\n<|endoftext|>\nB.\n<|endoftext|>\n")
    assert [document.text for document in load_texts(path)] == ["A.\n\nStill the first.", "B."]


def test_each_file_of_a_folder_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("The second.\n\nIts second paragraph.\n")
    (tmp_path / "a.TXT").write_text("The first.")
    (tmp_path / "notes.md").write_text("Not a text.")
    assert load_texts(tmp_path) == [
        Document("a.TXT", "The first."),
        Document("b.txt", "The second.\n\nIts second paragraph."),
    ]


# Rows


def test_rows_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"id": 7, "text": "A."}\n\n{"id": "x", "text": " B "}\n{"id": 9, "text": " "}\n'
    )
    assert load_texts(path) == [Document("7", "A."), Document("x", " B ")]


def test_a_field_by_name_and_parts(tmp_path: Path) -> None:
    rows = [{"story": "A.", "part": "fit"}, {"story": "B.", "part": "test"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert load_texts(path, field="story") == [
        Document("0", "A.", "fit"),
        Document("1", "B.", "test"),
    ]


def test_ids_that_repeat_give_way_to_row_numbers(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "A."}, {"id": 1, "text": "B."}, {"id": 2, "text": "C."}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert [document.id for document in load_texts(path)] == ["0", "1", "2"]


def test_parquet_reads_like_json(tmp_path: Path) -> None:
    rows = [
        {"id": 3, "text": "A.", "part": "fit", "n": 1},
        {"id": 4, "text": None, "part": "fit", "n": 2},
        {"id": 5, "text": "C.", "part": None, "n": 3},
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    write_rows(tmp_path / "rows.jsonl", rows)
    assert load_texts(tmp_path / "rows.parquet") == load_texts(tmp_path / "rows.jsonl")
    assert load_texts(tmp_path / "rows.parquet")[1] == Document("5", "C.")


@given(
    parts=st.lists(st.sampled_from([None, "fit", "select", "test"]), min_size=1, max_size=40),
    limit=st.integers(1, 45),
)
def test_a_limit_takes_the_first_texts_of_each_part(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str | None], limit: int
) -> None:
    rows = [{"text": f"Text {n}.", "part": part} for n, part in enumerate(parts)]
    path = write_rows(tmp_path_factory.getbasetemp() / "parts.jsonl", rows)
    everything = load_texts(path)
    taken = load_texts(path, max_texts=limit)
    assert len(taken) == min(limit, len(rows))
    assert [document for document in everything if document in taken] == taken
    if parts[0] is None:
        assert taken == everything[:limit]
        return
    for part in set(parts):
        of_part = [document for document in everything if document.part == part]
        chosen = [document for document in taken if document.part == part]
        assert chosen == of_part[: len(chosen)]
        if limit >= len(set(parts)):
            share = limit * len(of_part) / len(parts)
            assert chosen
            assert abs(len(chosen) - min(share, len(of_part))) < len(set(parts))


def test_a_limit_reads_no_further_than_it_must(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "A."}\n{"text": "B."}\nnot JSON\n')
    assert len(load_texts(path, max_texts=2)) == 2


def test_excerpts_with_their_parts(shared: Path) -> None:
    path = shared / "data" / "text" / "tinystories_excerpts.jsonl"
    excerpts = load_texts(path)
    assert {document.part for document in excerpts} == {"fit", "test"}
    some = load_texts(path, max_texts=60)
    assert len(some) == 60
    assert {document.part for document in some} == {"fit", "test"}


# The hub, in the place of which a module of the same shape stands: no test may need a network


def test_hub_rows_become_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*args: Any, **options: Any) -> Iterator[dict[str, Any]]:
        asked.append((*args, options))
        return ({"problem": f"{n} + 1?", "solution": n and f"{n + 1}", "id": 9} for n in count())

    library = ModuleType("datasets")
    monkeypatch.setattr(library, "load_dataset", load_dataset, raising=False)
    errors = SimpleNamespace(DatasetsError=LookupError)
    monkeypatch.setattr(library, "exceptions", errors, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", library)
    assert load_texts("math-500", max_texts=2) == [
        Document("0", "0 + 1?"),
        Document("1", "1 + 1?\n2"),
    ]
    assert asked == [("HuggingFaceH4/MATH-500", {"split": "test", "streaming": True})]
    assert len(load_texts("math-500")) == 1000


# What goes wrong


def test_a_number_of_texts_below_one() -> None:
    assert complaint("stories", max_texts=0) == "The number of texts must be at least 1, not 0."


def test_an_unknown_name() -> None:
    assert complaint("storys") == "There are no texts named 'storys'; did you mean 'stories'?"
    assert complaint("TinyStories").endswith("did you mean 'tinystories'?")
    names = "stories, code, maths, tinystories, tiny-codes, math-500"
    assert f"give {names}, or the path" in complaint("wikipedia")


@pytest.mark.parametrize("name", ["missing.jsonl", "folder/missing", "/no/such/folder/x.txt"])
def test_a_missing_file(name: str) -> None:
    assert complaint(name) == f"There is no file or folder {name}."


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    assert complaint(path) == f"{path} is empty; give a file with at least one text."


@pytest.mark.parametrize(("suffix", "content"), [(".txt", " \n\n\n"), (".jsonl", '{"text": ""}\n')])
def test_a_file_of_blanks(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"blank{suffix}"
    path.write_text(content)
    assert complaint(path) == f"{path} holds no text; give a source with at least one."


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_binary_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"binary{suffix}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    assert "is not" in complaint(path)
    assert "text" in complaint(path)
    path.write_bytes("caf\u00e9".encode("latin-1"))
    assert "is not UTF-8 text: its byte 3 is 0xe9" in complaint(path)
    path.write_text("Once upon a time", encoding="utf-16")
    assert "save it as UTF-8" in complaint(path)


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    path.write_text("Once upon a time")
    assert complaint(path).startswith(f"{path} cannot be read as parquet: ")


def test_a_parquet_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "short.parquet"
    polars.DataFrame({"text": [f"Text {n}." for n in range(1000)]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert complaint(path).startswith(f"{path} cannot be read as parquet: ")


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.docx"
    path.write_text("x")
    expected = f"{path} must be a .txt, .jsonl or .parquet file, or a folder of .txt."
    assert complaint(path) == expected


def test_a_folder_without_texts(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"The folder {tmp_path} holds no .txt file; name one that does."


def test_an_unknown_field(tmp_path: Path) -> None:
    rows = [{"id": 1, "story": "A."}]
    jsonl = write_rows(tmp_path / "rows.jsonl", rows)
    parquet = tmp_path / "rows.parquet"
    polars.DataFrame(rows).write_parquet(parquet)
    ending = "; the fields there are 'id', 'story'."
    assert complaint(jsonl) == f"There is no field 'text' in line 1 of {jsonl}{ending}"
    assert complaint(parquet) == f"There is no field 'text' in {parquet}{ending}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "A."', "is not JSON"),
        ('["A."]', "is JSON but not an object"),
        ('{"text": 5}', "The field 'text' in line 2"),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
        ("[" * 100_000, "is not JSON"),
    ],
    ids=["cut", "list", "number", "surrogate", "deep"],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "A."}}\n{line}\n')
    sentence = complaint(path)
    assert f"ine 2 of {path}" in sentence
    assert words in sentence


@pytest.fixture
def stranger() -> Iterator[Callable[[], None]]:
    """Call it to lose all rights to files of others, until the test ends."""
    me = os.geteuid()
    yield lambda: os.seteuid(65534) if me == 0 else None
    os.seteuid(me)


def test_no_permission(stranger: Callable[[], None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = [folder / f"secret{suffix}" for suffix in (".txt", ".jsonl", ".parquet")]
        for path in paths:
            path.write_text("x")
            path.chmod(0)
        closed = folder / "closed"
        closed.mkdir(mode=0)
        stranger()
        sentences = {path: complaint(path) for path in [*paths, closed, closed / "texts.txt"]}
        assert sentences == {
            path: f"{path} cannot be read: Permission denied." for path in sentences
        }
        os.seteuid(os.getuid())


def test_a_name_longer_than_a_file_system_takes() -> None:
    assert complaint("Once upon a time " * 100).endswith(" cannot be read: File name too long.")


def test_a_file_that_is_a_folder_in_disguise(tmp_path: Path) -> None:
    (tmp_path / "texts" / "a.txt").mkdir(parents=True)
    assert "Is a directory" in complaint(tmp_path / "texts")


def test_the_hub_without_its_extra_or_its_network() -> None:
    sentence = complaint("tinystories", max_texts=3)
    if importlib.util.find_spec("datasets") is None:
        assert "pip install 'headscript[hub]'" in sentence
    else:
        assert "'tinystories' (roneneldan/TinyStories on the hub) cannot be had: " in sentence

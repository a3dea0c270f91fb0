"""The built-in texts of code and mathematics: that they are what they say they are."""

import ast
import json
import re
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest

from headscript.texts import Trace, load_texts, repeating, split_documents
from headscript.texts.corpora import BUILT_IN

SETS = ["code", "maths"]


def rows(name: str) -> list[dict[str, str]]:
    lines = (files("headscript.texts") / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def pieces(language: str) -> list[tuple[str, str]]:
    """The title and the code of each task in a language."""
    return [
        (row["title"], code_of(row["text"])) for row in rows("code") if row["language"] == language
    ]


def code_of(text: str) -> str:
    """What stands between the fences, or else all that follows the first blank line."""
    fenced = re.search(r"```\w+\n(.*?)```", text, re.DOTALL)
    return fenced[1] if fenced else text.partition("\n\n")[2]


@pytest.mark.parametrize("name", SETS)
def test_they_are_many_and_short(name: str) -> None:
    assert name in BUILT_IN
    texts = load_texts(name)
    assert len(texts) >= 60
    assert [text.id for text in texts] == [row["id"] for row in rows(name)]
    for text in texts:
        assert text.part is None
        assert text.text == text.text.strip()
        assert text.text.isascii(), text.id
        assert 15 <= len(text.text.split()) <= 130, text.id
        assert 120 <= len(text.text) <= 900, text.id


@pytest.mark.parametrize("name", SETS)
def test_titles_and_ids_are_given_once(name: str) -> None:
    assert len({row["title"] for row in rows(name)}) == len(rows(name))
    assert len({row["id"] for row in rows(name)}) == len(rows(name))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_split_is_empty_and_none_is_dropped(name: str, seed: int) -> None:
    texts = load_texts(name)
    splits = split_documents(texts, seed=seed)
    assert splits.dropped == []
    assert len(splits.fit) > len(splits.select) >= 12
    assert len(splits.test) >= 12
    assert len(splits.fit) + len(splits.select) + len(splits.test) == len(texts)


def test_none_holds_much_of_another() -> None:
    """Stricter than the splits, which compare with the whole of both texts."""
    texts = [text for name in SETS for text in load_texts(name)]
    for first, second in combinations(texts, 2):
        assert repeating([first.text], [Trace.of(second.text)]) == [False], (first.id, second.id)


@pytest.mark.parametrize(("name", "file"), [("code", "mbpp.jsonl"), ("maths", "math500.jsonl")])
def test_none_was_taken_from_the_data_sets_of_the_field(name: str, file: str, shared: Path) -> None:
    theirs = [Trace.of(text.text) for text in load_texts(shared / "data" / "text" / file)]
    ours = load_texts(name)
    repeats = repeating((text.text for text in ours), theirs)
    assert [text.id for text, repeated in zip(ours, repeats, strict=True) if repeated] == []


def test_the_code_is_in_several_languages_and_mostly_in_python() -> None:
    languages = {row["language"] for row in rows("code")}
    assert languages == {"Python", "JavaScript", "SQL", "C", "Rust", "Bash", "Java"}
    assert len(pieces("Python")) > len(rows("code")) / 2
    for language in languages:
        assert len(pieces(language)) >= 4, language


@pytest.mark.parametrize(("title", "code"), pieces("Python"), ids=lambda value: str(value)[:24])
def test_python_pieces_are_python(title: str, code: str) -> None:
    module = ast.parse(code, filename=title)
    assert len(module.body) >= 1
    # Not a lone name or a sentence that happens to parse.
    assert any(not isinstance(statement, ast.Expr) for statement in module.body)


def test_every_task_is_asked_before_its_code() -> None:
    for row in rows("code"):
        task = row["text"].partition("\n\n")[0]
        assert task[0].isupper(), row["id"]
        assert task[-1] in ".?!)", row["id"]
        assert len(task.split()) >= 8, row["id"]
        assert code_of(row["text"]).strip(), row["id"]
        assert row["text"].count("```") in (0, 2), row["id"]


def test_the_mathematics_is_well_formed() -> None:
    for row in rows("maths"):
        text = row["text"]
        assert text.replace(r"\$", "").count("$") % 2 == 0, row["id"]
        for left, right in [("{", "}"), (r"\[", r"\]"), (r"\left", r"\right")]:
            assert text.count(left) == text.count(right), (row["id"], left)
        opened = re.findall(r"\\begin\{(\w+\*?)\}", text)
        assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+\*?)\}", text)), row["id"]
        assert "$" in text or r"\[" in text or re.search(r"\d", text), row["id"]


def test_most_answers_stand_in_a_box() -> None:
    boxed = [row for row in rows("maths") if r"\boxed" in row["text"]]
    assert len(boxed) >= 0.8 * len(rows("maths"))

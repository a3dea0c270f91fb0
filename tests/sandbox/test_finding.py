"""Finding programs in files, and lint; without a sandbox, as nothing is run."""

import ast
import time
from pathlib import Path

import pytest

from headscript.sandbox.finding import check, find_programs
from headscript.sandbox.lint import findings

PUBLISHED = Path(__file__).parents[1] / "programs" / "published"


def found(name: str) -> list[dict[str, object]]:
    return find_programs((PUBLISHED / f"{name}.py").read_text())


def test_joined_files_give_each_program_its_own() -> None:
    programs = found("joined")
    assert [program["name"] for program in programs] == [
        "previous_word",
        "resting",
        "commas",
        "resting",
        "separator",
        "middle",
    ]
    assert [program["head"] for program in programs[:4]] == [[0, 1], [3, 7], [4, 2], [5, 0]]
    first, second = (str(programs[place]["source"]) for place in (1, 2))
    assert "WEIGHT = 0.7" in first
    assert "0.2" not in first
    assert "WEIGHT = 0.2" in second
    assert "import re" in second
    assert "import re" not in first
    assert programs[2]["explanation"] == "Looks back to punctuation."
    assert programs[1]["explanation"] == "Resting on the first token"
    # The same name again is another program, with its own imports.
    assert "defaultdict" in str(programs[3]["source"])
    assert all(not program["findings"] for program in programs)


def test_helpers_constants_classes_and_decorators_come_along() -> None:
    programs = {str(program["name"]): str(program["source"]) for program in found("module")}
    assert "linear_fit" not in programs
    source = programs["pronoun_L2H1"]
    for part in ("class Piece", "@dataclass", "def pieces", "def scaled", "PRONOUNS =", "@scaled"):
        assert part in source
    assert "def recency" not in source
    assert "__main__" not in source
    assert "np.random.seed(7)" in programs["drawn"]
    assert "DECAY, SINK" in programs["recency"]
    for source in programs.values():
        ast.parse(source)


def test_a_file_that_is_no_python_as_a_whole_gives_what_can_be_read() -> None:
    programs = {str(program["name"]): program for program in found("broken")}
    assert len(programs) == 9
    assert "syntax error in line 12" in str(programs["unfinished"]["error"])
    assert "source" not in programs["unfinished"]
    assert "error" not in programs["undefined"]
    assert programs["uses_torch"]["findings"] == ["import of torch in line 38"]


def test_spacy_is_noticed() -> None:
    assert all(program["uses_spacy"] for program in found("grammar"))
    assert not any(program["uses_spacy"] for program in found("joined"))


@pytest.mark.parametrize(
    "source",
    [
        "def f(a): ...",
        "def f(sentence, words): ...",
        "def f(sentence, tokenizer, patterns): ...",
        "def f(sentence, tokenizer, *, key): ...",
        "class A:\n    def f(self, tokenizer): ...",
        "async def f(sentence, tokenizer): ...",
        "",
        "\x00",
    ],
)
def test_what_is_no_program(source: str) -> None:
    assert find_programs(source) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os", "import of os"),
        ("from os import path", "import of os"),
        ("from . import x", "import of a sibling"),
        ("from numpy import load", "import of load"),
        ("np.load('x')", "use of numpy.load"),
        ("x.tofile('x')", "use of .tofile"),
        ("().__class__", "use of .__class__"),
        ("eval('1')", "use of eval"),
        ("getattr(x, '__globals__')", "the name __globals__ in quotes"),
        ("'{0.__class__}'.format(x)", "a format that reaches into an object"),
        ("def f(:", "syntax error"),
    ],
)
def test_lint_names_what_it_sees(source: str, said: str) -> None:
    (finding,) = check(source)
    assert finding.startswith(said)
    assert "line 1" in finding


def test_lint_leaves_honest_programs_alone() -> None:
    for name in ("joined", "module", "grammar"):
        assert findings(ast.parse((PUBLISHED / f"{name}.py").read_text())) == []


def test_a_file_of_a_thousand_programs_is_found_in_seconds() -> None:
    one = (PUBLISHED / "joined.py").read_text()
    begin = time.process_time()
    programs = find_programs("\n".join(one for _ in range(200)))
    assert len(programs) == 1200
    assert time.process_time() - begin < 20
    assert "WEIGHT = 0.7" in str(programs[1193 + 2]["source"])

"""Files of a run that are JSON and not what was written: one sentence, no traceback."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headscript.errors import HeadscriptError
from headscript.explainers.requests import Answer, Failure, FailureKind, Outcome
from headscript.heads import Head
from headscript.propose.judging import read_candidates
from headscript.propose.llm.proposer import _read_answers, _write_answers
from headscript.propose.writing import read_frontiers
from headscript.runs import Run


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy of the finished run, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


def changes(run: Run, path: str) -> list[Any]:
    """What a layer's file might hold instead."""
    found = run.read_json(path)
    (first, *_) = found
    broken: list[Any] = [[{}], [], {}, None, [3], ["L00H01"], {"head": "L00H01"}]
    values: list[Any] = [None, [[]], "L", [{}]]
    broken += [[first | {name: value}] for name in first for value in values]
    return broken


def test_frontiers(run: Run) -> None:
    assert [str(head) for head in read_frontiers(run, [0])] == ["L00H01"]
    for broken in changes(run, "search/L00.json"):
        run.write_json("search/L00.json", broken)
        with pytest.raises(HeadscriptError, match=r"search/L00\.json is damaged|name of a head"):
            read_frontiers(run, [0])


def test_answers(run: Run) -> None:
    answers: dict[Head, Outcome] = {
        Head(0, 1): Answer("def attend", 10, 20, "length", 0.5, True),
        Head(1, 0): Failure(FailureKind.TIMEOUT, "It took too long."),
    }
    assert _read_answers(run, "llm-0") is None
    _write_answers(run, "llm-0", answers)
    assert _read_answers(run, "llm-0") == answers
    row = {"text": "x", "finish_reason": "stop"}
    rows: list[Any] = [None, {}, {"failure": "slow"}, {"failure": "timeout"}, row | {"words": 3}]
    other: list[Any] = [[], [{}], None, 3]
    for broken in other + [{"L00H01": each} for each in rows]:
        run.write_json("candidates/llm-0/answers.json", broken)
        with pytest.raises(HeadscriptError, match=r"answers\.json is damaged; delete the folder"):
            _read_answers(run, "llm-0")


@pytest.mark.parametrize("content", ["null", "{}", "[{}]", "[null]", '[["head"]]'])
def test_candidates(run: Run, content: str) -> None:
    path = run.directory / "candidates" / "llm-0" / "L00.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(HeadscriptError, match="damaged"):
        read_candidates(run, "candidates/llm-0/L00.json")

"""headscript explain with a language model, as a person starts it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Command
from tests.propose.llm.scripted import save_given, script
from tests.small_run import HEADS

from headscript.runs import Run


def test_a_batch_is_written_and_waited_for_and_read(
    tmp_path: Path, headscript: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSCRIPT_ANSWERS", str(tmp_path / "answers.sqlite"))
    given_texts = save_given(tmp_path)
    batch = tmp_path / "batch"
    command = ["explain", given_texts / "model", "--texts", given_texts / "texts.jsonl"]
    command += ["--heads", HEADS, "--max-terms", 3, "--workers", 1, "--out", tmp_path / "run"]
    command += ["--proposer", "llm", "--explainer", f"batch:{batch}", "--json"]
    for number in (0, 1):
        answer = headscript(*command)
        assert answer.code == 0, answer.err
        waiting = json.loads(answer.out)["waiting"]
        assert waiting == {"folder": str(batch), "waiting": 5, "prompts": 5}
        assert not Run.open(tmp_path / "run").finished
        with (batch / f"answers-{number}.jsonl").open("w") as answers:
            for line in (batch / "requests.openai.jsonl").read_text().splitlines():
                row = json.loads(line)
                text = script(row["body"]["messages"])
                answers.write(json.dumps({"custom_id": row["custom_id"], "text": text}) + "\n")
    answer = headscript(*command)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["summary"]["proposers"]["llm"]["answers"] == 10
    shown = headscript(*command[:-1]).out
    assert re.search(r"llm +in the programs of", shown)
    assert "no code 2" in shown


def test_a_proposer_that_there_is_not_is_refused(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    command = ["explain", "m", "--texts", "stories", "--out", tmp_path / "run", "--proposer"]
    assert "'oracle' is no proposer" in refused(*command, "oracle")
    assert "--explainer" in refused(*command, "llm")

"""The whole way on a small random model: prompts, a server's answers, programs, choices, report."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.propose.llm.scripted import (
    ANSWERS,
    GOOD,
    WORDS,
    ScriptedServer,
    head_of,
    save_given,
    script,
)
from tests.small_run import HEADS

from headscript.errors import HeadscriptError
from headscript.explainers.settings import ExplainerSettings
from headscript.explaining import explain
from headscript.propose.awaiting import AnswersAwaited
from headscript.propose.candidates import Outcome
from headscript.propose.judging import read_candidates
from headscript.runs import Run
from headscript.sandbox import isolation

FIRST_ROUND = {
    Outcome.OK: 2,
    Outcome.REFUSED: 1,
    Outcome.FREE_FORM: 1,
    Outcome.NO_PATTERN: 1,
    Outcome.NO_CODE: 1,
    Outcome.CUT_OFF: 1,
}


@pytest.fixture(scope="module")
def given_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_given(tmp_path_factory.mktemp("given"))


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSCRIPT_ANSWERS", str(tmp_path / "answers.sqlite"))
    return tmp_path / "answers.sqlite"


def start(folder: Path, out: Path, spec: str, proposers: str = "search,llm", **more: Any) -> Run:
    settings = more.pop("settings", {})
    return explain(
        str(folder / "model"),
        folder / "texts.jsonl",
        out,
        heads=HEADS,
        max_terms=3,
        workers=1,
        proposers=proposers,
        explainer=ExplainerSettings(explainer=spec, **settings),
        candidates=2,
        **more,
    )


@pytest.fixture(scope="module")
def finished(
    given_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, ScriptedServer]]:
    """A run of the search and a language model together, and the server that was asked."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, ScriptedServer(script) as server:
        patch.setenv("HEADSCRIPT_ANSWERS", str(folder / "answers.sqlite"))
        yield start(given_texts, folder / "run", server.spec, settings={"price": "1,10"}), server


def test_every_answer_ends_as_a_counted_outcome(finished: tuple[Run, ScriptedServer]) -> None:
    run, server = finished
    assert run.finished
    assert len(server.asked) == 10  # five heads, asked twice
    first, again = (
        [
            each
            for layer in (0, 1)
            for each in read_candidates(run, f"candidates/llm-{number}/L{layer:02d}.json")
        ]
        for number in (0, 1)
    )
    assert Counter(each.outcome for each in first) == FIRST_ROUND
    summary = run.results().summary.proposers["llm"]
    assert sum(summary.outcomes.values()) == len(first) + len(again)
    assert summary.outcomes == Counter(str(each.outcome) for each in first + again)
    assert (summary.requests, summary.answers) == (10, 10)
    (free_form,) = (each for each in first if each.outcome is Outcome.FREE_FORM)
    if isolation().level == "full":
        program = free_form.program()
        assert program is not None
        assert program.prefix_consistent
        selection = run.read_json("candidates/selection.json")
        assert program.key in {entry["program_key"] for entry in selection}
    else:
        assert free_form.reason
    for each in first:
        assert each.reason or each.outcome in (Outcome.OK, Outcome.FREE_FORM)
        if each.outcome is Outcome.OK:
            assert each.fit_iou is not None
            assert each.proposed_iou is not None
            assert each.fit_iou >= each.proposed_iou
            program = each.program()
            assert program is not None
            assert program.source.startswith(f'"""Head {each.head} of')


def test_tokens_and_cost_are_reported(finished: tuple[Run, ScriptedServer]) -> None:
    summary = finished[0].results().summary.proposers["llm"]
    sizes = [sum(len(m["content"]) for m in messages) // 4 for messages in finished[1].asked]
    assert summary.input_tokens == sum(sizes)
    assert summary.output_tokens is not None
    assert summary.cost == pytest.approx((summary.input_tokens + 10 * summary.output_tokens) / 1e6)
    assert summary.iou_gained is not None
    assert summary.cost is not None
    assert summary.iou_gained_per_dollar == pytest.approx(summary.iou_gained / summary.cost)


def test_each_row_says_whose_its_program_is(finished: tuple[Run, ScriptedServer]) -> None:
    run, _ = finished
    results = run.results()
    parts = [set((row.proposer or "").split("+")) for row in results.heads]
    assert all(part and part <= {"search", "llm"} for part in parts)
    for name in ("search", "llm"):
        expected = sum(name in part for part in parts) / len(parts)
        assert results.summary.proposers[name].heads == pytest.approx(expected)
    gains = [
        row.iou - row.searched_iou
        for row, part in zip(results.heads, parts, strict=True)
        if "llm" in part and row.searched_iou is not None
    ]
    gained = results.summary.proposers["llm"].iou_gained
    assert gained == pytest.approx(sum(gains) / len(parts))
    selection = run.read_json("candidates/selection.json")
    assert {entry["proposer"] for entry in selection} >= {"search", "llm"}
    for row in results.heads:
        assert row.program is not None
        assert (run.directory / row.program).is_file()


def test_a_second_prompt_shows_what_became_of_the_first(
    finished: tuple[Run, ScriptedServer],
) -> None:
    again = {head_of(m): m for m in finished[1].asked if len(m) > 2}
    assert set(again) == set(ANSWERS)
    assert again["L00H01"][2]["content"] == GOOD
    told = again["L00H01"][3]["content"]
    assert re.search(r"1\. IoU 0\.\d{3} \(0\.\d{3} with your constants\); fitted: ", told)
    assert "Worst text" in told
    assert "Best text" in told
    assert "did you mean text.first" in again["L01H01"][3]["content"]
    assert "write attend(text, ...)" in again["L01H01"][3]["content"]
    assert "No code" in again["L01H02"][3]["content"]
    assert "Cut off" in again["L01H03"][3]["content"]


def test_prompts_show_fit_texts_alone(finished: tuple[Run, ScriptedServer]) -> None:
    run, server = finished
    texts = {split: run.texts(split) for split in WORDS}
    for split, words in WORDS.items():  # the splits are those of the file
        seen = {word for text in texts[split] for word in text.text.split()}
        assert seen <= {f"w{number}" for number in words}
    said = "\n".join(message["content"] for asked in server.asked for message in asked)
    named = {int(number) for number in re.findall(r"\bw(\d+)\b", said)}
    assert len(named & set(WORDS["fit"])) >= 10
    assert not named & set(WORDS["select"])
    assert not named & set(WORDS["test"])


def test_the_search_alone_is_what_it_is_without_others(
    finished: tuple[Run, ScriptedServer], given_texts: Path, tmp_path: Path
) -> None:
    alone = explain(
        str(given_texts / "model"),
        given_texts / "texts.jsonl",
        tmp_path / "alone",
        heads=HEADS,
        max_terms=3,
        workers=1,
    )
    together = finished[0]
    for row, other in zip(together.results().heads, alone.results().heads, strict=True):
        assert row.searched_iou == pytest.approx(other.iou)
        assert other.proposer == "search"
    for layer in ("L00", "L01"):
        assert together.read(f"search/{layer}.json") == alone.read(f"search/{layer}.json")
    assert not alone.has("candidates")


def test_the_same_run_again_asks_nothing(given_texts: Path, tmp_path: Path) -> None:
    with ScriptedServer(script) as server:
        first = start(given_texts, tmp_path / "first", server.spec, "llm", rounds=0)
        assert len(server.asked) == 5
        second = start(given_texts, tmp_path / "second", server.spec, "llm", rounds=0)
        assert len(server.asked) == 5
        assert start(given_texts, tmp_path / "second", server.spec, "llm", rounds=0).finished
    rows = [[row.model_dump() for row in run.results().heads] for run in (first, second)]
    assert rows[0] == rows[1]


def test_a_language_model_alone_leaves_heads_without_a_program_uncovered(
    given_texts: Path, tmp_path: Path
) -> None:
    with ScriptedServer(lambda messages: "I would rather not.") as server:
        run = start(given_texts, tmp_path / "run", server.spec, "llm")
    results = run.results()
    assert results.summary.coverage == 0
    assert results.summary.proposers["llm"].outcomes == {"no code": 10}
    assert {row.status for row in results.heads} == {"no program was proposed"}
    assert all(row.program is None and row.iou == 0 for row in results.heads)


def test_a_language_model_alone_serves_heads_by_the_programs_of_others(
    given_texts: Path, tmp_path: Path
) -> None:
    with ScriptedServer(script) as server:
        run = start(given_texts, tmp_path / "run", server.spec, "llm", rounds=0)
    results = run.results()
    assert results.summary.coverage == 1
    assert {row.proposer for row in results.heads} == {"llm"}
    from_others = [row for row in results.heads if (row.layer, row.head) not in ((0, 1), (1, 0))]
    assert len(from_others) == 3
    assert all(row.chosen_from in ("L00H01", "L01H00") for row in from_others)


def test_a_killed_run_goes_on_without_asking_or_fitting_again(
    given_texts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    batch = tmp_path / "batch"
    with pytest.raises(AnswersAwaited):
        start(given_texts, run, f"batch:{batch}", "llm", rounds=0)
    rows = [json.loads(x) for x in (batch / "requests.openai.jsonl").read_text().splitlines()]
    (batch / "answers.jsonl").write_text(
        "\n".join(
            json.dumps({"custom_id": row["custom_id"], "text": script(row["body"]["messages"])})
            for row in rows
        )
    )
    finished = start(given_texts, run, f"batch:{batch}", "llm", rounds=0)
    kept = {
        file: file.stat().st_mtime_ns
        for file in (run / "candidates").rglob("L*.json")
        if "combined" not in file.parts
    }
    assert kept
    before = finished.results()
    # As a run looks that was killed before it chose.
    for name in ("results.json", "heads.parquet", "candidates/combined/L01.json"):
        (run / name).unlink()
    for file in batch.iterdir():
        file.unlink()
    again = start(given_texts, run, f"batch:{batch}", "llm", rounds=0)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert again.results().heads == before.heads


def test_a_budget_ends_the_asking_and_not_the_run(given_texts: Path, tmp_path: Path) -> None:
    with ScriptedServer(script) as server:
        run = start(
            given_texts,
            tmp_path / "run",
            server.spec,
            "llm",
            rounds=0,
            settings={"budget": "18000tokens", "concurrency": 1},
        )
    found = run.results().summary.proposers["llm"]
    assert 1 <= len(server.asked) < 5
    assert found.outcomes["no answer"] == 5 - len(server.asked)
    assert found.answers == len(server.asked)


@pytest.mark.parametrize(
    ("proposers", "spec", "said"),
    [
        ("search,oracle", "batch:x", "'oracle' is no proposer|oracle"),
        ("", "batch:x", "no proposer"),
        ("llm", None, "name an explainer"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    given_texts: Path, tmp_path: Path, proposers: str, spec: str | None, said: str
) -> None:
    with pytest.raises(HeadscriptError, match=said):
        explain(
            str(given_texts / "model"),
            given_texts / "texts.jsonl",
            tmp_path / "run",
            proposers=proposers,
            explainer=None if spec is None else ExplainerSettings(explainer=spec),
        )
    assert not (tmp_path / "run").exists()

"""Batches: prompts out in two forms, answers in from three, whoever wrote them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.explainers.asked import request
from tests.explainers.test_store import requests

from headscript.explainers import Answer, Failure, Outcome, Request, Store, ask, open_explainer
from headscript.explainers.batch import ANTHROPIC_REQUESTS, OPENAI_REQUESTS, read_answers
from headscript.explainers.requests import tally


def asked(folder: Path, wanted: Sequence[Request], model: str = "") -> list[Outcome]:
    spec = f"batch:{folder}" + (f"#{model}" if model else "")
    with Store(folder.with_suffix(".sqlite")) as store:
        return ask(open_explainer(spec), wanted, store)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(file: Path, rows: Sequence[object]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def openai_line(key: str, text: str) -> dict[str, Any]:
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": key, "response": response, "error": None}


def anthropic_line(key: str, text: str) -> dict[str, Any]:
    message = {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }
    return {"custom_id": key, "result": {"type": "succeeded", "message": message}}


def plain_line(key: str, text: str) -> dict[str, Any]:
    return {"custom_id": key, "text": text}


FORMS = (openai_line, anthropic_line, plain_line)


@settings(max_examples=25, deadline=None)
@given(
    some.lists(
        some.tuples(requests, some.text(min_size=1).filter(str.strip), some.sampled_from(FORMS)),
        min_size=1,
        max_size=6,
        unique_by=lambda entry: entry[0],
    )
)
def test_what_is_asked_comes_back_answered_in_any_form(entries: list[tuple[Any, str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "b"
        wanted = [entry[0] for entry in entries]
        assert tally(asked(folder, wanted, "m")) == {"waiting": len(entries)}
        out = lines(folder / OPENAI_REQUESTS)
        assert [row["custom_id"] for row in out] == [
            row["custom_id"] for row in lines(folder / ANTHROPIC_REQUESTS)
        ]
        for row, each in zip(out, wanted, strict=True):
            assert [(m["role"], m["content"]) for m in row["body"]["messages"]] == [
                (m.role, m.content) for m in each.messages
            ]
        answers = [
            form(row["custom_id"], text) for row, (_, text, form) in zip(out, entries, strict=True)
        ]
        write(folder / "answers.jsonl", list(reversed(answers)))
        outcomes = asked(folder, wanted, "m")
        assert [outcome.text for outcome in outcomes if isinstance(outcome, Answer)] == [
            text for _, text, _ in entries
        ]
        assert not (folder / OPENAI_REQUESTS).exists()  # nothing waits
        (folder / "answers.jsonl").unlink()
        again = asked(folder, wanted, "m")
        assert all(outcome.cached for outcome in again)


def test_the_files_are_in_the_forms_that_the_services_take(tmp_path: Path) -> None:
    asked(tmp_path / "b", [request("the prompt")], "some-model")
    (openai,) = lines(tmp_path / "b" / OPENAI_REQUESTS)
    (anthropic,) = lines(tmp_path / "b" / ANTHROPIC_REQUESTS)
    # Anthropic takes 1 to 64 of these characters.
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", openai["custom_id"])
    assert openai == {
        "custom_id": openai["custom_id"],
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "You are a careful reader."},
                {"role": "user", "content": "the prompt"},
            ],
            "max_completion_tokens": 50,
            "temperature": 0.7,
        },
    }
    assert anthropic == {
        "custom_id": openai["custom_id"],
        "params": {
            "model": "some-model",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "the prompt"}],
            "system": "You are a careful reader.",
            "temperature": 0.7,
        },
    }


def test_the_forms_are_those_of_the_official_sdks(tmp_path: Path) -> None:
    """What is written validates against the SDKs' own types of a line."""
    from anthropic.types.messages.batch_create_params import Request as AnthropicLine
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    from pydantic import TypeAdapter

    asked(tmp_path / "b", [request("the prompt")], "some-model")
    (openai,) = lines(tmp_path / "b" / OPENAI_REQUESTS)
    (anthropic,) = lines(tmp_path / "b" / ANTHROPIC_REQUESTS)
    TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(openai["body"])
    TypeAdapter(AnthropicLine).validate_python(anthropic)


def test_answers_of_several_rounds_add_up_and_only_what_waits_is_written(tmp_path: Path) -> None:
    wanted = [request(prompt) for prompt in "abc"]
    asked(tmp_path / "b", wanted)
    keys = [row["custom_id"] for row in lines(tmp_path / "b" / OPENAI_REQUESTS)]
    write(tmp_path / "b" / "first.jsonl", [plain_line(keys[1], "of b")])
    assert tally(asked(tmp_path / "b", wanted)) == {"answer": 1, "waiting": 2}
    left = [row["custom_id"] for row in lines(tmp_path / "b" / OPENAI_REQUESTS)]
    assert left == [keys[0], keys[2]]
    write(tmp_path / "b" / "second.jsonl", [plain_line(key, "later") for key in left])
    assert tally(asked(tmp_path / "b", wanted)) == {"answer": 3}


BROKEN: dict[str, tuple[Any, str]] = {
    "an OpenAI error": (
        {"response": {"status_code": 500, "body": {"error": {"message": "no"}}}},
        "server_error",
    ),
    "an OpenAI error of its own": (
        {"response": None, "error": {"code": "x", "message": "no"}},
        "server_error",
    ),
    "OpenAI's end of time": (
        {"response": None, "error": {"code": "batch_expired", "message": "late"}},
        "waiting",
    ),
    "OpenAI without a body": ({"response": {"status_code": 200}}, "malformed"),
    "OpenAI of a wrong type": ({"response": 7}, "server_error"),
    "an Anthropic error": (
        {"result": {"type": "errored", "error": {"error": {"message": "no"}}}},
        "server_error",
    ),
    "Anthropic expired": ({"result": {"type": "expired"}}, "waiting"),
    "Anthropic cancelled": ({"result": {"type": "canceled"}}, "waiting"),
    "Anthropic of no known type": ({"result": {"type": "new"}}, "malformed"),
    "Anthropic of a wrong type": ({"result": [1]}, "malformed"),
    "Anthropic without content": (
        {"result": {"type": "succeeded", "message": {"content": None}}},
        "malformed",
    ),
    "an empty text": ({"text": "  "}, "empty"),
}


def test_every_broken_answer_has_a_name_and_is_asked_again_where_that_helps(
    tmp_path: Path,
) -> None:
    wanted = [request(name) for name in BROKEN]
    asked(tmp_path / "b", wanted)
    keys = [row["custom_id"] for row in lines(tmp_path / "b" / OPENAI_REQUESTS)]
    rows = [{"custom_id": key} | row for key, (row, _) in zip(keys, BROKEN.values(), strict=True)]
    write(tmp_path / "b" / "answers.jsonl", rows)
    outcomes = asked(tmp_path / "b", wanted)
    named = [str(each.kind) for each in outcomes if isinstance(each, Failure)]
    assert dict(zip(BROKEN, named, strict=True)) == {
        name: kind for name, (_, kind) in BROKEN.items()
    }
    left = {row["custom_id"] for row in lines(tmp_path / "b" / OPENAI_REQUESTS)}
    assert left == set(keys[:-1])
    # A better answer in a later file, or an earlier one, takes the place of a failure.
    write(tmp_path / "b" / "a.jsonl", [plain_line(key, "better") for key in keys])
    assert tally(asked(tmp_path / "b", wanted)) == {"answer": len(keys) - 1, "empty": 1}


@pytest.mark.parametrize(
    "line",
    [b"{", b"7", b"[]", b"\xff\xfe", b'{"text": "no id"}', b'{"custom_id": 7}', b"[" * 100_000],
)
def test_lines_that_cannot_be_read_are_named_and_stop_nothing(tmp_path: Path, line: bytes) -> None:
    good = json.dumps(plain_line("k", "good")).encode()
    (tmp_path / "answers.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\n" + line + b"\n")
    found = read_answers(tmp_path)
    assert list(found.replies) == ["k"]
    (unreadable,) = found.unreadable
    assert unreadable.startswith("answers.jsonl:3: ")
    with Store(tmp_path / "s.sqlite") as store:
        (outcome,) = ask(open_explainer(f"batch:{tmp_path}"), [request("a")], store)
    assert isinstance(outcome, Failure)
    assert "1 line there cannot be read (answers.jsonl:3: " in outcome.message

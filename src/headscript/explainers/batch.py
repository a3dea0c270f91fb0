"""A folder as the explainer: prompts out, answers in, by a batch service, a job or a person.

What has no answer yet is written to the folder in two forms; answers are read from its other
.jsonl files, in the forms in which OpenAI's and Anthropic's batches end, or as plain lines
{"custom_id": ..., "text": ...}. A custom_id is the key of a request (SHA-256).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from headscript.disk import clear_disk_errors, write_atomically
from headscript.errors import HeadscriptError
from headscript.explainers.answering import Answering
from headscript.explainers.formats import (
    Reply,
    anthropic_body,
    malformed,
    openai_body,
    read_anthropic,
    read_openai,
)
from headscript.explainers.requests import (
    Answer,
    Failure,
    FailureKind,
    Outcome,
    Request,
    is_final,
)
from headscript.explainers.troubles import Trouble, one_line

OPENAI_REQUESTS = "requests.openai.jsonl"
ANTHROPIC_REQUESTS = "requests.anthropic.jsonl"
_WRITTEN = (OPENAI_REQUESTS, ANTHROPIC_REQUESTS)
_UNNAMED = "MODEL"  # for whoever sends the file to fill in


@dataclass(frozen=True)
class BatchAnswers:
    """What a folder holds."""

    replies: dict[str, Reply]
    """By custom_id; where there are several, the last, and an answer before any failure."""
    unreadable: tuple[str, ...]
    """FILE:LINE of what could not be read, and why."""


@dataclass
class BatchFolder:
    """The explainer behind "batch:FOLDER#MODEL"; without a model, its name is left to fill in."""

    folder: Path
    model: str = ""
    charges: ClassVar[bool] = False
    _waiting: dict[str, Request] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Without the folder, which may be moved."""
        return f"batch#{self.model}" if self.model else "batch"

    @asynccontextmanager
    async def opened(self, timeout: float) -> AsyncIterator[Answering]:
        """Read the answers; at the end, write down what is still without one.

        Raises HeadscriptError where the folder cannot be read or written.
        """
        found = read_answers(self.folder)
        replies, unreadable = found.replies, found.unreadable
        waits = f"{self.folder} holds no answer to it yet"
        if unreadable:
            lines = "1 line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
            waits += f"; {lines} there cannot be read ({unreadable[0]})"

        async def answer(request: Request) -> Reply:
            key = request.key(self.name)
            reply = replies.get(key)
            if reply is not None and is_final(reply.outcome):
                self._waiting.pop(key, None)
                return reply
            self._waiting[key] = request
            if reply is not None:
                return reply
            raise Trouble(FailureKind.WAITING, f"{waits}.", again=False)

        yield answer
        write_requests(self.folder, self._waiting, self.model)


def write_requests(folder: Path, requests: Mapping[str, Request], model: str = "") -> None:
    """Write requests, by custom_id, to a folder: a file for OpenAI's batches, one for Anthropic's.

    Where there are none, neither are these files.

    Raises HeadscriptError where it cannot be written.
    """
    model = model or _UNNAMED
    for_openai = [
        {
            "custom_id": key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": openai_body(request, model, "max_completion_tokens"),
        }
        for key, request in requests.items()
    ]
    for_anthropic = [
        {"custom_id": key, "params": anthropic_body(request, model)}
        for key, request in requests.items()
    ]
    if not requests:
        with clear_disk_errors(folder):
            for name in _WRITTEN:
                (folder / name).unlink(missing_ok=True)
        return
    write_atomically(folder / OPENAI_REQUESTS, _lines(for_openai))
    write_atomically(folder / ANTHROPIC_REQUESTS, _lines(for_anthropic))


def _lines(rows: Iterable[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def read_answers(folder: Path) -> BatchAnswers:
    """Read all answers in a folder; one that is not there holds none.

    Raises HeadscriptError where a file cannot be read at all.
    """
    replies: dict[str, Reply] = {}
    unreadable = []
    for file in sorted(folder.glob("*.jsonl")):
        if file.name in _WRITTEN:
            continue
        for place, line in _lines_of(file):
            try:
                key, reply = _read_line(line)
            except (ValueError, RecursionError) as error:
                unreadable.append(f"{place}: {one_line(str(error), 100)}")
                continue
            if isinstance(reply.outcome, Answer) or key not in replies:
                replies[key] = reply
    return BatchAnswers(replies, tuple(unreadable))


def _lines_of(file: Path) -> Iterator[tuple[str, str]]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HeadscriptError(f"{file} cannot be read: {error.strerror or error}.") from error
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield f"{file.name}:{number}", line.decode("utf-8-sig", "replace")


def _read_line(line: str) -> tuple[str, Reply]:
    """The custom_id of a line and what it holds; a line of no known form raises ValueError."""
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        raise ValueError("there is no custom_id")
    if isinstance(row.get("text"), str):
        outcome: Outcome = read_openai({"choices": [{"message": {"content": row["text"]}}]})
    elif "result" in row:
        outcome = _anthropic_result(row["result"])
    elif "response" in row or "error" in row:
        outcome = _openai_result(row.get("response"), row.get("error"))
    else:
        raise ValueError("there is no text, no response and no result")
    return row["custom_id"], Reply(outcome, json.dumps(row))


def _openai_result(response: Any, error: Any) -> Outcome:
    if isinstance(response, dict) and response.get("status_code", 200) == 200:
        return read_openai(response.get("body"))
    if isinstance(error, dict) and error.get("code") == "batch_expired":
        return Failure(FailureKind.WAITING, "The batch ran out of time before this request.")
    body = response.get("body") if isinstance(response, dict) else None
    return Failure(FailureKind.SERVER_ERROR, f"The batch failed here: {_words(error or body)}.")


def _anthropic_result(result: Any) -> Outcome:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded":
        return read_anthropic(result.get("message"))
    if kind in ("expired", "canceled"):
        return Failure(FailureKind.WAITING, f"The batch was {kind} before this request.")
    if kind == "errored":
        return Failure(
            FailureKind.SERVER_ERROR, f"The batch failed here: {_words(result.get('error'))}."
        )
    return malformed("it is of no known type")


def _words(error: Any) -> str:
    """What an error says, however deep it lies."""
    while isinstance(error, dict):
        error = error.get("error") or error.get("message")
    return one_line(error) if isinstance(error, str) else "without a word"

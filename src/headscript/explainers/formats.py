"""The two forms in which language models are asked and answer: OpenAI's and Anthropic's.

Used by the clients and for batches alike. What is read has been parsed as JSON and may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from headscript.explainers.keys import ApiKey
from headscript.explainers.requests import Answer, Failure, FailureKind, Outcome, Request
from headscript.explainers.troubles import one_line

_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class _Read(BaseModel):
    model_config = ConfigDict(strict=True)


# Asking ------------------------------------------------------------------------------------------


def openai_body(request: Request, model: str, length: str = "max_tokens") -> dict[str, Any]:
    """The body of a request to /chat/completions; `length` names its parameter for max_tokens."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        length: request.max_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return body


def anthropic_body(request: Request, model: str) -> dict[str, Any]:
    """The body of a request to /v1/messages; system messages are a parameter of their own there."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens,
        "messages": [
            {"role": each.role, "content": each.content}
            for each in request.messages
            if each.role != "system"
        ],
    }
    system = [each.content for each in request.messages if each.role == "system"]
    if system:
        body["system"] = "\n\n".join(system)
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return body


# Reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """What a server sent, and what was read in it."""

    outcome: Outcome
    body: str
    """The whole answer as JSON, with nothing beyond ASCII in it; empty where it is no JSON."""


def read_reply(raw: bytes, key: ApiKey, read: Callable[[object], Outcome]) -> Reply:
    """Parse and `read` what a server sent; should it repeat its key, that is hidden first."""
    try:
        content = json.loads(raw)
        plain = json.dumps(content, ensure_ascii=False)
        hidden = key.hide(plain)
        if hidden != plain:
            content = json.loads(hidden)
        return Reply(read(content), json.dumps(content))
    except (ValueError, RecursionError):
        start = one_line(key.hide(raw[:2000].decode("utf-8", "replace")), 80)
        why = f"it is not JSON, but begins {start!r}" if start else "there is nothing in it"
        return Reply(malformed(why), "")


class _OpenAIUsage(_Read):
    prompt_tokens: Any = None
    completion_tokens: Any = None


class _Said(_Read):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Read):
    message: _Said
    finish_reason: str | None = None


class _Completion(_Read):
    choices: list[_Choice]
    usage: _OpenAIUsage | None = None


def read_openai(body: object) -> Outcome:
    """The answer in the body of a chat completion: that of its first choice."""
    if isinstance(body, dict) and body.get("error") and not body.get("choices"):
        return malformed(f"it is an error ({one_line(str(body['error']))})")
    try:
        completion = _Completion.model_validate(body)
    except ValidationError as error:
        return malformed(_first_of(error))
    usage = completion.usage or _OpenAIUsage()
    used = _tokens(usage.prompt_tokens), _tokens(usage.completion_tokens)
    if not completion.choices:
        return Failure(FailureKind.EMPTY, "The answer holds no choice.", *used)
    choice = completion.choices[0]
    end = choice.finish_reason or "stop"
    if choice.message.refusal or end == "content_filter":
        words = one_line(choice.message.refusal or "a content filter stopped it")
        return Failure(FailureKind.REFUSED, f"The model would not answer: {words}.", *used)
    return _answer(choice.message.content or "", end, used)


class _AnthropicUsage(_Read):
    input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None
    output_tokens: Any = None


class _Block(_Read):
    type: str
    text: str = ""


class _AnthropicMessage(_Read):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _AnthropicUsage | None = None


def read_anthropic(body: object) -> Outcome:
    """The answer in the body of a message: its blocks of text, one after another."""
    try:
        message = _AnthropicMessage.model_validate(body)
    except ValidationError as error:
        return malformed(_first_of(error))
    usage = message.usage or _AnthropicUsage()
    read = _tokens(usage.input_tokens)
    if read is not None:
        # Parts that the service cached on its own are counted apart from the rest.
        cached = (usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
        read += sum(_tokens(each) or 0 for each in cached)
    used = read, _tokens(usage.output_tokens)
    end = _ENDS.get(message.stop_reason or "stop", message.stop_reason or "stop")
    if end == "refusal":
        return Failure(FailureKind.REFUSED, "The model would not answer.", *used)
    return _answer("".join(block.text for block in message.content), end, used)


def _answer(text: str, end: str, used: tuple[int | None, int | None]) -> Outcome:
    text, end = _joined(text), _joined(end)
    if text.strip():
        return Answer(text, *used, finish_reason=end)
    why = "the tokens ran out before it began" if end == "length" else "the answer is empty"
    return Failure(FailureKind.EMPTY, f"The model said nothing: {why}.", *used)


def _joined(text: str) -> str:
    """A text without the halves of characters that JSON may hold and UTF-8 may not."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _tokens(number: object) -> int | None:
    """A number of tokens that can be one."""
    possible = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**40
    return number if possible and isinstance(number, int) else None


def malformed(why: str) -> Failure:
    """The failure of an answer that is not in its form."""
    return Failure(FailureKind.MALFORMED, f"The answer is not in the form expected: {why}.")


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "the whole"
    return f"{one_line(place, 80)}: {first['msg'][:1].lower()}{first['msg'][1:]}"

"""A server on this machine that speaks OpenAI's and Anthropic's forms, and fails in known ways.

What it does with a request is up to `plan`, which is told the prompt (the last message) and how
often it came before, and names one of the faults below; "answer" is none.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

INPUT_TOKENS = 20
OUTPUT_TOKENS = 20

Plan = Callable[[str, int], str]


@dataclass
class Received:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def anthropic(self) -> bool:
        return self.path.endswith("/v1/messages")


@dataclass
class FaultServer:
    plan: Plan = lambda prompt, before: "answer"
    text: Callable[[str], str] = lambda prompt: f"answer to {prompt}"
    retry_after: str = "0"
    delay: float = 0.0
    """Seconds before each answer."""
    together: int = 0
    """So many requests have come before any is answered."""
    received: list[Received] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    """Whole answers sent, by prompt."""
    flooded: int = 0
    """Bytes of answers without an end."""
    busiest: int = 0
    """The most requests that were open at a time."""
    _open: int = 0

    def __enter__(self) -> FaultServer:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self.thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self.thread.join(10)
        assert not self.thread.is_alive()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self) -> Counter[str]:
        """How often each prompt was asked."""
        return Counter(each.prompt for each in self.received)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve_until_over())
        finally:
            self.loop.close()

    async def _serve_until_over(self) -> None:
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take a request and answer it; false where the connection ends with it."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        request = Received(first.split()[1], headers, body)
        before = self.seen()[request.prompt]
        self.received.append(request)
        self._open += 1
        self.busiest = max(self.busiest, self._open)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            while len(self.received) < self.together:
                await asyncio.sleep(0.01)
            fault = FAULTS[self.plan(request.prompt, before)]
            return await fault(self, request, writer)
        finally:
            self._open -= 1


# What is sent ------------------------------------------------------------------------------------


def body_of(request: Received, text: Any, end: str | None = None, **changes: Any) -> dict[str, Any]:
    """A whole answer in the form that was asked in."""
    if request.anthropic:
        content: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": request.body["model"],
            "content": [{"type": "text", "text": text}],
            "stop_reason": end or "end_turn",
            "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
        }
    else:
        content = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request.body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": end or "stop",
                }
            ],
            "usage": {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS},
        }
    return content | changes


async def send(
    writer: asyncio.StreamWriter,
    content: bytes,
    status: str = "200 OK",
    headers: dict[str, str] | None = None,
) -> bool:
    head = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    head |= headers or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content)
    await writer.drain()
    return True


Fault = Callable[[FaultServer, Received, asyncio.StreamWriter], Awaitable[bool]]


async def answer(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    content = json.dumps(body_of(request, server.text(request.prompt))).encode()
    await send(writer, content)
    server.answered[request.prompt] += 1
    return True


async def late(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(0.5)
    return await answer(server, request, writer)


def error(status: str, *, wait: bool = True, **more: str) -> Fault:
    async def fault(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
        said = {"error": {"message": f"this is {status}", "type": "test"} | more}
        waits = wait and (status[0] != "4" or "429" in status)
        headers = {"Retry-After": server.retry_after} if waits else {}
        return await send(writer, json.dumps(said).encode(), status, headers)

    return fault


def says(**changes: Any) -> Fault:
    """A whole answer in its form, save for `changes` at its top."""

    async def fault(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
        return await send(writer, json.dumps(body_of(request, "words", **changes)).encode())

    return fault


def sends(content: bytes, status: str = "200 OK", **headers: str) -> Fault:
    async def fault(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await send(writer, content, status, named)

    return fault


async def cut(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    content = json.dumps(body_of(request, "cut")).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
    writer.write(content[: len(content) // 2])
    await writer.drain()
    return False


async def cut_at_once(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    return False


async def drip(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:  # a byte at a time, so that it is never silent for long
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def hang(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(3600)
    return False


async def flood(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    """An answer without an end, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        writer.write(chunk)
        server.flooded += len(chunk)
        await writer.drain()


async def flood_of_errors(
    server: FaultServer, request: Received, writer: asyncio.StreamWriter
) -> bool:
    writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        writer.write(chunk)
        server.flooded += len(chunk)
        await writer.drain()


async def no_http(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    await writer.drain()
    return False


async def empty(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    return await send(writer, json.dumps(body_of(request, "", usage=None)).encode())


async def cut_off(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    end = "max_tokens" if request.anthropic else "length"
    return await send(writer, json.dumps(body_of(request, "def att", end)).encode())


async def refusal(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    end = "refusal" if request.anthropic else "content_filter"
    return await send(writer, json.dumps(body_of(request, "", end)).encode())


async def half_a_character(
    server: FaultServer, request: Received, writer: asyncio.StreamWriter
) -> bool:
    return await send(writer, json.dumps(body_of(request, "a\ud83d b")).encode())


async def repeat_key(server: FaultServer, request: Received, writer: asyncio.StreamWriter) -> bool:
    return await send(writer, json.dumps(body_of(request, _key_in(request))).encode())


async def repeat_key_in_error(
    server: FaultServer, request: Received, writer: asyncio.StreamWriter
) -> bool:
    said = {"error": {"message": f"what is {_key_in(request)}?"}}
    return await send(writer, json.dumps(said).encode(), "500 No", {"X-Key": _key_in(request)})


async def repeat_key_at_401(
    server: FaultServer, request: Received, writer: asyncio.StreamWriter
) -> bool:
    said = {"error": {"message": f"Incorrect API key provided: {_key_in(request)}"}}
    return await send(writer, json.dumps(said).encode(), "401 Unauthorized")


def _key_in(request: Received) -> str:
    sent = request.headers.get("x-api-key") or request.headers.get("authorization", "")
    return sent.removeprefix("Bearer ")


FAULTS: dict[str, Fault] = {
    "answer": answer,
    "late": late,
    # with a status
    "429": error("429 Too Many Requests"),
    "429_at_any_time": error("429 Too Many Requests", wait=False),
    "quota": error("429 Too Many Requests", code="insufficient_quota"),
    "500": error("500 Internal Server Error"),
    "529": error("529 Overloaded"),
    "400": error("400 Bad Request"),
    "too_long": error(
        "400 Bad Request", message="This model's maximum context length is 9 tokens."
    ),
    "401": error("401 Unauthorized"),
    "402": error("402 Payment Required"),
    "403": error("403 Forbidden"),
    "404": error("404 Not Found"),
    "redirect": sends(b"", "307 Temporary Redirect", Location="http://127.0.0.1:9/v1"),
    # of the connection
    "cut": cut,
    "cut_at_once": cut_at_once,
    "drip": drip,
    "drip_head": drip_head,
    "hang": hang,
    "flood": flood,
    "flood_of_errors": flood_of_errors,
    "no_http": no_http,
    # of the form
    "half_json": sends(b'{"choices": [{"mess'),
    "html": sends(b"<!DOCTYPE html><p>Sign in to this network", Content_Type="text/html"),
    "nothing": sends(b""),
    "no_utf8": sends(b'{"choices": "\xff\xfe"}'),
    "a_list": sends(b"[1, 2]"),
    "a_number": sends(b"7"),
    "null": sends(b"null"),
    "deep": sends(b"[" * 100_000 + b"]" * 100_000),
    "digits": sends(b'{"choices": ' + b"9" * 100_000 + b"}"),
    "compressed": sends(gzip.compress(b" " * 1000), Content_Encoding="gzip"),
    "error_in_200": sends(b'{"error": {"message": "the model fell over"}}'),
    "wrong_types": says(choices="many", content=7),
    "wrong_inside": says(
        choices=[{"message": {"content": {"a": 1}}}], content=[{"type": "text", "text": 7}]
    ),
    "no_message": says(choices=[{"index": 0}], content=[{"text": "no type"}]),
    # of the model
    "no_choices": says(choices=[], content=[]),
    "null_content": says(choices=[{"message": {"content": None}}], content=[]),
    "empty": empty,
    "cut_off": cut_off,
    "refusal": refusal,
    "no_usage": says(usage=None),
    "wrong_usage": says(
        usage={
            "prompt_tokens": -3,
            "completion_tokens": 1e300,
            "input_tokens": "many",
            "output_tokens": True,
        }
    ),
    "half_a_character": half_a_character,
    "repeat_key": repeat_key,
    "repeat_key_in_error": repeat_key_in_error,
    "repeat_key_at_401": repeat_key_at_401,
}

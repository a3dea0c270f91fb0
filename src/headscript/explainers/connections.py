"""The HTTP underneath both clients: what leaves the machine, and how much may come back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from headscript.explainers.keys import ApiKey
from headscript.explainers.requests import FailureKind
from headscript.explainers.troubles import Trouble, one_line

MOST_BYTES = 16 * 2**20
"""Of an answer; the longest a model writes are a hundred times smaller."""

_SENT = (
    "accept accept-encoding connection content-length content-type host transfer-encoding "
    "x-stainless-raw-response"  # in which the SDK notes for itself what to give back
).split()


class _TooLarge(httpx2.RequestError):
    """An answer went on past any length that makes sense."""


class _Compressed(httpx2.RequestError):
    """An answer came compressed though plain bytes were asked for: its size cannot be bounded."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MOST_BYTES:
                raise _TooLarge(f"more than {MOST_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _Compressed("compressed")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def http_client(timeout: float, key: ApiKey, *, bare: bool) -> httpx2.AsyncClient:
    """The connections of one client; `timeout` in seconds.

    Redirects are not followed, since they would carry the key to where the user did not send it. A
    `bare` client sends what HTTP needs and the key, where there is one, and nothing else: neither
    headers that the environment sets for another service nor what an SDK tells of the machine.
    """

    async def lay_bare(request: httpx2.Request) -> None:
        for name in set(request.headers):
            if name.lower() not in _SENT:
                del request.headers[name]
        request.headers["user-agent"] = "headscript"
        if key.secret:
            request.headers["authorization"] = f"Bearer {key.secret}"

    async def ask_for_plain_bytes(request: httpx2.Request) -> None:
        request.headers["accept-encoding"] = "identity"

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout, connect=min(timeout, 15.0)),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        follow_redirects=False,
        event_hooks={
            "request": [ask_for_plain_bytes, lay_bare] if bare else [ask_for_plain_bytes],
            "response": [_bound],
        },
    )


def trouble_of_connection(name: str, error: BaseException, key: ApiKey) -> Trouble:
    """What it means that no whole answer came; `error` or one of its causes says why."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if any_is(_TooLarge):
        size = MOST_BYTES // 2**20
        return Trouble(
            FailureKind.TOO_LARGE,
            f"{name} sent more than {size} MiB.",
            again=False,
            charged=True,
        )
    if any_is(_Compressed):
        return Trouble(
            FailureKind.MALFORMED,
            f"{name} compressed its answer though it was asked not to.",
            again=False,
            charged=True,
        )
    said = one_line(key.hide(str(causes[-1]) or type(causes[-1]).__name__))
    if any_is(httpx2.ConnectError, httpx2.ConnectTimeout):
        return Trouble(
            FailureKind.CONNECTION,
            f"{name} cannot be reached ({said}).",
            again=True,
            reached=False,
        )
    if any_is(httpx2.TimeoutException):
        return Trouble(
            FailureKind.TIMEOUT, f"{name} did not answer in time.", again=True, charged=True
        )
    return Trouble(FailureKind.CONNECTION, f"{name} broke off ({said}).", again=True, charged=True)

"""Anthropic's models, through Anthropic's own SDK."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from headscript.explainers.answering import Answering
from headscript.explainers.formats import Reply, anthropic_body, read_anthropic, read_reply
from headscript.explainers.keys import ApiKey, hidden_in_logs
from headscript.explainers.requests import Request
from headscript.explainers.troubles import trouble_of_status

if TYPE_CHECKING:
    import anthropic


@dataclass(frozen=True)
class AnthropicClient:
    """A model behind Anthropic's interface."""

    name: str
    """As in messages and under which answers are kept."""
    model: str
    key: ApiKey
    address: str

    charges: ClassVar[bool] = True

    @asynccontextmanager
    async def opened(self, timeout: float) -> AsyncIterator[Answering]:
        """Connections that give up after `timeout` seconds of silence."""
        import anthropic
        import httpx2

        from headscript.explainers.connections import http_client

        client = anthropic.AsyncAnthropic(
            api_key=self.key.secret,
            base_url=self.address,
            max_retries=0,  # asking.py tries again
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 15.0)),
            open_telemetry=False,
            http_client=http_client(timeout, self.key, bare=False),
        )
        with hidden_in_logs(self.key):
            async with client:
                yield partial(self._answer, client)

    async def _answer(self, client: anthropic.AsyncAnthropic, request: Request) -> Reply:
        import anthropic
        import httpx2

        from headscript.explainers.connections import trouble_of_connection

        body = anthropic_body(request, self.model)
        # The SDK no longer takes a temperature by name; older models do.
        body["extra_body"] = {name: body.pop(name) for name in ("temperature",) if name in body}
        try:
            response = await client.messages.with_raw_response.create(**body)
            raw = response.http_response.content
        except anthropic.APIStatusError as error:
            said = error.response
            raise trouble_of_status(
                self.name, said.status_code, said.headers, said.content, self.key, time.time()
            ) from None
        except (anthropic.AnthropicError, httpx2.HTTPError) as error:
            raise trouble_of_connection(self.name, error, self.key) from None
        return read_reply(raw, self.key, read_anthropic)

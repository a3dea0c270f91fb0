"""OpenAI's models, and whatever else speaks its chat completions: through OpenAI's own SDK."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from headscript.explainers.answering import Answering
from headscript.explainers.formats import Reply, openai_body, read_openai, read_reply
from headscript.explainers.keys import ApiKey, hidden_in_logs
from headscript.explainers.requests import Request
from headscript.explainers.troubles import trouble_of_status

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True)
class OpenAIClient:
    """A model behind OpenAI's interface."""

    name: str
    """As in messages and under which answers are kept."""
    model: str
    key: ApiKey
    address: str
    official: bool = False
    """OpenAI's own service, or a stand-in that the environment names for it."""

    charges: ClassVar[bool] = True

    @asynccontextmanager
    async def opened(self, timeout: float) -> AsyncIterator[Answering]:
        """Connections that give up after `timeout` seconds of silence."""
        import httpx2
        import openai

        from headscript.explainers.connections import http_client

        client = openai.AsyncOpenAI(
            api_key=self.key.secret or "none",
            base_url=self.address,
            max_retries=0,  # asking.py tries again
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 15.0)),
            http_client=http_client(timeout, self.key, bare=not self.official),
        )
        with hidden_in_logs(self.key):
            async with client:
                yield partial(self._answer, client)

    async def _answer(self, client: openai.AsyncOpenAI, request: Request) -> Reply:
        import httpx2
        import openai

        from headscript.explainers.connections import trouble_of_connection

        # OpenAI's own models count what they think, too, and took a new parameter for that.
        length = "max_completion_tokens" if self.official else "max_tokens"
        body = openai_body(request, self.model, length)
        try:
            response = await client.chat.completions.with_raw_response.create(**body)
            raw = response.http_response.content
        except openai.APIStatusError as error:
            said = error.response
            raise trouble_of_status(
                self.name, said.status_code, said.headers, said.content, self.key, time.time()
            ) from None
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise trouble_of_connection(self.name, error, self.key) from None
        return read_reply(raw, self.key, read_openai)

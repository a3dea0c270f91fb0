"""What every explainer can do, whatever is behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Protocol

from headscript.explainers.formats import Reply
from headscript.explainers.requests import Request

Answering = Callable[[Request], Awaitable[Reply]]
"""Asks once. Raises Trouble where this try failed, HeadscriptError where every other would."""


class Explainer(Protocol):
    """Something that answers prompts."""

    charges: ClassVar[bool]
    """Asking spends money or tokens."""

    @property
    def name(self) -> str:
        """What is asked, as in "openai:MODEL": answers are kept under it."""

    def opened(self, timeout: float) -> AbstractAsyncContextManager[Answering]:
        """Connect; a try that takes longer than `timeout` seconds may be given up."""

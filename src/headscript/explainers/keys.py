"""Keys of services: read from the environment, sent to the service, and shown nowhere else."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headscript.errors import HeadscriptError

OPENAI = "OPENAI_API_KEY"
ANTHROPIC = "ANTHROPIC_API_KEY"
OTHER = "HEADSCRIPT_API_KEY"

_SECRETS = ("OPENAI_ADMIN_KEY", "ANTHROPIC_AUTH_TOKEN", OPENAI, ANTHROPIC, OTHER)
_LOGGERS = (
    "anthropic anthropic._base_client openai openai._base_client httpx2 httpcore2.connection "
    "httpcore2.http11 httpcore2.http2 httpcore2.proxy"
).split()
_SHORTEST = 8  # what is shorter ("none", "ollama") is no secret, and may be a word of an answer


class ApiKey:
    """A key that does not show itself; only `secret` is the key."""

    __slots__ = ("_secret", "variable")

    def __init__(self, secret: str, variable: str) -> None:
        self._secret = secret
        self.variable = variable
        """The environment variable that it came from."""

    @property
    def secret(self) -> str:
        """The key itself, for the request that carries it; empty where there is none."""
        return self._secret

    def __repr__(self) -> str:
        return f"ApiKey(from {self.variable})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not sent to another process")

    def hide(self, text: str) -> str:
        """Replace the key wherever it stands in a text, as in an error message that repeats it."""
        if len(self._secret) < _SHORTEST:
            return text
        inside_json = json.dumps(self._secret)[1:-1]
        return text.replace(self._secret, "[key]").replace(inside_json, "[key]")


@contextmanager
def hidden_in_logs(key: ApiKey) -> Iterator[None]:
    """Keep a key out of what the HTTP libraries log, such as headers that a server repeats."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = key.hide(record.getMessage()), ()
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(hide)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(hide)


def read_key(variable: str, environment: Mapping[str, str], *, needed: bool = True) -> ApiKey:
    """Take the key in `variable`; where it is not `needed`, none is an empty key.

    Raises HeadscriptError where it is missing or cannot be sent, without repeating it.
    """
    secret = environment.get(variable, "").strip()
    if needed and not secret:
        raise HeadscriptError(
            f"There is no key in the environment variable {variable}; set it, as in "
            f"'export {variable}=...', and start again."
        )
    if not all(33 <= ord(character) < 127 for character in secret):
        raise HeadscriptError(
            f"The key in {variable} has a space or a character that no key has; copy it again."
        )
    return ApiKey(secret, variable)


def names_of_keys() -> tuple[str, ...]:
    """The environment variables that hold keys."""
    return _SECRETS


def environment_without_keys(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment as worker processes get it: they call no service."""
    return {name: value for name, value in environment.items() if name not in _SECRETS}

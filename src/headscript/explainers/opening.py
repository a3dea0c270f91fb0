"""From what a user writes to an explainer: "openai:MODEL", an address, a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from headscript.errors import HeadscriptError
from headscript.explainers import keys
from headscript.explainers.answering import Explainer
from headscript.explainers.anthropic_client import AnthropicClient
from headscript.explainers.batch import BatchFolder
from headscript.explainers.openai_client import OpenAIClient
from headscript.explainers.troubles import one_line

FORMS = "openai:MODEL, anthropic:MODEL, http://HOST:PORT/v1#MODEL or batch:FOLDER"
_OPENAI = "https://api.openai.com/v1"
_ANTHROPIC = "https://api.anthropic.com"


def open_explainer(spec: str, *, environment: Mapping[str, str] = os.environ) -> Explainer:
    """Open the explainer that `spec` names; keys come from the `environment`.

    Raises HeadscriptError where it names none, a key is missing, or the extra is not installed.
    """
    kind, _, rest = spec.partition(":")
    if kind in ("http", "https"):
        address, _, model = spec.partition("#")
        address = _checked(address)
        if not model:
            raise HeadscriptError(f"Say which model at {address}, as in '{address}#MODEL'.")
        _need("openai")
        key = keys.read_key(keys.OTHER, environment, needed=False)
        return OpenAIClient(f"{address}#{model}", model, key, address)
    if kind == "batch" and rest:
        folder, _, model = rest.partition("#")
        return BatchFolder(Path(folder).expanduser(), model)
    if kind == "openai" and rest:
        _need(kind)
        name, address = _service(spec, environment, "OPENAI_BASE_URL", _OPENAI)
        key = keys.read_key(keys.OPENAI, environment)
        return OpenAIClient(name, rest, key, address, official=True)
    if kind == "anthropic" and rest:
        _need(kind)
        name, address = _service(spec, environment, "ANTHROPIC_BASE_URL", _ANTHROPIC)
        return AnthropicClient(name, rest, keys.read_key(keys.ANTHROPIC, environment), address)
    raise HeadscriptError(f"{one_line(spec)!r} names no explainer; give {FORMS}.")


def _service(
    spec: str, environment: Mapping[str, str], variable: str, usual: str
) -> tuple[str, str]:
    """The name and the address of a service that the environment may put elsewhere."""
    address = environment.get(variable, "").strip()
    if not address:
        return spec, usual
    address = _checked(address)
    return f"{spec} at {address}", address


def _checked(address: str) -> str:
    """An address as it is sent to; refused where it cannot be meant, or holds what is secret."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise HeadscriptError(
            f"{one_line(address)!r} is no address of a server; give one as in "
            "'http://127.0.0.1:8000/v1'."
        )
    if "@" in parts.netloc or parts.query:
        raise HeadscriptError(
            "The address of a server may not hold a password or a query, as it is shown and kept; "
            f"put the key into {keys.OTHER}."
        )
    return address.rstrip("/")


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise HeadscriptError(
            "To ask language models install the extra 'llm': pip install 'headscript[llm]'."
        )

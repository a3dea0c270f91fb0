"""Asking the fault server, in either form, the way a user's settings would."""

from __future__ import annotations

from random import Random

from tests.explainers.fault_server import FaultServer

from headscript.events import Listener, ignore
from headscript.explainers import (
    Budget,
    Message,
    Outcome,
    Price,
    Request,
    Store,
    ask,
    open_explainer,
)
from headscript.explainers.answering import Explainer
from headscript.explainers.patience import Patience

KEY = "sk-test-0123456789-secret"
WIRES = ("openai", "anthropic", "other")

QUICK = Patience(timeout=5, tries=3, first_pause=0.01, longest_pause=0.02, longest_wait=2)


def request(prompt: str, max_tokens: int = 50, sample: int = 0) -> Request:
    system = Message("system", "You are a careful reader.")
    return Request((system, Message("user", prompt)), max_tokens, 0.7, sample)


def explainer(server: FaultServer, wire: str) -> Explainer:
    """The explainer that speaks to the server in OpenAI's form, in Anthropic's, or as another."""
    environment = {
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_API_KEY": KEY,
        "HEADSCRIPT_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{server.address}/v1",
        "ANTHROPIC_BASE_URL": server.address,
    }
    spec = {
        "openai": "openai:small",
        "anthropic": "anthropic:small",
        "other": f"{server.address}/v1#small",
    }[wire]
    return open_explainer(spec, environment=environment)


def asked(
    server: FaultServer,
    wire: str,
    store: Store,
    prompts: list[str],
    *,
    budget: Budget | None = None,
    price: Price | None = None,
    patience: Patience = QUICK,
    on_event: Listener = ignore,
) -> list[Outcome]:
    """Outcomes for one request a prompt."""
    return ask(
        explainer(server, wire),
        [request(prompt) for prompt in prompts],
        store,
        budget,
        price=price,
        patience=patience,
        on_event=on_event,
        chance=Random(0),
    )

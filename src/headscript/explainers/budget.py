"""How much may be spent: reserved before each request, booked when it ends."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headscript.errors import HeadscriptError
from headscript.explainers.prices import Price
from headscript.explainers.requests import Request

Unit = Literal["usd", "tokens"]
_BYTES_A_TOKEN = 3  # English and code have about 4; to reserve a little too much is the safe side
_TOKENS_A_MESSAGE = 8


@dataclass(frozen=True)
class Budget:
    """The most that one run may spend, all its sessions together."""

    limit: float
    unit: Unit = "usd"

    def __str__(self) -> str:
        return as_said(self.limit, self.unit)


def as_said(amount: float, unit: Unit) -> str:
    """An amount as a person would write it."""
    return f"${amount:,.2f}" if unit == "usd" else f"{amount:,.0f} tokens"


def parse_budget(text: str) -> Budget:
    """Read "2.50" or "2.50usd" as dollars and "500000tokens" as tokens.

    Raises HeadscriptError on anything else.
    """
    found = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?) *(usd|tokens)?", text.strip().lower())
    if not found:
        raise HeadscriptError(
            f"{text!r} is no budget; give dollars, as in '2.50', or tokens, as in '500000tokens'."
        )
    amount = float(found[1].replace("_", ""))
    return Budget(amount, "tokens" if found[2] == "tokens" else "usd")


@dataclass(frozen=True)
class Amount:
    """Tokens, and what they cost where there is a price."""

    input_tokens: int
    output_tokens: int
    cost: float | None

    def of(self, unit: Unit) -> float:
        """In the unit of a budget; dollars that are not known count as none."""
        return self.input_tokens + self.output_tokens if unit == "tokens" else self.cost or 0.0


def most_of(request: Request, price: Price | None) -> Amount:
    """What a request may use at most: its prompt by its size, its answer at full length."""
    size = sum(
        math.ceil(len(message.content.encode("utf-8", "replace")) / _BYTES_A_TOKEN)
        + _TOKENS_A_MESSAGE
        for message in request.messages
    )
    return amount(size, request.max_tokens, price)


def amount(input_tokens: int, output_tokens: int, price: Price | None) -> Amount:
    """So many tokens at a price."""
    cost = None if price is None else price.of(input_tokens, output_tokens)
    return Amount(input_tokens, output_tokens, cost)


@dataclass(frozen=True)
class Estimate:
    """What is ahead, before the first call."""

    requests: int
    cached: int
    most: Amount

    def __str__(self) -> str:
        ahead = self.requests - self.cached
        text = f"{ahead} {'request' if ahead == 1 else 'requests'} to send"
        if self.cached:
            text += f", {self.cached} answered before"
        if not ahead:
            return text
        text += (
            f"; about {self.most.input_tokens:,} tokens in, at most {self.most.output_tokens:,} out"
        )
        if self.most.cost is None:
            return text + "; the cost is not known, as no price is given"
        return text + f"; at most about {as_said(self.most.cost, 'usd')}"


def estimate(requests: Iterable[Request], cached: int, price: Price | None) -> Estimate:
    """What the `requests` may use at most, when `cached` others were answered before."""
    amounts = [most_of(request, price) for request in requests]
    total = amount(
        sum(each.input_tokens for each in amounts),
        sum(each.output_tokens for each in amounts),
        price,
    )
    return Estimate(len(amounts) + cached, cached, total)

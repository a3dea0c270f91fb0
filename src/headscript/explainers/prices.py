"""What a model's tokens cost: as the user says, and not known otherwise."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from headscript.errors import HeadscriptError


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of so many tokens, in dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def parse_price(text: str) -> Price:
    """Read "IN,OUT", in dollars per million tokens, as in "1.25,10".

    Raises HeadscriptError on anything else.
    """
    try:
        read, written = (float(part) for part in text.split(","))
    except ValueError:
        read = written = math.nan
    if not (0 <= read < math.inf and 0 <= written < math.inf):
        raise HeadscriptError(
            f"{text!r} is no price; give dollars per million tokens in and out, as in '1.25,10'."
        )
    return Price(read, written)


def price_table() -> Path:
    """The file of the user's prices: HEADSCRIPT_PRICES, or prices.toml in the user's settings."""
    chosen = os.environ.get("HEADSCRIPT_PRICES")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_config_dir("headscript")) / "prices.toml"


def price_of(explainer: str, table: Path | None = None) -> Price | None:
    """The price of an explainer in the user's table; None where it, or the table, is missing.

    The table is TOML: a name such as "openai:MODEL", then `input` and `output` in dollars per
    million tokens. Raises HeadscriptError where it is there and cannot be read.
    """
    table = table or price_table()
    try:
        content = tomllib.loads(table.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HeadscriptError(f"The table of prices {table} cannot be read: {error}.") from error
    entry = content.get(explainer)
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or {"input", "output"} - entry.keys():
        raise HeadscriptError(
            f"The table of prices {table} gives {explainer!r} no 'input' and 'output'."
        )
    return parse_price(f"{entry['input']},{entry['output']}")

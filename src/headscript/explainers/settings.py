"""What a user decides about an explainer, as it is kept with a run; keys are not among it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from headscript.errors import HeadscriptError
from headscript.explainers.budget import Budget, parse_budget
from headscript.explainers.patience import Patience
from headscript.explainers.prices import Price, parse_price, price_of


class ExplainerSettings(BaseModel):
    """Which explainer, how it is asked, and how much may be spent."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    explainer: str
    """openai:MODEL, anthropic:MODEL, http://HOST:PORT/v1#MODEL or batch:FOLDER."""
    max_tokens: int = 2000
    """How many tokens an answer may have."""
    temperature: float | None = None
    """How much chance there is in an answer; none leaves it to the server, as many models want."""
    concurrency: int = 8
    """Requests in flight."""
    timeout: float = 300.0
    """Seconds that one try may take in all."""
    tries: int = 5
    """Tries of one request."""
    budget: str | None = None
    """The most to spend, as in "2.50" (dollars) or "500000tokens"; none means no bound."""
    price: str | None = None
    """Dollars per million tokens in and out, as in "1.25,10"; none means the user's table."""

    def checked(self) -> ExplainerSettings:
        """These settings, if they can be meant; else raises HeadscriptError."""
        for name in ("max_tokens", "concurrency", "timeout", "tries"):
            if not getattr(self, name) > 0:
                raise HeadscriptError(f"{name} must be more than 0, but is {getattr(self, name)}.")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise HeadscriptError(f"temperature must be 0 to 2, but is {self.temperature}.")
        self.the_budget()
        if self.price is not None:
            parse_price(self.price)
        return self

    def patience(self) -> Patience:
        """How a slow or broken server is treated."""
        return Patience(timeout=self.timeout, tries=self.tries, concurrency=self.concurrency)

    def the_budget(self) -> Budget | None:
        """The budget, read; raises HeadscriptError where it is none."""
        return None if self.budget is None else parse_budget(self.budget)

    def the_price(self, explainer: str) -> Price | None:
        """The price given, or that of the explainer of this name in the user's table.

        Raises HeadscriptError where it, or the table, cannot be read.
        """
        return parse_price(self.price) if self.price is not None else price_of(explainer)

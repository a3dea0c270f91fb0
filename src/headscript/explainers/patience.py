"""How long to wait, how often to try, and how many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Patience:
    """How a server is treated that is slow, busy or broken."""

    timeout: float = 300.0
    """Seconds that one try may take in all, however the answer comes in."""
    tries: int = 5
    """Tries of one request."""
    concurrency: int = 8
    """Requests in flight."""
    first_pause: float = 1.0
    """Seconds before the second try; each further pause is twice as long."""
    longest_pause: float = 30.0
    """Seconds, where the server does not say."""
    longest_wait: float = 300.0
    """Seconds that a server may ask to wait; where it asks for more, its request fails."""

    def pause(self, tries: int, asked: float | None, chance: Random) -> float | None:
        """Seconds to wait after so many tries; None where there is no sense in another.

        What the server asks for is a lower bound, and a share is left to chance on top, so that
        those who were sent away together do not come back together.
        """
        if tries >= self.tries or (asked is not None and asked > self.longest_wait):
            return None
        usual = min(self.longest_pause, self.first_pause * 2.0 ** (tries - 1))
        if asked is None:
            return usual * chance.uniform(0.5, 1.0)
        return asked + usual * chance.uniform(0.0, 0.5)

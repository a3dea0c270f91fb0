"""Whether a free-form program says of a text's tokens what it says of them on a prefix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headscript.sandbox import Outcome

SHORTEST = 4
"""A program may fail on a prefix of fewer tokens: that tells nothing of what it looks at."""
TOLERANCE = 1e-5


def difference(whole: NDArray[np.float32], part: Outcome, length: int) -> str:
    """What differs between the pattern of a text and a run on its first tokens; "" for nothing."""
    if part.matrix is None:
        if length < SHORTEST:
            return ""
        return f"fails on a prefix of {length} tokens: {part.failure}"
    off = np.abs(whole[:length, :length] - part.matrix).max(1)
    if (off <= TOLERANCE).all():
        return ""
    row = int(off.argmax())
    more = len(whole) - length
    return f"row {row} changes by {off[row]:.2g} when {more} more tokens follow {length}"

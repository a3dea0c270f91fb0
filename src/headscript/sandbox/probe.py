"""What a confined child tries, to see whether a layer holds."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def probe(attempt: str) -> bool:
    """Try what a layer should refuse, in a confined child; True where it could be done."""
    try:
        if attempt == "file":
            next(Path(os.sep).iterdir())
        elif attempt == "memory":
            bytearray(4_000_000_000)
        elif attempt == "socket":  # ends the process where a filter is on
            socket.socket().close()
    except (OSError, MemoryError):
        return False
    return True

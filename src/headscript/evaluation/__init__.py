"""How well programs do: on other texts, and head by head.

Names are imported when they are first used: a portrait can be shown without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headscript.evaluation.portraits import Portrait, Sighting, portrait
    from headscript.evaluation.scoring import HeadScore, Score, score_run

__all__ = ["HeadScore", "Portrait", "Score", "Sighting", "portrait", "score_run"]

_HOMES = {
    "HeadScore": "scoring",
    "Portrait": "portraits",
    "Score": "scoring",
    "Sighting": "portraits",
    "portrait": "portraits",
    "score_run": "scoring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

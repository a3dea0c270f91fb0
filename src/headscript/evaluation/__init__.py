"""How well programs do: on other texts, and head by head.

Names are imported when they are first used: a portrait can be shown without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headscript.evaluation.portraits import Portrait, Sighting, portrait
    from headscript.evaluation.scoring import HeadScore, Score, score_run
    from headscript.evaluation.trials import Trial
    from headscript.evaluation.trying import try_program

__all__ = [
    "HeadScore",
    "Portrait",
    "Score",
    "Sighting",
    "Trial",
    "portrait",
    "score_run",
    "try_program",
]

_HOMES = {
    "HeadScore": "scoring",
    "Portrait": "portraits",
    "Score": "scoring",
    "Sighting": "portraits",
    "Trial": "trials",
    "portrait": "portraits",
    "score_run": "scoring",
    "try_program": "trying",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

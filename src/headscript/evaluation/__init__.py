"""How well programs do: on other texts, and head by head."""

from headscript.evaluation.portraits import Portrait, Sighting, portrait
from headscript.evaluation.scoring import HeadScore, Score, score_run

__all__ = ["HeadScore", "Portrait", "Score", "Sighting", "portrait", "score_run"]

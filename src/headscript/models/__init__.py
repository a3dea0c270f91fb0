"""Models: loading them, and the one door through which their attention is seen."""

from headscript.models.attention import ATTENTION_NAME, observed
from headscript.models.loading import Model, load_model

__all__ = ["ATTENTION_NAME", "Model", "load_model", "observed"]

"""Language models that are asked for programs: services, local servers, or a folder of batches."""

from headscript.explainers.asking import ask
from headscript.explainers.budget import Budget
from headscript.explainers.opening import open_explainer
from headscript.explainers.prices import Price
from headscript.explainers.requests import Answer, Failure, FailureKind, Message, Outcome, Request
from headscript.explainers.settings import ExplainerSettings
from headscript.explainers.store import Store

__all__ = [
    "Answer",
    "Budget",
    "ExplainerSettings",
    "Failure",
    "FailureKind",
    "Message",
    "Outcome",
    "Price",
    "Request",
    "Store",
    "ask",
    "open_explainer",
]

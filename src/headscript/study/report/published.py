"""What the paper reports, as facts to stand beside what a study finds.

From "Explaining Attention with Program Synthesis" (Hayes, Li, Andreas; arXiv 2606.19317): its text
and figures, and for the shares of heads between those it names, the results that go with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SOURCE = "arXiv 2606.19317"


@dataclass(frozen=True)
class Published:
    """One model of the paper."""

    name: str
    sources: tuple[str, ...]
    """Last parts of hub ids and of folders that lead to it, in lower case."""
    heads: int
    mean_iou: float
    """Of the best program for each head, chosen and scored on the same five short sentences."""
    median_iou: float
    perplexity_increase: dict[float, float] = field(default_factory=dict)
    """By share of heads replaced, those with the highest IoU first; 0.05 is 5 %."""
    iou_and_increase: float | None = None
    """Spearman of the IoU of the k-th head and the increase after k heads, over these curves."""
    iou_and_step: float | None = None
    """The same with what the k-th head adds to the increase."""


MODELS = (
    Published(
        "GPT-2 small",
        ("gpt2", "gpt2-small"),
        heads=144,
        mean_iou=0.69,
        median_iou=0.67,
        perplexity_increase={
            0.05: 0.034,
            0.1: 0.037,
            0.15: 0.058,
            0.25: 0.05,
            0.4: 0.156,
            0.5: 0.22,
            0.75: 0.648,
            1.0: 60.83,
        },
        iou_and_increase=-0.92,
        iou_and_step=-0.57,
    ),
    Published(
        "TinyLlama-1.1B",
        ("tinyllama-1.1b-intermediate-step-1431k-3t",),
        heads=704,
        mean_iou=0.74,
        median_iou=0.74,
        perplexity_increase={
            0.05: 0.012,
            0.1: 0.035,
            0.15: 0.053,
            0.25: 0.11,
            0.4: 0.215,
            0.5: 0.51,
            0.75: 2.69,
            1.0: 14.33,
        },
        iou_and_increase=-1.0,
        iou_and_step=-0.44,
    ),
    Published(
        "Llama-3.2-3B",
        ("llama-3.2-3b",),
        heads=672,
        mean_iou=0.79,
        median_iou=0.79,
        perplexity_increase={
            0.05: 0.041,
            0.1: 0.062,
            0.15: 0.108,
            0.25: 0.19,
            0.4: 0.346,
            0.5: 1.1,
            0.75: 7.93,
            1.0: 65.56,
        },
        iou_and_increase=-1.0,
        iou_and_step=-0.34,
    ),
    Published("BERT-base", ("bert-base-uncased",), heads=144, mean_iou=0.34, median_iou=0.34),
)

INCREASE_AT_A_QUARTER = 0.16
"""The headline: perplexity increase with 25 % of the heads replaced, mean over models."""
UNIFORM_AT_A_TWENTIETH = 4.0
"""In the Llamas the uniform triangle in the place of 5 % of the heads costs more than this."""
SPEARMAN = -0.9
"""The rank correlation of IoU and perplexity increase lies beyond this."""
QUESTIONS_HOLD = (0.3, 0.4)
"""Questions are answered about as well up to these shares of heads replaced."""
QUESTIONS = 200
"""Of each of six tasks."""
DOLLARS, CANDIDATES = 150, 4_000
"""What its programs cost, about, and at most so many candidates were written."""


def published_of(source: str, heads: int) -> Published | None:
    """The paper's figures of a model that has so many heads; None where it is none of its models.

    `source` is what leads to the model: a hub id or a folder. Both must fit, for a folder may be
    called anything.
    """
    last = source.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    for model in MODELS:
        if last in model.sources and model.heads == heads:
            return model
    return None

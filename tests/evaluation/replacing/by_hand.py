"""What replacing heads does, measured text by text."""

import math
from collections.abc import Mapping

import torch

from headscript.evaluation.sweep import Point
from headscript.heads import Head
from headscript.models import Model
from headscript.replacement import Pattern, replaced


def by_hand(
    model: Model, texts: list[list[int]], assignment: Mapping[Head, Pattern]
) -> tuple[float, float, float]:
    """Perplexity increase, KL and agreement, through `replaced` and text by text."""
    surprise, base, apart, agree, places = 0.0, 0.0, 0.0, 0, 0
    for text in texts:
        ids = torch.tensor([text])
        with torch.no_grad():
            before = model.network(ids).logits[0, :-1].double().log_softmax(-1)
            with replaced(model, assignment) as network:
                after = network(ids).logits[0, :-1].double().log_softmax(-1)
        wanted = torch.tensor(text[1:])[:, None]
        base -= float(before.gather(1, wanted).sum())
        surprise -= float(after.gather(1, wanted).sum())
        apart += float((before.exp() * (before - after)).sum())
        agree += int((before.argmax(1) == after.argmax(1)).sum())
        places += len(wanted)
    return math.expm1((surprise - base) / places), apart / places, agree / places


def as_found(point: Point) -> tuple[float, float, float]:
    return point.perplexity_increase, point.kl, point.top1_agreement

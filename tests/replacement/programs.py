"""Programs of all kinds for the heads of small networks."""

from __future__ import annotations

from tests.models.networks import network_of, tokenizer

from headscript.heads import Head
from headscript.models import Model
from headscript.programs import Program

RECENT = '''
def attend(text, sink=2.5, recency=0.8, words=1.7, news=1.2, rare=0.3):
    """Rests on the first token; the nearer the stronger."""
    return softmax(
        sink * text.first
        - recency * log(text.distance + 1)
        + words * key(text.one_of("w5", "w9", "w13", "w21", "w33", "w40", "w41"))
        + news * query(text.is_new) * text.previous(1)
        - rare * query(log(text.position + 1)) * key(text.rarity) * text.within(4)
    )
'''
LOOKUP = '''
def attend(text, same=3.0, latest=1.5, second=2.0, after=0.7):
    """Looks for what followed the same token, and for landmarks."""
    landmarks = text.one_of("w5", "w9", "w13", "w21", "w33", "w40")
    return softmax(
        same * text.after_same
        + latest * text.latest(landmarks)
        + second * text.nth(landmarks, 2)
        + after * key(text.after(landmarks)) * text.same_word
    )
'''
BENT = '''
def attend(text, wide=3.0, height=1.1, floor=-0.4):
    """Not a sum of constants times features."""
    near = where(text.distance < wide, height, floor)
    return softmax(maximum(near, exp(-text.distance / 3)) * (1 + text.same_token) + text.first)
'''
SHARED = '''
def attend(text, own=0.3, sharp=1.5):
    """A part of the weight for the token itself, and the rest by likeness and number."""
    rest = softmax(sharp * text.similarity - 0.1 * text.between(text.is_new))
    return own * text.itself + (1 - own) * rest
'''
SOURCES = (RECENT, LOOKUP, BENT, SHARED)
BOTH_WAYS = [
    source.replace("\n    )\n", ",\n        text.allowed,\n    )\n").replace(
        "text.first)\n", "text.first, text.allowed)\n"
    )
    for source in (RECENT, BENT)
]


def model_of(family: str, *, seed: int = 0) -> Model:
    return Model.of(network_of(family, seed=seed), tokenizer(), name=family)


def programs_for(model: Model, *, every: int = 1) -> dict[Head, Program]:
    """Programs of all kinds, one for every head, or every second one, ..."""
    sources = SOURCES if model.causal else BOTH_WAYS
    heads = model.heads[::every]
    return {
        head: Program.parse(sources[place % len(sources)], str(head))
        for place, head in enumerate(heads)
    }

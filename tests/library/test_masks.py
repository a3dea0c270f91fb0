"""A program keeps its meaning when its rows end elsewhere."""

import pytest
import torch
from tests.programs.strategies import SURFACES

from headscript.language import Text
from headscript.library.masks import suited, with_mask
from headscript.programs import Program, Term, emit


def program(body: str, constants: str = "a=1.5, b=0.5") -> Program:
    return Program.parse(f'def attend(text, {constants}):\n    """Some."""\n{body}\n')


def text_of(*surfaces: str, causal: bool) -> Text:
    ids = [SURFACES.index(surface) for surface in surfaces]
    return Text(surfaces, ids, len(SURFACES), causal=causal)


WORDS = ("Tom", " was", ",", " in", " in", ".")
TERMS = [Term(None, "text.first", None), Term(None, "text.distance", None)]


@pytest.mark.parametrize(
    "body",
    [
        "    return softmax(a * text.first - b * text.distance)",
        "    return softmax(\n        a * text.first\n        - b * text.distance\n    )",
        "    return softmax(\n        a * text.first - b * text.distance,\n    )",
        "    return softmax((a * text.first - b * text.distance))",
        "    return softmax(\n        a * text.first - b * text.distance  # the “nearer”\n    )",
        "    return softmax(\n        a * text.first - b * text.distance,  # so\n    )",
        "    near = -b * text.distance  # é\n    return softmax(a * text.first + near)",
    ],
)
def test_an_encoder_is_looked_at_as_a_whole(body):
    text = text_of(*WORDS, causal=False)
    given = suited(program(body), causal=False)
    assert given is not None
    wanted = emit("L00H00", "m", TERMS, [1.5, -0.5], causal=False)(text)
    torch.testing.assert_close(given(text), wanted)
    assert bool((given(text) > 0).all())
    assert given.explanation == "Some."


def test_both_parts_of_a_mixture_get_the_mask():
    mixture = program("    return b * softmax(a * text.first) + (1 - b) * softmax(-text.distance)")
    given = with_mask(mixture)
    assert given is not None
    assert given.source.count(", text.allowed)") == 2
    assert bool((given(text_of(*WORDS, causal=False)) > 0).all())


def test_a_program_with_a_mask_stays_and_suits_a_decoder_too():
    encoders = program("    return softmax(a * text.first, text.allowed)", "a=1.5")
    assert with_mask(encoders) is encoders
    assert suited(encoders, causal=True) is encoders
    decoders = program("    return softmax(a * text.first)", "a=1.5")
    text = text_of(*WORDS, causal=True)
    torch.testing.assert_close(encoders(text), decoders(text))


def test_what_looks_ahead_is_for_no_decoder():
    ahead = program("    return softmax(a * text.last, text.allowed)", "a=1.5")
    assert suited(ahead, causal=True) is None
    assert suited(ahead, causal=False) is ahead

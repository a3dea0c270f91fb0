"""Terms read off a program's source are those it was written from."""

import pytest
import torch
from hypothesis import given, settings
from tests.programs.strategies import texts, weighted_terms

from headscript.programs import Program, emit
from headscript.programs.reading import read_terms


@settings(max_examples=100, deadline=None)
@given(texts(causal=True), weighted_terms.filter(bool))
def test_written_again_it_computes_the_same(text, chosen):
    program = emit("L00H01", "m", [t for t, _ in chosen], [w for _, w in chosen], causal=True)
    found = read_terms(program)
    assert found is not None
    assert [constant for _, constant, _ in found] == list(program.constants)
    weights = [sign * program.constants[constant] for _, constant, sign in found]
    again = emit("L00H01", "m", [term for term, _, _ in found], weights, causal=True)
    torch.testing.assert_close(again(text), program(text))


@pytest.mark.parametrize(
    "scores", ["exp(a * text.distance)", "a * b * text.first", "text.first - text.distance"]
)
def test_other_forms_are_not_read(scores):
    source = f"def attend(text, a=1.0, b=2.0):\n    return softmax({scores})\n"
    assert read_terms(Program.parse(source)) is None


@pytest.mark.parametrize(
    ("scores", "sign"),
    [("-a * text.first", -1), ("text.distance * -a", -1), ("0 * text.first - a * text.first", -1)],
)
def test_signs(scores, sign):
    source = f"def attend(text, a=1.0):\n    near = text.within(2)\n    return softmax({scores})\n"
    found = read_terms(Program.parse(source))
    if scores.startswith("0"):
        assert found is None  # a term without a constant
    else:
        assert found is not None
        assert found[0][1:] == ("a", sign)

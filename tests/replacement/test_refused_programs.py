"""Heads that are not there and programs that give no pattern are refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.networks import some_ids
from tests.replacement.passes import left_as_it_was
from tests.replacement.programs import RECENT, model_of, programs_for
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import Model, observed
from headscript.programs import Program
from headscript.replacement import Replacement, replaced


def refused(model: Model, assignment: Any, words: str, **more: Any) -> None:
    with (
        left_as_it_was(model.network),
        pytest.raises(HeadscriptError, match=words) as told,
        replaced(model, assignment, **more),
    ):
        model.network(torch.tensor([some_ids(6)]))
    assert str(told.value).endswith(".")
    assert "\n" not in str(told.value)


def test_heads_that_cannot_be_replaced() -> None:
    model = model_of("gpt2")
    program = Program.parse(RECENT)
    refused(model, [(Head(0, 0), program), (Head(0, 0), program)], "L00H00 is assigned two")
    refused(model, {Head(0, 4): program}, "gpt2 has no head L00H04")
    refused(model, {Head(3, 0): program}, "has no head L03H00")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (lambda text: torch.full((len(text), len(text)), torch.nan), "no attention pattern"),
        (lambda text: torch.eye(len(text)) * torch.inf, "no attention pattern"),
        (lambda text: torch.eye(len(text)) / 2, "no attention pattern"),
        (lambda text: 2 * torch.eye(len(text)) - torch.eye(len(text))[:, [0]], "no attention"),
        (lambda text: torch.full((len(text), len(text)), 1 / len(text)), "after the query"),
        (lambda text: torch.eye(len(text) + 1), r"\(7, 7\) on a text of 6 tokens, not \(6, 6\)"),
        (lambda text: text.is_new, r"gives \(6,\) on a text"),
        (lambda text: "nothing", "gives str"),
    ],
)
def test_functions_that_give_no_pattern(pattern: Any, words: str) -> None:
    model = model_of("gpt2")
    refused(model, {**programs_for(model), Head(1, 2): pattern}, words)


NOT_FINITE = [
    "softmax(-c * log(text.distance))",  # infinite where the key is the query
    "softmax(c * key(log(text.position)) * text.first * -1)",
    "softmax(exp(c * 1000 * text.distance))",
]
NO_PATTERN = [
    "c * text.itself * 0.5",
    "c * text.itself - text.first",
    "softmax(c * text.first) * 2",
]


@pytest.mark.parametrize("length", [6, 40])  # few rows and many are evaluated in two ways
@pytest.mark.parametrize("result", [*NOT_FINITE, *NO_PATTERN])
def test_programs_that_give_no_pattern(result: str, length: int) -> None:
    model = model_of("llama-2-groups")
    bad = Program.parse(f'def attend(text, c=1.0):\n    """Bad."""\n    return {result}\n', "bad")
    with (
        left_as_it_was(model.network),
        pytest.raises(HeadscriptError, match=r"^bad gives no attention pattern"),
        replaced(model, {**programs_for(model), Head(2, 1): bad}),
    ):
        model.network(torch.tensor([some_ids(length)]))


def test_programs_that_see_the_future_need_a_word() -> None:
    """Also cached, an admitted one says of a token what it says of the text so far."""
    model = model_of("llama-2-groups")
    source = (
        'def attend(text, c=1.5, d=0.3):\n    """Bad."""\n    return softmax(c * text.last{})\n'
    )
    program = Program.parse(source.format(" - d * text.distance"), "bad")
    assert not program.prefix_consistent
    refused(model, {Head(0, 0): program}, "not prefix-consistent")
    ahead = Program.parse(
        'def attend(text):\n    """Bad."""\n    return softmax(text.first * 1.0, ~text.earlier)\n'
    )
    refused(model, {Head(0, 0): ahead}, "later tokens|after the query", allow_inconsistent=True)
    ids = torch.tensor([some_ids(9)])
    seen: list[Tensor] = []
    with (
        replaced(model, {Head(0, 0): program}, allow_inconsistent=True),
        observed(model.network, [0], lambda layer, weights: seen.append(weights[0, 0])),
        torch.no_grad(),
    ):
        cache = model.network(ids[:, :8], use_cache=True).past_key_values
        model.network(ids[:, 8:], past_key_values=cache)
        model.network(ids)
    read = Replacement(model, {})._read
    so_far, text = read(ids[0, :8].tolist()), read(ids[0].tolist())
    expected = [program(so_far), program(text)[8:], program(text)]
    assert len(seen) == len(expected)
    for found, wanted in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert not torch.allclose(expected[0][7], expected[2][7, :8])  # it did look ahead

"""A bank says of many programs what each says alone, faster."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import SURFACES, texts, weighted_terms

from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.programs import Program, emit
from headscript.programs import bank as banks
from headscript.programs.bank import Bank
from headscript.programs.factors import Properties, Reading

BENT = Program.parse(
    'def attend(text, wide=3.0, height=1.1):\n    """Bent."""\n'
    "    near = where(text.distance < wide, height, -0.4)\n"
    "    return softmax(maximum(near, exp(-text.distance / 3)) + text.first)\n",
    "bent",
)
KEYS = Program.parse(
    'def attend(text, a=1.0, b=1.0, c=1.0):\n    """Keys."""\n'
    '    return softmax(a * key(text.is_comma) + b * key(text.one_of(" the", ","))'
    " + c * key(text.rarity))\n",
    "keys",
)
PLAIN = Program.parse('def attend(text):\n    """Even."""\n    return softmax(0.0 * text.first)\n')


@st.composite
def programs(draw, causal=True):
    """A few programs, nearly all of them sums of terms."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        if other := draw(st.sampled_from([None, None, None, BENT, PLAIN])):
            found.append(other)
            continue
        chosen = draw(weighted_terms)
        terms, weights = [term for term, _ in chosen], [weight for _, weight in chosen]
        found.append(emit(f"L00H{number:02d}", "m", terms, weights, causal=causal))
    return found


ways = st.sampled_from([0, 1_000_000])  # by products, or by gathering


def alone(program: Program, text: Text, constants=None) -> torch.Tensor:
    """A program on a text of its own, which has kept nothing."""
    return program(text.from_first_query(text.first_query), constants)


def assert_as_alone(bank: Bank, features, patterns) -> None:
    rows, longest = features.hidden.shape[-2:]
    assert patterns.shape == (len(features.texts), len(bank.programs), rows, longest)
    for number, text in enumerate(features.texts):
        new, n = len(text) - text.first_query, len(text)
        for place, program in enumerate(bank.programs):
            found = patterns[number, place, :new, :n]
            torch.testing.assert_close(found, alone(program, text), atol=2e-5, rtol=1e-4)


@settings(max_examples=80, deadline=None)
@given(programs(), st.lists(texts(), min_size=1, max_size=4), ways)
def test_a_batch_of_texts(found, batch, few):
    bank = Bank(found)
    features = bank.features(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banks, "FEW_ROWS", few)
        patterns = bank.patterns(bank.group(range(len(found))), features)
    assert_as_alone(bank, features, patterns)


@settings(max_examples=60, deadline=None)
@given(programs(), st.lists(texts(), min_size=1, max_size=3), st.data())
def test_texts_that_grow(found, batch, data):
    """By one token or more at a time, each text at its own pace."""
    bank = Bank(found)
    group = bank.group(range(len(found)))
    features = None
    lengths = [0] * len(batch)
    while any(length < len(text) for length, text in zip(lengths, batch, strict=True)):
        steps = data.draw(
            st.lists(st.integers(0, 3), min_size=len(batch), max_size=len(batch)).filter(any)
        )
        firsts = lengths
        lengths = [
            min(length + step, len(text))
            for length, step, text in zip(lengths, steps, batch, strict=True)
        ]
        grown = [
            text.prefix(length).from_first_query(first)
            for text, length, first in zip(batch, lengths, firsts, strict=True)
        ]
        kept = data.draw(st.booleans())  # without those of before, all is computed anew
        features = bank.features(grown, features if kept else None)
        assert_as_alone(bank, features, bank.patterns(group, features))


@settings(max_examples=40, deadline=None)
@given(programs(), st.lists(texts(), min_size=1, max_size=3), st.integers(0, 5))
def test_the_gradient_of_each_constant(found, batch, seed):
    bank = Bank(found)
    features = bank.features(batch)
    constants = bank.constants().requires_grad_()
    patterns = bank.patterns(bank.group(range(len(found))), features, constants)
    draw = torch.Generator().manual_seed(seed)
    wanted = torch.rand(patterns.shape, generator=draw)
    for number, text in enumerate(batch):
        wanted[number, :, len(text) :] = 0
        wanted[number, :, :, len(text) :] = 0
    same = bank.constants().requires_grad_()
    total = torch.zeros(())
    for place, program in enumerate(found):
        values = bank.values_of(place, same)
        for number, text in enumerate(batch):
            pattern = alone(program, text, values or None)
            torch.testing.assert_close(pattern, alone(program, text), atol=2e-5, rtol=1e-4)
            total = total + (pattern * wanted[number, place, : len(text), : len(text)]).sum()
    if bank.constants().numel() and total.requires_grad:
        (patterns * wanted).sum().backward()
        total.backward()
        assert constants.grad is not None
        torch.testing.assert_close(constants.grad, same.grad, atol=2e-4, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(programs(causal=False), texts(causal=False), texts(causal=False), ways)
def test_encoders(found, one, other, few):
    both_ways = Program.parse(
        'def attend(text, c=1.0):\n    """Both."""\n'
        "    return softmax(c * text.following(1) + key(text.rarity), text.allowed)\n"
    )
    bank = Bank([*found, both_ways], causal=False)
    features = bank.features([one, other])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banks, "FEW_ROWS", few)
        patterns = bank.patterns(bank.group(range(len(found) + 1)), features)
    assert_as_alone(bank, features, patterns)


def text_of(*surfaces: str, first_query: int = 0) -> Text:
    ids = [SURFACES.index(surface) for surface in surfaces]
    return Text(surfaces, ids, len(SURFACES), first_query=first_query)


def test_part_of_a_bank_in_another_order():
    bank = Bank([BENT, KEYS, PLAIN])
    text = text_of("Tom", " was", " in", " in")
    features = bank.features([text])
    every = bank.patterns(bank.group(range(3)), features)
    assert torch.equal(bank.patterns(bank.group([2, 1, 0]), features), every[:, [2, 1, 0]])
    other = bank.constants()
    other[:3] = torch.tensor([1.5, 0.4, -2.0])  # the two of BENT, and the first of KEYS
    changed = bank.patterns(bank.group([1, 0]), features, other)[0]
    torch.testing.assert_close(changed[1], BENT.with_constants({"wide": 1.5, "height": 0.4})(text))
    torch.testing.assert_close(changed[0], KEYS.with_constants({"a": -2.0})(text))


@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize(
    "scores",
    [
        "-c * log(text.distance)",
        "c * log(key(text.position) - 1)",
        "c * 1e9 * exp(text.distance * 90)",
    ],
)
def test_scores_that_are_not_finite_are_refused_as_by_the_program(monkeypatch, scores, few):
    monkeypatch.setattr(banks, "FEW_ROWS", few)
    bad = Program.parse(
        f'def attend(text, c=1.0):\n    """Bad."""\n    return softmax({scores})\n', "bad"
    )
    text = text_of("Tom", " was", " in", " in")
    with pytest.raises(HeadscriptError) as expected:
        bad(text)
    bank = Bank([PLAIN, bad])
    with pytest.raises(HeadscriptError) as found:
        bank.patterns(bank.group([0, 1]), bank.features([text]))
    assert str(found.value) == str(expected.value)


def test_a_score_of_minus_infinity_takes_a_key_out():
    """As a condition would: the bank and the program agree."""
    masked = Program.parse(
        'def attend(text, c=1.0):\n    """No look at itself."""\n'
        "    return softmax(c * log(text.distance) + 2 * c * text.first)\n"
    )
    text = text_of("Tom", " was", " in", " in", first_query=1)
    bank = Bank([masked])
    found = bank.patterns(bank.group([0]), bank.features([text]))[0, 0]
    torch.testing.assert_close(found, masked(text))
    assert not found.diagonal(1).any()


def test_an_infinite_feature_spoils_no_gradient_but_its_own():
    mask = "log(text.first | text.within(1))"
    bank = Bank(
        [
            Program.parse(f"def attend(text, {constants}):\n    return softmax({scores})\n")
            for constants, scores in (
                ("a=1.0, b=0.5", "a * text.first - b * text.distance"),
                ("c=1.0, d=0.5", f"c * {mask} + d * text.first"),
                ("e=1.0, f=0.5", f"e * {mask} + f * {mask} * query(text.position + 1)"),
            )
        ]
    )
    texts = [text_of("Tom", " was", " in", " in"), text_of(" was", " was", "Tom")]
    bounds = bank.feature_bounds(texts)
    assert bounds.tolist() == [1, 3, math.inf, 1, math.inf, math.inf]
    constants = bank.constants().requires_grad_()
    patterns = bank.patterns(bank.group(range(3)), bank.features(texts), constants)
    wanted = torch.rand(patterns.shape, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad((patterns * wanted).sum(), constants)
    assert found.isfinite().tolist() == [True, True, False, True, False, False]
    assert all(found[[0, 1, 3]] != 0)


def test_what_is_known_of_tokens_is_dropped_when_it_grows_too_large():
    properties = Properties()
    assert KEYS.log_linear is not None
    for addend in KEYS.log_linear.addends:
        properties.number(addend.feature.as_factors().key[0])
    table = properties._of_token_alone[1]
    table._most = 5
    draw = torch.Generator().manual_seed(0)
    for _ in range(30):
        chosen = torch.randint(len(SURFACES), (4,), generator=draw).tolist()
        text = text_of(*(SURFACES[number] for number in chosen))
        values = properties.values(Reading(text), 3)
        assert len(table._seen) <= 5
        expected = [text.is_comma, text.one_of(" the", ","), text.rarity]
        torch.testing.assert_close(values[1:], torch.stack([e.float() for e in expected])[:, 1:])
    long = text_of(*SURFACES[:20])
    torch.testing.assert_close(properties.values(Reading(long), 20)[3], long.rarity)


def test_relations_of_named_properties_are_computed_together():
    """Whatever the calls are named; a program alone computes them one by one."""
    programs = [
        Program.parse(
            "def attend(text, a=1.0, b=0.7, c=0.4, d=2.0):\n"
            f"    marks = text.is_comma | text.one_of({word!r})\n"
            "    latest = text.latest(marks)\n"
            "    return softmax(a * latest + b * text.between(marks) + c * text.before(marks)"
            " + d * text.nth(marks, 2) + c * key(text.after(marks)) * query(text.after(marks))"
            " - a * log(text.distance + 1) * text.within(3))\n"
        )
        for word in (" the", " in", "Tom")
    ]
    bank = Bank(programs)
    calls = bank._properties.calls
    assert {name for name, _ in calls} == {"latest", "between", "before", "nth", "after"}
    assert all(len(of_kind.names) == 3 for of_kind in calls.values())
    group = bank.group(range(3))
    for surfaces in (["Tom", ",", " in", " the", " in", ","], [" the"] * 70, ["Tom"]):
        features = bank.features([text_of(*surfaces)])
        assert_as_alone(bank, features, bank.patterns(group, features))
    padded = bank.features([text_of("Tom", ",", " in")], padded=16)
    assert padded.query.shape[2] == padded.relation.shape[2] == padded.relation.shape[3] == 16

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.random_patterns import random_patterns, random_texts

from headscript.programs.terms import Term
from headscript.rows import Rows
from headscript.tuning import loglinear
from headscript.tuning.loglinear import derivatives, fit_weights, row_loss, score_gradient

TERMS = [
    Term(relation="text.first"),
    Term(relation="log(text.distance + 1)"),
    Term(relation="text.itself"),
    Term(relation="text.previous(1)"),
    Term("text.is_speech_verb", None, "text.is_name"),
    Term(key="text.is_comma"),
]
WEIGHTS = torch.tensor([2.5, -0.8, 0.6, 1.2, 1.7, -1.1])


@pytest.fixture(params=[True, False], ids=["decoder", "encoder"])
def rows(request):
    return Rows(random_texts([12, 25, 3, 30], causal=request.param))


def random_case(rows: Rows, seed: int = 0):
    """Features, weights near nothing, and a head's pattern, in float64."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(rows.num_cells, 5, generator=draw, dtype=torch.float64)
    weights = 0.5 * torch.randn(5, generator=draw, dtype=torch.float64)
    actual = rows.gather(random_patterns(rows.texts, 1, seed=seed))[:, 0].double()
    return features * rows.valid[:, None], weights, actual


def loss_of(rows: Rows, pattern, actual, surprise):
    loss = (pattern - actual).abs().sum()
    # xlogy leaves out keys that the head does not look at, padding among them.
    return (loss - surprise * torch.xlogy(actual, pattern + (~rows.valid)).sum()) / rows.num_rows


@pytest.mark.parametrize("surprise", [0.0, 0.1])
def test_the_gradient_is_that_of_autograd(rows, surprise):
    features, weights, actual = random_case(rows)
    weights.requires_grad_()
    scores = (features @ weights).masked_fill(~rows.valid, -torch.inf)
    parts = [
        scores[block.cells].view(block.num_rows, block.width).softmax(1).flatten()
        for block in rows.blocks
    ]
    pattern = torch.cat(parts)
    loss = loss_of(rows, pattern, actual, surprise)
    (expected,) = torch.autograd.grad(loss, weights)
    pattern = pattern.detach()
    gradient, hessian = derivatives(rows, features, pattern, actual, surprise=surprise)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)
    assert row_loss(rows, pattern, actual, surprise=surprise) == pytest.approx(float(loss.detach()))
    torch.testing.assert_close(hessian, hessian.T)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-9


def test_the_gradient_by_scores_adds_up_to_nothing_in_each_row(rows):
    _, _, actual = random_case(rows)
    pattern = rows.softmax(torch.randn(rows.num_cells, generator=torch.Generator().manual_seed(2)))
    for surprise in (0.0, 0.3):
        gradient = score_gradient(rows, pattern.double(), actual, surprise=surprise)
        assert rows.row_sums(gradient).abs().max() < 1e-6
        assert gradient[~rows.valid].abs().sum() == 0


@pytest.mark.parametrize("surprise", [0.0, 0.1])
def test_known_weights_are_recovered(rows, surprise):
    features = rows.columns(TERMS)
    actual = rows.softmax(features @ WEIGHTS)
    fitted = fit_weights(rows, features, actual, steps=40, tolerance=1e-9, surprise=surprise)
    torch.testing.assert_close(fitted.weights, WEIGHTS, atol=0.1, rtol=0)
    assert rows.iou(fitted.pattern[:, None], actual[:, None]) > 0.99
    torch.testing.assert_close(fitted.pattern, rows.softmax(features @ fitted.weights))


@given(seed=st.integers(0, 1000), steps=st.integers(0, 6), surprise=st.sampled_from([0.0, 0.1]))
@settings(deadline=None, max_examples=30)
def test_the_loss_never_rises(seed, steps, surprise):
    rows = Rows(random_texts([8, 14, 5], seed=seed))
    features = rows.columns(TERMS)
    actual = rows.gather(random_patterns(rows.texts, 1, seed=seed))[:, 0]
    start = 3 * torch.randn(len(TERMS), generator=torch.Generator().manual_seed(seed))
    before = row_loss(rows, rows.softmax(features @ start), actual, surprise=surprise)
    losses = [
        fit_weights(
            rows, features, actual, start, steps=number, tolerance=0.0, surprise=surprise
        ).loss
        for number in range(steps + 1)
    ]
    assert losses[0] == pytest.approx(before)
    assert losses == sorted(losses, reverse=True)


def test_the_start_is_left_as_it_was(rows):
    features = rows.columns(TERMS)
    actual = rows.softmax(features @ WEIGHTS)
    start = torch.zeros(len(TERMS))
    fit_weights(rows, features, actual, start)
    assert start.abs().sum() == 0


def test_a_sharp_pattern_that_is_wrong_is_found_by_surprise_alone():
    """Where the L1 distance has no gradient, the fit stays; with surprise in the loss it leaves."""
    rows = Rows(random_texts([20, 30]))
    features = rows.columns([Term(relation="text.first"), Term(relation="text.previous(1)")])
    actual = rows.softmax(features @ torch.tensor([0.0, 20.0]))
    wrong = torch.tensor([40.0, 0.0])
    stuck = fit_weights(rows, features, actual, wrong)
    free = fit_weights(rows, features, actual, wrong, surprise=0.1, steps=20)
    assert rows.iou(stuck.pattern[:, None], actual[:, None]) < 0.2
    assert rows.iou(free.pattern[:, None], actual[:, None]) > 0.95


def test_columns_that_are_alike_do_not_break_the_fit(rows):
    term = Term(relation="text.first")
    features = rows.columns([term, term, Term(key="text.is_negation")])  # twice, and never
    actual = rows.softmax(rows.column(term) * 3)
    fitted = fit_weights(rows, features, actual)
    assert fitted.weights.isfinite().all()
    assert float(fitted.weights[:2].sum()) == pytest.approx(3, abs=0.05)
    assert loglinear.row_loss(rows, fitted.pattern, actual) < 0.01

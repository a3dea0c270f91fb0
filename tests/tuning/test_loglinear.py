import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.random_patterns import random_patterns, random_texts

from headscript.programs.terms import Term
from headscript.rows import Rows
from headscript.tuning.loglinear import (
    Problem,
    evaluate,
    fit_weights,
    score_gradient,
    spreads,
)

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


def softmax(rows: Rows, scores):
    scores = scores.masked_fill(~rows.valid, -torch.inf)
    parts = [
        scores[block.cells].view(block.num_rows, block.width).softmax(1).flatten()
        for block in rows.blocks
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("surprise", [0.0, 0.1])
def test_the_gradient_is_that_of_autograd(rows, surprise):
    features, weights, actual = random_case(rows)
    weights.requires_grad_()
    loss = loss_of(rows, softmax(rows, features @ weights), actual, surprise)
    (expected,) = torch.autograd.grad(loss, weights)
    lanes = rows.lanes
    problem = Problem(lanes, lanes.spread(features.T), lanes.spread(actual), surprise)
    found, pattern, gradient, hessian = evaluate(problem, weights.detach(), range(5))
    torch.testing.assert_close(gradient / rows.num_rows, expected, atol=1e-8, rtol=1e-6)
    assert found / rows.num_rows == pytest.approx(float(loss.detach()))
    torch.testing.assert_close(lanes.collect(pattern), softmax(rows, features @ weights.detach()))
    torch.testing.assert_close(hessian, hessian.T)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-9


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=8),
    causal=st.booleans(),
    terms=st.integers(1, 11),
    surprise=st.sampled_from([0.0, 0.1]),
    size=st.sampled_from([0.1, 1.0, 8.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_compiled_code_computes_what_tensors_do_in_float64(
    counts, causal, terms, surprise, size, seed
):
    rows = Rows(random_texts(counts, causal=causal))
    lanes, draw = rows.lanes, torch.Generator().manual_seed(seed)
    features = torch.randn(terms + 2, rows.num_cells, generator=draw) * rows.valid
    columns = torch.randperm(terms + 2, generator=draw)[:terms].tolist()
    weights = size * torch.randn(terms, generator=draw)
    actual = rows.gather(random_patterns(rows.texts, 1, seed=seed))[:, 0]
    problem = Problem(lanes, lanes.spread(features), lanes.spread(actual), surprise)
    exact = Problem(lanes, problem.features.double(), problem.actual.double(), surprise)
    loss, pattern, gradient, hessian = evaluate(exact, weights.double(), columns)
    point, count = problem.at(weights, columns), rows.num_rows
    assert point.loss == pytest.approx(loss / count, rel=1e-5)
    torch.testing.assert_close(point.pattern.double(), pattern, atol=3e-6, rtol=1e-4)
    torch.testing.assert_close(point.gradient.double(), gradient / count, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(point.hessian.double(), hessian / count, atol=1e-4, rtol=1e-3)
    seen = problem.looked_at(weights, columns)
    assert (seen.loss, seen.pattern.equal(point.pattern)) == (point.loss, True)
    spread = spreads(lanes, problem.features, columns, point.pattern)
    chosen = exact.features[columns]
    centred = chosen - lanes.row_sums(pattern * chosen)[:, lanes.row]
    expected = ((pattern * centred.square()).sum(1) / count).sqrt()
    torch.testing.assert_close(spread.double(), expected, atol=1e-4, rtol=1e-3)


def test_a_row_that_is_long_is_a_block_of_its_own():
    """More features than fit a block's room, on rows of very different widths."""
    rows = Rows(random_texts([300, 4]))
    lanes, draw = rows.lanes, torch.Generator().manual_seed(0)
    features = lanes.spread(torch.randn(40, rows.num_cells, generator=draw) * rows.valid)
    actual = lanes.spread(rows.gather(random_patterns(rows.texts, 1))[:, 0])
    weights = 0.1 * torch.randn(40, generator=draw)
    point = Problem(lanes, features, actual).at(weights, range(40))
    exact = Problem(lanes, features.double(), actual.double())
    loss, _, gradient, hessian = evaluate(exact, weights.double(), range(40))
    assert point.loss == pytest.approx(loss / rows.num_rows, rel=1e-5)
    torch.testing.assert_close(point.gradient.double(), gradient / rows.num_rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(point.hessian.double(), hessian / rows.num_rows, atol=1e-4, rtol=0)


def test_what_is_not_finite_gives_no_loss(rows):
    features = rows.columns(TERMS)
    lanes = rows.lanes
    actual = lanes.spread(rows.softmax(features @ WEIGHTS))
    good = lanes.spread(features.T)
    for value in (torch.nan, torch.inf):
        bad = good.clone()
        bad[2, int(lanes.inside.nonzero()[5])] = value
        assert not Problem(lanes, bad, actual).looked_at(WEIGHTS, range(6)).loss < 3
    beyond = good.clone()
    beyond[:, ~lanes.inside] = torch.nan  # which padding may hold, as 0 * infinity is none
    expected = Problem(lanes, good, actual, 0.1).looked_at(WEIGHTS, range(6))
    found = Problem(lanes, beyond, actual, 0.1).looked_at(WEIGHTS, range(6))
    assert found.loss == pytest.approx(expected.loss)
    low = good.clone()
    low[2, int(lanes.inside.nonzero()[-1])] = -torch.inf  # one key of many is out of reach
    assert Problem(lanes, low, actual).looked_at(WEIGHTS, range(6)).pattern.isfinite().all()


def test_sums_are_the_same_with_any_number_of_threads(rows):
    features = rows.columns(TERMS)
    lanes = rows.lanes
    actual = lanes.spread(rows.softmax(features @ WEIGHTS))
    problem = Problem(lanes, lanes.spread(features.T), actual, 0.1)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(problem.at(0.5 * WEIGHTS, range(6)))
    torch.set_num_threads(before)
    assert found[0].loss == found[1].loss
    assert found[0].gradient.equal(found[1].gradient)
    assert found[0].hessian.equal(found[1].hessian)


@pytest.mark.parametrize("kept", [[0, 3], [5, 1, 2]])
def test_columns_left_out_are_terms_without_weight(rows, kept):
    features = rows.columns(TERMS)
    lanes = rows.lanes
    actual = lanes.spread(rows.softmax(features @ WEIGHTS))
    problem = Problem(lanes, lanes.spread(features.T), actual)
    weights = torch.zeros(6).index_copy_(0, torch.tensor(kept), WEIGHTS[kept])
    whole = problem.at(weights, range(6)).only(kept)
    part = problem.at(WEIGHTS[kept], kept)
    assert part.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(part.gradient, whole.gradient, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(part.hessian, whole.hessian, atol=1e-6, rtol=1e-4)


def test_without_numba_the_same_comes_out(rows, monkeypatch):
    from headscript.tuning import loglinear

    features = rows.columns(TERMS)
    actual = rows.softmax(features @ WEIGHTS)
    compiled = fit_weights(rows, features, actual, steps=20)
    monkeypatch.setattr(loglinear, "available", lambda backend: "it is broken")
    plain = fit_weights(rows, features, actual, steps=20)
    torch.testing.assert_close(plain.weights, compiled.weights, atol=1e-2, rtol=1e-2)
    by = rows.lanes.spread(plain.pattern)
    wide = rows.lanes.spread(features.T)
    without = spreads(rows.lanes, wide, range(6), by)
    monkeypatch.undo()
    torch.testing.assert_close(spreads(rows.lanes, wide, range(6), by), without)


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
    lanes = rows.lanes
    exact = Problem(
        lanes, lanes.spread(features.T).double(), lanes.spread(actual).double(), surprise
    )
    before = evaluate(exact, start.double(), range(len(TERMS)))[0] / rows.num_rows
    losses = [
        fit_weights(
            rows, features, actual, start, steps=number, tolerance=0.0, surprise=surprise
        ).loss
        for number in range(steps + 1)
    ]
    assert losses[0] == pytest.approx(before, rel=1e-5)
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
    assert fitted.loss < 0.01

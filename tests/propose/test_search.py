import json
from pathlib import Path

import pytest
import torch
from tests.random_patterns import random_texts
from tests.small_run import HEADS, save_model, save_texts

from headscript.explaining import explain
from headscript.heads import Head
from headscript.packing import pack_rows
from headscript.programs.terms import Term
from headscript.propose.frontier import Frontier
from headscript.propose.search import (
    SearchSettings,
    SharedRows,
    Step,
    choose_step,
    fit_rows,
    held_out,
    search_layer,
)
from headscript.records import RunConfig
from headscript.rows import Rows

SETTINGS = SearchSettings(max_terms=12, rounds=3, min_count=3)
PLANTED = {
    Term(relation="text.first"): 3.0,
    Term(relation="log(text.distance + 1)"): -1.0,
    Term("text.is_content_word", None, "text.is_comma"): 2.0,
    Term(relation="text.same_token"): 1.5,
}


def pattern(text, weights):
    scores = sum(weight * term.feature(text) for term, weight in weights.items())
    return scores.masked_fill(~text.allowed, -torch.inf).softmax(-1)


def shared_rows(texts):
    return SharedRows(fit_rows(texts, SETTINGS), SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the search runs in a worker: on matrices this small, more threads only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def texts():
    return random_texts([30] * 25, seed=3)


@pytest.fixture(scope="module")
def frontiers(texts):
    """Of a log-linear head, of the same with noise, and of one that looks everywhere alike."""
    draw = torch.Generator().manual_seed(0)
    packed = []
    for text in texts:
        clean = pattern(text, PLANTED)
        noise = torch.rand(len(text), len(text), generator=draw).masked_fill(~text.allowed, 0)
        noisy = 0.7 * clean + 0.3 * noise / noise.sum(1, keepdim=True)
        even = text.allowed / text.allowed.sum(1, keepdim=True)
        packed.append(torch.stack([pack_rows(p, True) for p in (clean, noisy, even)]))
    return search_layer(shared_rows(texts), packed, SETTINGS)


def test_a_log_linear_head_is_found_with_its_constants(frontiers):
    (step,) = (step for step in frontiers[0] if len(step.terms) == len(PLANTED))
    assert step.iou > 0.95
    # Who looks may be said in more words than need be; where and how much is as it was made.
    assert {(t.relation, t.key) for t in step.terms} == {(t.relation, t.key) for t in PLANTED}
    found = dict(zip(step.terms, step.weights, strict=True))
    exact = [term for term in PLANTED if term in found]
    assert len(exact) >= 3
    assert [found[term] for term in exact] == pytest.approx([PLANTED[t] for t in exact], abs=0.1)


def test_frontiers_rise_with_the_number_of_terms(frontiers):
    for steps in frontiers:
        numbers = [len(step.terms) for step in steps]
        assert numbers == list(range(numbers[-1] + 1))
        assert numbers[-1] <= SETTINGS.max_terms
        best = 0.0
        for step in steps:
            # Each is a local minimum of a loss that is not convex.
            assert step.iou > best - 0.02
            best = max(best, step.iou)


def test_steps_are_whole(frontiers):
    for step in (step for steps in frontiers[:2] for step in steps if step.terms):
        assert len(set(step.terms)) == len(step.terms) == len(step.weights) == len(step.strengths)
        assert sum(step.strengths) == pytest.approx(1, abs=0.01)
        assert all(float(f"{weight:.4g}") == weight for weight in step.weights)


def test_no_terms_is_even_attention(frontiers):
    even = frontiers[2][0]
    assert even.terms == even.weights == even.strengths == ()
    assert even.iou == pytest.approx(1)


def test_the_step_chosen_pays_for_its_terms():
    terms = [Term(relation=f"text.previous({k})") for k in range(1, 5)]
    steps = [Step(tuple(terms[:k]), (1.0,) * k, (1 / k,) * k, 0.0) for k in range(1, 5)]
    ious = (0.5, 0.6, 0.601, 0.7)
    assert choose_step(steps, ious, 0.0015, 24) == 3
    assert choose_step(steps, ious, 0.0015, 3) == 1
    assert choose_step(steps, ious, 0.0, 3) == 2
    assert choose_step(steps, ious, 0.2, 24) == 0


def test_a_frontier_is_kept_as_json(frontiers):
    frontier = Frontier(Head(2, 1), tuple(frontiers[0]), tuple(0.5 for _ in frontiers[0]))
    kept = Frontier.from_json(json.loads(json.dumps(frontier.as_json())))
    assert kept.head == frontier.head
    for one, other in zip(kept.steps, frontier.steps, strict=True):
        assert (one.terms, one.weights) == (other.terms, other.weights)
        assert one.iou == pytest.approx(other.iou, abs=1e-4)
    assert Frontier.from_json(kept.as_json()) == kept


def test_a_search_gives_the_same_again(texts, frontiers):
    packed = [pack_rows(pattern(text, PLANTED), True)[None] for text in texts]
    again = search_layer(shared_rows(random_texts([30] * 25, seed=3)), packed, SETTINGS)
    assert again[0] == frontiers[0]


def test_a_layer_is_the_same_whatever_was_searched_before(texts, frontiers):
    planted = [pack_rows(pattern(text, PLANTED), True)[None] for text in texts]
    others = [
        pack_rows(pattern(text, {Term(key="text.one_of(' she')"): 3.0}), True)[None]
        for text in texts
    ]
    shared = shared_rows(texts)
    search_layer(shared, others, SETTINGS)
    assert search_layer(shared, planted, SETTINGS)[0] == frontiers[0]


def test_held_out_scores_are_those_of_the_programs(texts, frontiers):
    rows = Rows(random_texts([20] * 5, seed=8))
    packed = [pack_rows(pattern(text, PLANTED), True)[None] for text in rows.texts]
    actual = rows.gather(packed)[:, 0]
    steps = [step for step in frontiers[0] if step.terms]
    scores = held_out(rows, steps, actual)
    for step, score in zip(steps, scores, strict=True):
        made = rows.softmax(rows.columns(step.terms) @ torch.tensor(step.weights))
        assert score == pytest.approx(float(rows.iou(made[:, None], actual[:, None])), abs=1e-5)
    broken = Step((Term(relation="1 / text.distance"),), (1.0,), (1.0,), 0.0)
    assert held_out(rows, [broken, *steps], actual) == [0.0, *scores]


def test_more_terms_get_more_rounds():
    few, many = (
        SearchSettings.of(RunConfig(model="m", texts="t", max_terms=number)) for number in (24, 200)
    )
    assert few.rounds < many.rounds
    assert many.rounds * many.terms_per_round >= 200


def test_results_do_not_depend_on_the_number_of_workers(small_run: Path, tmp_path: Path):
    """The run at hand was made by one worker; here are three, each with a layer of its own."""
    model = save_model(tmp_path / "model")
    texts = save_texts(tmp_path / "texts.txt")
    run = explain(str(model), texts, tmp_path / "run", heads=HEADS, max_terms=3, workers=3)
    for folder in ("search", "programs"):
        files = sorted(file.name for file in (small_run / folder).iterdir())
        assert sorted(file.name for file in (run.directory / folder).iterdir()) == files
        for name in files:
            one, three = (directory / folder / name for directory in (small_run, run.directory))
            mine = three.read_text().replace(str(tmp_path), "")
            assert mine == one.read_text().replace(str(small_run.parent), "")

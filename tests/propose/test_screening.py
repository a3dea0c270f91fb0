"""Screening's matrix products against the sums they stand for, taken term by term."""

import itertools

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.programs.terms import Term
from headscript.propose.pool import Pool, sink_words, standard_pool
from headscript.propose.screening import SURPRISE, Screening
from headscript.rows import Rows
from headscript.tuning.loglinear import score_gradient

HEADS = 3
POOL = Pool(
    classes=("text.is_comma", "text.is_name", "log(text.position + 1)"),
    relations=(
        "text.first",
        "log(text.distance + 1)",
        "text.previous(1)",
        "text.latest(text.is_comma)",
        "text.same_token",
    ),
    core_relations=("log(text.distance + 1)", "text.previous(1)", "text.same_token"),
    literals=(" the", " cat", ",", " she"),
)


class Case:
    """Random patterns of three heads on some texts, and what screening says of them."""

    def __init__(self, causal: bool) -> None:
        texts = random_texts([9, 16, 5, 12], causal=causal)
        self.rows = Rows(texts, share=0.8, generator=torch.Generator().manual_seed(2))
        self.actual = self.rows.gather(random_patterns(texts, HEADS, seed=1))
        self.pattern = self.rows.gather(random_patterns(texts, HEADS, seed=2))
        self.screening = Screening(self.rows, POOL, max_texts=10, seed=0)
        self.found = self.screening(self.pattern, self.actual)
        self.slope = score_gradient(self.rows, self.pattern, self.actual, surprise=SURPRISE)

    def directly(self, term: Term) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient and variance of a term's weight for each head, from the term's own column."""
        column = self.rows.column(term)[:, None]
        mean = self.rows.row_sums(self.pattern * column)
        square = self.rows.row_sums(self.pattern * column.square())
        return (self.slope * column).sum(0), (square - mean.square()).sum(0)

    def check(self, sums, place, term: Term) -> None:
        gradient, variance = self.directly(term)
        told = (slice(None), *place)
        torch.testing.assert_close(sums.gradient.sum(0)[told], gradient, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(sums.variance[told], variance, atol=2e-3, rtol=1e-4)


@pytest.fixture(scope="module", params=[True, False], ids=["decoder", "encoder"])
def case(request):
    return Case(request.param)


def names(screening, kind):
    return [screening.dense, screening.pointing][kind]


def test_relations_are_sorted_by_how_many_keys_they_have(case):
    assert case.screening.pointing == [
        "text.first",
        "text.previous(1)",
        "text.latest(text.is_comma)",
    ]
    assert case.screening.dense == [None, "log(text.distance + 1)", "text.same_token"]


@pytest.mark.parametrize("kind", [0, 1], ids=["dense", "pointing"])
def test_sums_by_one_class_are_those_of_the_terms(case, kind):
    for (r, relation), (c, chosen) in itertools.product(
        enumerate(names(case.screening, kind)), enumerate(case.screening.classes)
    ):
        case.check(case.found.by_key[kind], (r, c), Term(None, relation, chosen))
        case.check(case.found.by_query[kind], (r, c), Term(chosen, relation, None))


@pytest.mark.parametrize("kind", [0, 1], ids=["dense", "pointing"])
def test_sums_by_pairs_of_classes_are_those_of_the_terms(case, kind):
    screening = case.screening
    core = [screening._core_dense, screening._core_pointing][kind]
    relations = [names(screening, kind)[index] for index in core]
    for (r, relation), (q, query), (k, key) in itertools.product(
        enumerate(relations), enumerate(screening.classes), enumerate(screening.classes)
    ):
        case.check(case.found.by_both[kind], (r, q, k), Term(query, relation, key))


@pytest.mark.parametrize("kind", [0, 1], ids=["dense", "pointing"])
def test_sums_by_word_have_the_gradient_of_the_terms(case, kind):
    for (r, relation), (w, word) in itertools.product(
        enumerate(names(case.screening, kind)), enumerate(POOL.literals)
    ):
        literal = f"text.one_of({word!r})"
        of_query, _ = case.directly(Term(literal, relation, None))
        told = case.found.by_query_word[kind].gradient.sum(0)[:, r, w]
        torch.testing.assert_close(told, of_query, atol=2e-4, rtol=1e-4)
        of_key, variance = case.directly(Term(None, relation, literal))
        told = case.found.by_key_word[kind].gradient.sum(0)[:, r, w]
        torch.testing.assert_close(told, of_key, atol=2e-4, rtol=1e-4)
        # Squares alone for keys: never less than the variance, so no gain is made too much of.
        assert (case.found.by_key_word[kind].variance[:, r, w] >= variance - 1e-3).all()


def test_halves_of_the_texts_are_apart(case):
    """The gradient of half a is what screening finds on the texts of half a alone."""
    texts = case.screening._texts
    assert {text.half for text in texts} == {0, 1}
    cells = torch.cat([text.cells[text.inside.bool()] for text in texts if text.half == 0])
    column = case.rows.column(Term(relation="log(text.distance + 1)"))
    expected = (case.slope * column[:, None])[cells].sum(0)
    told = case.found.by_key[0].gradient[0][:, 1, 0]
    torch.testing.assert_close(told, expected, atol=2e-4, rtol=1e-4)


def gains_without_words(case, head):
    """What each term gains that is made of classes and relations alone."""
    found, screening = {}, case.screening
    for kind in (0, 1):
        core = [screening._core_dense, screening._core_pointing][kind]
        for r, relation in enumerate(names(screening, kind)):
            for c, name in enumerate(screening.classes):
                by_key, by_query = case.found.by_key[kind], case.found.by_query[kind]
                found[Term(None, relation, name)] = float(by_key.gains(head)[r, c])
                found[Term(name, relation, None)] = float(by_query.gains(head)[r, c])
        gains = case.found.by_both[kind].gains(head)
        for (r, index), (q, query), (k, key) in itertools.product(
            enumerate(core), enumerate(screening.classes), enumerate(screening.classes)
        ):
            relation = names(screening, kind)[index]
            found[Term(query, relation, key)] = float(gains[r, q, k])
    return found


def test_the_best_terms_are_sorted_and_matter(case):
    for head in range(HEADS):
        best = case.found.best(head, 12)
        assert len(best) == len(set(best))
        assert 0 < len(best) <= 12
        # A condition on the query alone adds the same to every key.
        assert all(term.relation or term.key for term in best)
        assert len(case.found.best(head, 5)) == 5
        # Of those without words of their own, none that is left out has a greater gain.
        gains = gains_without_words(case, head)
        told = [gains[term] for term in best if term in gains]
        assert told == sorted(told, reverse=True)
        assert min(told) > 0
        useful = {term for term in gains if term.relation or term.key}
        assert {term for term in useful if gains[term] > min(told)} <= set(best)


def test_a_pool_leaves_out_what_never_varies():
    rows = Rows(random_texts([20, 20]))
    pool = standard_pool(rows.texts, min_count=2)
    left = pool.occurring(rows)
    assert "text.is_comma" in left.classes
    assert "text.is_newline" in pool.classes
    assert "text.is_newline" not in left.classes
    assert set(left.core_relations) <= set(left.relations) <= set(pool.relations)
    assert "text.following(1)" not in pool.relations
    both = standard_pool(random_texts([20, 20], causal=False), min_count=2)
    assert {"text.following(1)", "text.last"} <= set(both.relations)


def test_a_word_that_draws_attention_from_afar_is_a_sink():
    texts = random_texts([40] * 6)
    rows = Rows(texts)
    pool = standard_pool(texts, min_count=2)
    scores = rows.column(Term(key="text.one_of(' she')")) * 3
    (first, *_) = sink_words(rows, rows.softmax(scores)[:, None], pool)
    assert first == " she"
    to_the_first = rows.column(Term(relation="text.first")) * 30
    assert sink_words(rows, rows.softmax(to_the_first)[:, None], pool) == []

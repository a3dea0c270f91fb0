"""The `search` proposer: log-linear programs for all heads of a layer, without a language model.

Each head starts from a handful of terms. In every round all terms of the pool are screened at once
for all heads, the best are added to each head by orthogonal matching pursuit, and its constants are
fitted again. Then terms are taken out one by one, the least worth first, which leaves the frontier
of the head: a program for every number of terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.language import Text
from headscript.programs.terms import Term
from headscript.propose.pool import sink_words, standard_pool
from headscript.propose.screening import SURPRISE, Screening
from headscript.records import RunConfig
from headscript.rows import Rows, share_for
from headscript.tuning.loglinear import Point, Problem, spreads

_COLLINEAR = 0.02  # a candidate must keep this share of its variance beside the terms there are
_CANDIDATES = 60
_ROUGH = 3e-4  # a fit that will be gone over again need not be closer, in row loss
_MISJUDGED = 0.002  # row loss that a removal may cost beyond twice what was foreseen
_SUSPECTS = 4  # terms looked at closely where the quadratic model misjudged
_FEW = 12  # up to this many terms, several removals are tried, ...
_TRIED = 3  # ... so many
_FINE = 24  # up to this many terms, a frontier has a step for every number of terms


@dataclass(frozen=True)
class SearchSettings:
    """How hard to search, and what a term must be worth."""

    max_terms: int = 24
    """The most terms (constants) a program may have."""
    price: float = 0.0015
    """The IoU that a term must add to be kept."""
    rounds: int = 4
    """Rounds of screening, adding and fitting."""
    terms_per_round: int = 10
    """The most terms added to a head in a round."""
    screened_texts: int = 200
    """Texts that candidates are screened on."""
    max_cells: int = 250_000
    """Query-key pairs to fit on; of more, a sample of rows is taken from every text."""
    min_count: int = 8
    """How often a literal token must come in the fit texts to be named in a program."""
    seed: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> SearchSettings:
        """The settings of a run; a program of many terms gets more rounds to grow in."""
        rounds = 4 if config.max_terms <= 30 else 6
        return cls(
            max_terms=config.max_terms,
            price=config.term_price,
            rounds=rounds,
            terms_per_round=max(10, -(-config.max_terms // (rounds - 1))),
            max_cells=config.fit_cells,
            seed=config.seed,
        )


@dataclass(frozen=True)
class Step:
    """One point of a head's frontier."""

    terms: tuple[Term, ...]
    weights: tuple[float, ...]
    strengths: tuple[float, ...]
    """How much each term moves the scores of a row: the standard deviation of weight times feature,
    as a share of the sum over terms. Keys count by the mean of the pattern and even attention:
    where a sharp pattern looks at one key alone, nothing would seem to move."""
    iou: float
    """On the rows it was fitted on."""


@dataclass
class HeadState:
    """A head's program while it is searched; cells lie in lanes."""

    terms: list[Term]
    features: Tensor  # (terms, cells)
    fitted: Point


class SharedRows:
    """Rows of the fit texts with their pool: the same for every layer, so made once a process."""

    def __init__(self, rows: Rows, settings: SearchSettings) -> None:
        self.rows = rows
        self.pool = standard_pool(rows.texts, min_count=settings.min_count).occurring(rows)


def fit_rows(texts: Sequence[Text], settings: SearchSettings) -> Rows:
    """The rows of the fit texts that constants are fitted on: the same for every proposer."""
    generator = torch.Generator().manual_seed(settings.seed)
    return Rows(texts, share=share_for(texts, settings.max_cells), generator=generator)


def search_layer(
    shared: SharedRows, packed: Sequence[Tensor], settings: SearchSettings
) -> list[list[Step]]:
    """Search programs for the heads of a layer; their frontiers, fewest terms first.

    `packed` holds the patterns of the layer's heads per fit text, (heads, cells of the text).
    """
    rows = shared.rows
    actual = rows.gather(packed)  # (cells, heads)
    pool = shared.pool.with_sinks(sink_words(rows, actual, shared.pool))
    screening = Screening(rows, pool, max_texts=settings.screened_texts, seed=settings.seed)
    wanted = rows.lanes.spread(actual.T)  # (heads, cells in lanes)
    states = [_start(rows, of_head) for of_head in wanted]
    for _ in range(settings.rounds):
        patterns = rows.lanes.collect(torch.stack([state.fitted.pattern for state in states])).T
        candidates = screening(patterns, actual)
        for head, state in enumerate(states):
            known = set(state.terms)
            fresh = [term for term in candidates.best(head, _CANDIDATES) if term not in known]
            _add_best(rows, state, fresh, wanted[head], settings)
        rows.release(pool.expressions)
    rows.release(shared.pool.expressions)
    return [
        prune(rows, state.terms, state.features, state.fitted.weights, of_head, settings)
        for state, of_head in zip(states, wanted, strict=True)
    ]


def _start(rows: Rows, actual: Tensor) -> HeadState:
    terms = [
        Term(None, "text.first", None),
        Term("log(text.position + 1)", "text.first", None),
        # Both laws of decay: beside one, the other has too little spread left to come in later.
        Term(None, "log(text.distance + 1)", None),
        Term(None, "text.distance", None),
        Term(None, "text.itself", None),
        Term(None, "text.previous(1)", None),
    ]
    if not rows.causal:
        terms.append(Term(None, "text.following(1)", None))
        terms.append(Term(None, "text.last", None))
    features = rows.lanes.columns(terms)
    problem, every = Problem(rows.lanes, features, actual, SURPRISE), range(len(terms))
    start = problem.at(torch.zeros(len(terms)), every)
    return HeadState(terms, features, problem.descend(start, every))


def _add_best(
    rows: Rows, state: HeadState, fresh: list[Term], actual: Tensor, settings: SearchSettings
) -> None:
    """Add to a head those candidates that the quadratic model says gain most together."""
    if not fresh:
        return
    known = len(state.terms)
    room = rows.lanes.room(known + len(fresh))
    room[:known] = state.features
    rows.lanes.columns(fresh, into=room[known:])
    together = Problem(rows.lanes, room, actual, SURPRISE)
    weights = torch.cat([state.fitted.weights, torch.zeros(len(fresh))])
    start = together.at(weights, range(len(weights)))
    picked = _matching_pursuit(start, known, settings)
    if not picked:
        return
    state.terms += [fresh[index] for index in picked]
    kept = [*range(known), *(known + index for index in picked)]
    state.features = room[kept]
    state.fitted = together.descend(start.only(kept), kept, steps=6, tolerance=_ROUGH)


def _matching_pursuit(start: Point, known: int, settings: SearchSettings) -> list[int]:
    """The candidates to add, best first, each judged with those before it refitted.

    `start` has the `known` terms with their weights, then the candidates without any.
    """
    gradient = start.gradient
    hessian = start.hessian + torch.diag(1e-3 * start.hessian.diag() + 1e-4)
    solved = torch.linalg.solve(
        hessian[:known, :known], torch.cat([hessian[:known, known:], gradient[:known, None]], 1)
    )
    rest = hessian[known:, known:] - hessian[known:, :known] @ solved[:, :-1]
    slope = gradient[known:] - hessian[known:, :known] @ solved[:, -1]
    alone = hessian.diag()[known:]
    free = torch.ones(len(slope), dtype=torch.bool)
    picked: list[int] = []
    while len(picked) < settings.terms_per_round:
        curvature = rest.diag()
        usable = free & (curvature > _COLLINEAR * alone)
        gain = torch.where(usable, slope.square() / (2 * curvature.clamp(min=1e-9)), 0)
        best = int(gain.argmax())
        # IoU falls by about 0.375 to 0.5 of what the row loss gains, so this lets doubtful ones in.
        if gain[best] < settings.price / 2:
            break
        picked.append(best)
        free[best] = False
        column, pivot = rest[:, best].clone(), rest[best, best].clone()
        slope = slope - column * slope[best] / pivot
        rest = rest - torch.outer(column, column) / pivot
    return picked


def prune(
    rows: Rows,
    terms: Sequence[Term],
    features: Tensor,  # (terms, cells in lanes)
    weights: Tensor,
    actual: Tensor,  # (cells in lanes,)
    settings: SearchSettings,
) -> list[Step]:
    """Take terms out one by one, least worth first; the programs met, fewest terms first."""
    problem, left = Problem(rows.lanes, features, actual), list(range(len(terms)))
    fitted = problem.descend(problem.at(weights, left), left)
    even = _even(rows)
    steps: list[Step] = []
    while True:
        if len(left) <= settings.max_terms:
            rounded = tuple(float(f"{weight:.4g}") for weight in fitted.weights.tolist())
            by = (fitted.pattern + even) / 2
            shares = _shares(fitted.weights, spreads(rows.lanes, features, left, by))
            iou = _iou(rows, fitted.pattern, actual)
            steps.append(Step(tuple(terms[place] for place in left), rounded, shares, iou))
        if len(left) == 1:
            break
        # Of many terms several go at once; of few each step is a point of the frontier.
        dropped = max(1, (len(left) - settings.max_terms) // 4, (len(left) - _FINE) // 8)
        left, fitted = _without_least(problem, left, fitted, dropped)
    return [no_terms(rows, actual), *steps[::-1]]


def no_terms(rows: Rows, actual: Tensor) -> Step:
    """The program without terms, which looks at all tokens alike; `actual` lies in lanes."""
    return Step((), (), (), _iou(rows, _even(rows), actual))


def _even(rows: Rows) -> Tensor:
    """Attention to all keys alike, in lanes."""
    return rows.lanes.spread(rows.softmax(torch.zeros(rows.num_cells)))


def _iou(rows: Rows, pattern: Tensor, actual: Tensor) -> float:
    """Mean IoU of patterns that lie in lanes."""
    distance = rows.lanes.row_sums((pattern - actual).abs())[:-1]
    return float(rows.iou_at(distance[:, None]))


def _without_least(
    problem: Problem, left: list[int], fitted: Point, number: int
) -> tuple[list[int], Point]:
    """Take out the `number` terms of least worth and refit: the columns kept, and the fit.

    The worth of a term is what the quadratic model says is lost when it is zero and the others
    make up for it: w^2 / 2 [H^-1]_kk (the optimal brain surgeon of Hassibi and Stork, 1993). Of few
    terms the first that it names is often not the best to take, so the first three are tried. A
    sharp pattern has next to no curvature, and the model then misjudges; where far more is lost
    than it foresaw, the term goes that is missed least as the pattern stands.
    """
    hessian = fitted.hessian
    inverse = torch.linalg.inv(hessian + torch.diag(1e-3 * hessian.diag() + 1e-5))
    worth = fitted.weights.square() / (2 * inverse.diag())
    order = worth.argsort()
    tried = _TRIED if number == 1 and len(left) <= _FEW else 1
    outcomes = []
    for first in range(min(tried, len(left))):
        drop = order[first : first + number]
        lifted = torch.linalg.solve(inverse[drop][:, drop], fitted.weights[drop])
        start = fitted.weights - inverse[:, drop] @ lifted
        outcomes.append(_refitted(problem, left, start, drop))
    foreseen = min(outcomes, key=lambda outcome: outcome[1].loss)
    lost = foreseen[1].loss - fitted.loss
    if number > 1 or lost <= 2 * float(worth.min()) + _MISJUDGED:
        return foreseen
    # What each term does as the pattern stands, the others left as they are, names the suspects.
    suspects = (fitted.weights.square() * hessian.diag()).argsort()[:_SUSPECTS].tolist()
    losses = []
    for suspect in suspects:
        weights = fitted.weights.clone()
        weights[suspect] = 0
        losses.append(problem.looked_at(weights, left).loss)
    least = torch.tensor([suspects[losses.index(min(losses))]])
    other = _refitted(problem, left, fitted.weights, least)
    return min(foreseen, other, key=lambda outcome: outcome[1].loss)


def _refitted(
    problem: Problem, left: list[int], start: Tensor, dropped: Tensor
) -> tuple[list[int], Point]:
    """Without the dropped terms: the columns kept, and the fit from `start`."""
    gone = set(dropped.tolist())
    keep = [index for index in range(len(left)) if index not in gone]
    kept = [left[index] for index in keep]
    return kept, problem.descend(problem.at(start[keep], kept), kept, steps=8)


def strengths(rows: Rows, features: Tensor, weights: Tensor, pattern: Tensor) -> tuple[float, ...]:
    """How much each term moves the scores of a row, as shares that sum to 1.

    `features` is (cells, terms), `weights` (terms,), `pattern` (cells,) what they make of it.
    """
    lanes = rows.lanes
    by = (lanes.spread(pattern) + _even(rows)) / 2
    return _shares(weights, spreads(lanes, lanes.spread(features.T), range(len(weights)), by))


def _shares(weights: Tensor, spread: Tensor) -> tuple[float, ...]:
    moved = weights.abs() * spread
    return tuple(round(share, 4) for share in (moved / moved.sum().clamp(min=1e-12)).tolist())


def held_out(rows: Rows, steps: Sequence[Step], actual: Tensor) -> list[float]:
    """Mean IoU of each step with a head on other rows, `actual` (cells,); 0 where it has none."""
    lanes, wanted = rows.lanes, rows.lanes.spread(actual)
    terms = list(dict.fromkeys(term for step in steps for term in step.terms))
    place = {term: index for index, term in enumerate(terms)}
    problem = Problem(lanes, lanes.columns(terms), wanted)
    scores = []
    for step in steps:
        weights = torch.tensor(step.weights, dtype=torch.float32)
        pattern = problem.looked_at(weights, [place[term] for term in step.terms]).pattern
        iou = _iou(rows, pattern, wanted)
        # A term that is not finite on some text gives no pattern there.
        scores.append(iou if math.isfinite(iou) else 0.0)
    return scores


def choose_step(
    steps: Sequence[Step], held_out: Sequence[float], price: float, max_terms: int
) -> int:
    """The step of at most `max_terms` with the best held-out IoU less the price of its terms."""
    fitting = [index for index, step in enumerate(steps) if len(step.terms) <= max_terms]
    return max(fitting, key=lambda index: held_out[index] - price * len(steps[index].terms))

"""Classes of keys and relations that draw more or less than their distances, and for which queries.

Everything is sums over rows: what each row (a query) has on each class of keys and each relation,
and what it would have there if distance alone decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from headscript.language import VOCABULARY, Text
from headscript.programs.terms import parse_expression
from headscript.propose.llm.facts import times
from headscript.propose.llm.observed import Observed, expected_weights
from headscript.propose.llm.showing import weight

_LISTED = 7
_QUERIES = 8  # classes of queries told
_ASPECTS = 5  # of each
_RARE = 10  # rows with a class, at least
_SURPLUS = 0.01  # of the weight, that is worth a word
_MORE, _LESS = 1.15, 0.85  # times the expected weight that are worth a word
_MOST = 0.8  # what it counts that a class that most queries are of differs
_SURE = 4.0  # standard errors that a difference must have: there are thousands to look at
_STEPS = 4  # towards the factor that fits
_ALIKE = 0.7  # overlap from which two classes say the same
_POINTED_AT = (
    "is_comma is_sentence_end is_quote is_newline is_determiner is_pronoun is_name "
    "is_content_word is_preposition is_coordinator is_auxiliary is_speech_verb"
).split()


class Contrasts:
    """What rows have on classes of keys and relations, with some keys (n,) of each text set aside.

    Beside them, what rows have on the first token, the token itself, the one before, and on what
    is set aside.
    """

    def __init__(self, observed: Sequence[Observed], aside: Sequence[Tensor], named: str) -> None:
        cells = [seen.apart & ~flags for seen, flags in zip(observed, aside, strict=True)]
        expected = expected_weights(observed, cells)
        found_rows: list[Tensor] = []
        expected_rows: list[Tensor] = []
        plain_rows, queries, places, masses = [], [], [], []
        causal = observed[0].text.causal
        for seen, inside, usual, flags in zip(observed, cells, expected, aside, strict=True):
            rows = slice(seen.begin, None)
            left = seen.pattern * inside
            members = torch.stack(list(key_classes(seen.text).values()))  # (C, n)
            by_relation: tuple[list[Tensor], list[Tensor]] = ([], [])
            for name in _relations(causal):  # one by one: of a long text each is large
                holds = _holds(seen.text, name)
                for weights, sums in zip((left, usual), by_relation, strict=True):
                    sums.append((weights * holds).sum(1))
            for weights, sums, kept in zip(
                (left, usual), by_relation, (found_rows, expected_rows), strict=True
            ):
                by_class = weights @ members.double().T
                kept.append(torch.cat([by_class, torch.stack(sums, 1)], 1)[rows])
            before = torch.zeros(len(left), dtype=left.dtype)
            before[2:] = seen.pattern.diagonal(-1)[1:]
            itself = seen.pattern.diagonal().clone()
            itself[0] = 0  # the first token is not counted twice
            sunk = (seen.pattern * (seen.apart & flags)).sum(1)
            plain_rows.append(torch.stack([seen.pattern[:, 0], itself, before, sunk], 1)[rows])
            queries.append(members.T[rows])
            places.append(torch.arange(len(left))[rows])
            masses.append(left.sum(1)[rows])
        self.num_classes = len(_classes())
        self.names = (*_classes(), *_relations(causal))
        self.found = torch.cat(found_rows)  # (rows, C + R)
        self.expected = torch.cat(expected_rows)  # (rows, C + R)
        plain = torch.cat(plain_rows)  # (rows, 4)
        usual_plain = _mean_by_place(plain, torch.cat(places))
        self.all_found = torch.cat([plain, self.found], 1)  # (rows, 4 + C + R)
        self.all_expected = torch.cat([usual_plain, self.expected], 1)
        left_of_row = torch.cat(masses)[:, None].expand_as(self.found)
        self.mass = torch.cat([torch.ones_like(plain), left_of_row], 1)
        self.plain_names = ("the first token", "itself", "the token before", named)
        self.queries = torch.cat(queries)  # (rows, C)
        self.total = max(sum(float(usual.sum()) for usual in expected), 1e-9)

    def lines(self) -> Iterator[str]:
        """Classes of keys and relations that draw more, and less, than their distances."""
        kinds = (
            ("classes of keys", range(self.num_classes)),
            ("relations", range(self.num_classes, len(self.names))),
        )
        for what, members in kinds:
            more = ", ".join(self._outlying(members, 1, _LISTED))
            less = ", ".join(self._outlying(members, -1, _LISTED - 2))
            yield f"  - {what} that draw more: {more or 'none stands out'}."
            if less:
                yield f"  - {what} that draw less: {less}."

    def _outlying(self, members: Sequence[int], sign: int, listed: int) -> Iterator[str]:
        found, expected = self.found.sum(0), self.expected.sum(0)
        surplus = sign * (found - expected)
        ranked = sorted(members, key=lambda k: (-float(surplus[k]), self.names[k]))
        taken: list[int] = []
        for k in ranked:
            if len(taken) == listed or float(surplus[k]) < _SURPLUS * self.total:
                return
            ratio = float(found[k] / expected[k].clamp(min=1e-9))
            sides = (self.expected[:, k] > 0).sum()
            if (ratio < _MORE if sign > 0 else ratio > _LESS) or sides < _RARE:
                continue
            rows = self.found if sign > 0 else self.expected
            if all(_overlap(rows[:, k], rows[:, other]) < _ALIKE for other in taken):
                taken.append(k)
                told = times(float(found[k]), float(expected[k]))
                yield f"{self.names[k]} {weight(float(found[k]) / self.total)} ({told})"

    # By class of the query -----------------------------------------------------------------------

    def query_lines(self) -> Iterator[str]:
        """For the classes of queries that differ most, where they put more and less than others."""
        ranked = []
        for c, name in enumerate(_classes()):
            number = int(self.queries[:, c].sum())
            if min(number, len(self.queries) - number) < _RARE:
                continue
            aspects = self._aspects(c)
            if aspects:
                strength = sum(strength for strength, *_ in aspects[:3])
                if 2 * number > len(self.queries):
                    strength *= _MOST  # those that are not of it may be named more sharply
                ranked.append((-strength, number, name, c, aspects))
        taken: list[int] = []
        for *_, name, c, aspects in sorted(ranked, key=lambda item: item[:3]):
            if any(_overlap(self._fewer(c), self._fewer(other)) > _ALIKE for other in taken):
                continue
            taken.append(c)
            told = "; ".join(
                f"{'more' if value > usual else 'less'} on {what} {weight(value)} ({weight(usual)})"
                for _, what, value, usual in aspects
            )
            share = weight(float(self.queries[:, c].double().mean()))
            yield f"  - {name} ({share} of queries): {told}."
            if len(taken) == _QUERIES:
                return

    def _fewer(self, c: int) -> Tensor:
        """Which rows are of a class of queries, or which are not, whichever are fewer."""
        member = self.queries[:, c].double()
        return member if float(member.mean()) <= 0.5 else 1 - member

    def _aspects(self, c: int) -> list[tuple[float, str, float, float]]:
        """How queries of a class differ: (strength, on what, their weight, what others put there).

        Others are taken to stand at the same places of a text and, on classes and relations, to
        have as much weight to spread, over keys of the same distances.
        """
        chosen = self.queries[:, c].bool()
        number = int(chosen.sum())
        usual = _usual(self.all_found, self.all_expected, self.mass, ~chosen)
        residual = self.all_found - usual
        mean = residual[chosen].mean(0)
        # The larger spread: a rare thing that few rows happen to lack is no sure difference.
        spread = torch.maximum(residual[chosen].std(0), residual[~chosen].std(0))
        error = spread / number**0.5
        actual, usual = self.all_found[chosen], usual[chosen]
        # Where the others hardly have such keys, there is nothing to compare with.
        comparable = (self.all_expected[~chosen] > 0).sum(0) >= _RARE
        strength = mean.abs() * float(self._fewer(c).mean()) ** 0.5
        names = (*self.plain_names, *self.names)
        ranked = sorted(range(len(names)), key=lambda k: (-float(strength[k]), names[k]))
        taken: list[int] = []
        told = []
        for k in ranked:
            if len(taken) == _ASPECTS or float(strength[k]) < _SURPLUS / 2:
                break
            if not comparable[k] or float(mean[k].abs()) < max(0.02, _SURE * float(error[k])):
                continue
            value, other = float(actual[:, k].mean()), float(usual[:, k].mean())
            if not 0.8 < value / max(other, 1e-9) < 1.25 and all(
                _overlap(actual[:, k] + usual[:, k], actual[:, t] + usual[:, t]) < _ALIKE
                for t in taken
            ):
                taken.append(k)
                told.append((float(strength[k]), names[k], value, other))
        return told


def _usual(found: Tensor, expected: Tensor, mass: Tensor, others: Tensor) -> Tensor:
    """What rows (rows, k) would have if the odds were those of the `others` (rows,), on average.

    Of a row's `mass`, `expected` is what distance or place explains. One factor a column on the
    odds makes up for the rest, so that no row gets more than it has.
    """
    share = (expected / mass.clamp(min=1e-9)).clamp(max=1 - 1e-6)
    total, wanted = mass[others].sum(0), found[others].sum(0)
    odds = wanted / (total - wanted).clamp(min=1e-9)
    factor = torch.ones_like(odds)
    for _ in range(_STEPS):
        raised = share * factor
        usual = mass * raised / (1 - share + raised)
        given = usual[others].sum(0)
        factor = factor * odds / (given / (total - given).clamp(min=1e-9)).clamp(min=1e-9)
    return usual


def _mean_by_place(values: Tensor, places: Tensor) -> Tensor:
    """The mean of values (rows, k) over all rows at about the same place, by half octaves."""
    band = (2 * torch.log2(places.double() + 1)).long()
    number = torch.bincount(band).clamp(min=1)
    total = torch.zeros(len(number), values.shape[1], dtype=values.dtype)
    return (total.index_add_(0, band, values) / number[:, None])[band]


def _overlap(one: Tensor, other: Tensor) -> float:
    """Sum of smaller over sum of larger values, 1 where two vectors are the same."""
    return float(torch.minimum(one, other).sum() / torch.maximum(one, other).sum().clamp(min=1e-9))


def key_classes(text: Text) -> dict[str, Tensor]:
    """Which tokens (n,) are of each class, by its name in the language."""
    return {name: parse_expression(name)(text) for name in _classes()}


def _holds(text: Text, name: str) -> Tensor:
    return parse_expression(name)(text).expand(len(text), len(text))


@lru_cache(maxsize=1)
def _classes() -> tuple[str, ...]:
    """Token properties without arguments that are true or false and see no later token."""
    plain = [
        f"text.{entry.name}"
        for entry in VOCABULARY.of_kind("token property")
        if not entry.parameters and entry.prefix_consistent
    ]
    return tuple(name for name in plain if parse_expression(name).is_condition)


@lru_cache(maxsize=2)
def _relations(causal: bool) -> tuple[str, ...]:
    """Conditions of query and key to compare with, other than place and distance."""
    positional = {"first", "last", "itself", "allowed", "earlier"}
    plain = [
        f"text.{entry.name}"
        for entry in VOCABULARY.of_kind("relation")
        if not entry.parameters
        and entry.prefix_consistent
        and entry.name not in positional
        and not entry.name.startswith("similarity")
    ]
    plain = [name for name in plain if parse_expression(name).is_condition]
    pointed = [f"text.latest(text.{name})" for name in _POINTED_AT]
    before = [f"text.before(text.{name})" for name in _POINTED_AT[:4]]
    sides = [] if causal else ["text.earlier"]
    return (*plain, *pointed, *before, *sides)

"""What can be counted about a head's attention on some texts, in a dozen lines of a prompt.

Most weight often lies on the first token and on the token itself. What is said of tokens, classes
and relations is about the rest, and compares it with an even spread: the same weight of each row,
shared out evenly over the same keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from headscript.language import VOCABULARY, Text
from headscript.packing import unpack
from headscript.programs.terms import parse_expression
from headscript.propose.llm.showing import shown, weight

_NEAR = 5  # tokens before the query, each with a share of its own
_BANDS = ((1, 4), (5, 9), (10, 19), (20, 49), (50, 99), (100, 10**9))
"""Places of the query, for the share of the first token."""
_DISTANCES = ((6, 10), (11, 20), (21, 50), (51, 10**9))
_OCCURRENCES = ("1st", "2nd", "3rd", "later")
_LISTED = 8
_RARE = 3  # a token string or class seen less often says nothing
_SURPLUS = 0.01  # of all weight, that is worth a word
_TELLING = 0.05  # of the weight, on one place of a token, to tell its places apart
_POINTED_AT = (
    "is_comma is_sentence_end is_quote is_newline is_determiner is_pronoun is_name "
    "is_content_word is_preposition is_coordinator is_auxiliary is_speech_verb"
).split()


@dataclass
class _Count:
    """Weight found, weight that an even spread would give, and how often."""

    found: float = 0.0
    even: float = 0.0
    times: int = 0
    by_occurrence: list[float] = field(default_factory=lambda: [0.0] * len(_OCCURRENCES))
    """Of a token: weight found on its first places in a text, and on all later ones."""

    def add(self, found: float, even: float, times: int) -> None:
        self.found += found
        self.even += even
        self.times += times


@dataclass
class Facts:
    """Sums over rows of texts, added text by text."""

    causal: bool
    rows: int = 0
    first: float = 0.0
    itself: float = 0.0
    before: list[float] = field(default_factory=lambda: [0.0] * _NEAR)
    after: list[float] = field(default_factory=lambda: [0.0] * _NEAR)
    """Encoders: the tokens that follow."""
    last: float = 0.0
    entropy: float = 0.0
    rest: float = 0.0
    """Weight apart from the first token and the token itself."""
    by_place: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict)
    by_distance: dict[tuple[int, int], float] = field(default_factory=dict)
    tokens: dict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    classes: dict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    relations: dict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    queries: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    """By class of the query: its weight on the first token, itself, the one before; its rows."""
    profile: Tensor = field(default_factory=lambda: torch.zeros(3))

    def add(self, text: Text, packed: Tensor) -> None:
        """Take in a head's pattern on a text, packed (cells,)."""
        n = len(text)
        begin = 1 if self.causal else 0
        if n <= begin:
            return
        pattern = unpack(packed, n, self.causal)
        places = torch.arange(n)
        distance = places[:, None] - places[None, :]
        rows = pattern[begin:]
        self.rows += len(rows)
        self.first += float(rows[:, 0].sum())
        self.itself += float(pattern.diagonal()[1:].sum())
        self.last += float(rows[:, -1].sum())
        for k in range(1, _NEAR + 1):
            self.before[k - 1] += float(pattern.diagonal(-k)[1:].sum())
            self.after[k - 1] += float(pattern.diagonal(k).sum())
        self.entropy -= float(torch.xlogy(rows, rows).sum())
        for low, high in _BANDS:
            column = pattern[low : high + 1, 0]
            total, number = self.by_place.get((low, high), (0.0, 0))
            self.by_place[low, high] = (total + float(column.sum()), number + len(column))
        for low, high in _DISTANCES:
            inside = (distance >= low) & (distance <= high)
            inside[:, 0] = False
            told = self.by_distance.get((low, high), 0.0)
            self.by_distance[low, high] = told + float((pattern * inside)[begin:].sum())
        self._compare(text, pattern, begin)

    def _compare(self, text: Text, pattern: Tensor, begin: int) -> None:
        n = len(text)
        apart = text.allowed & (text.distance > 0)
        apart[:, 0] = False
        apart[:begin] = False
        rest = pattern * apart
        mass = rest.sum(1)
        self.rest += float(mass.sum())
        even = apart / apart.sum(1, keepdim=True).clamp(min=1) * mass[:, None]
        found_of, even_of = rest.sum(0), even.sum(0)
        for place in range(1, n):
            count = self.tokens[text.surfaces[place]]
            count.add(float(found_of[place]), float(even_of[place]), 1)
            occurrence = min(int(text.occurrence[place]), len(_OCCURRENCES)) - 1
            count.by_occurrence[occurrence] += float(found_of[place])
        profile = torch.stack([pattern[:, 0], pattern.diagonal(), torch.zeros(n)], 1)
        profile[0, 1] = 0  # the first token is not counted twice
        profile[2:, 2] = pattern.diagonal(-1)[1:]
        self.profile += profile[begin:].sum(0)
        for name in _classes():
            member = parse_expression(name)(text)
            self.classes[name].add(
                float(found_of[member].sum()), float(even_of[member].sum()), int(member[1:].sum())
            )
            chosen = profile[begin:][member[begin:]]
            total, number = self.queries.get(name, (torch.zeros(3), 0))
            self.queries[name] = (total + chosen.sum(0), number + len(chosen))
        for name in _relations(self.causal):
            holds = parse_expression(name)(text).expand(n, n) & apart
            self.relations[name].add(
                float((rest * holds).sum()), float((even * holds).sum()), int(holds.sum())
            )

    # In words -------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The facts, the most telling ones first."""
        rows = max(self.rows, 1)
        near = " ".join(weight(total / rows) for total in self.before)
        told = [
            f"- Weight on the first token {weight(self.first / rows)}, on the token itself "
            f"{weight(self.itself / rows)}, on the tokens 1 to {_NEAR} before {near} "
            "(the first token not counted again).",
        ]
        if not self.causal:
            following = " ".join(weight(total / rows) for total in self.after)
            told.append(
                f"- Weight on the tokens 1 to {_NEAR} after {following}, on the text's last token "
                f"{weight(self.last / rows)}."
            )
        spread = self.entropy / rows
        told.append(
            f"- Mean entropy {spread:.2f} nats, as much as {float(torch.tensor(spread).exp()):.1f} "
            "keys of equal weight have."
        )
        by_place = [
            f"places {_range(low, high)} {weight(total / number)}"
            for (low, high), (total, number) in self.by_place.items()
            if number
        ]
        told.append(f"- Weight on the first token by place of the query: {', '.join(by_place)}.")
        told.append(
            "- Weight by distance, without the first token: "
            + ", ".join(
                f"{_range(low, high)} {weight(total / rows)}"
                for (low, high), total in self.by_distance.items()
            )
            + "."
        )
        told.append(
            f"- Apart from the first token and the token itself lies {weight(self.rest / rows)} of "
            "the weight. Of that, and how many times what an even spread would give:"
        )
        for what, counts in (
            ("tokens", {shown(name): count for name, count in self.tokens.items()}),
            ("classes of keys", self.classes),
            ("relations", self.relations),
        ):
            listed = ", ".join(self._outlying(counts))
            told.append(f"  - {what} that draw more: {listed or 'none stands out'}.")
        unlike = ", ".join(self._unlike_queries())
        if unlike:
            told.append(f"- Queries that differ from the others: {unlike}.")
        return told

    def _outlying(self, counts: dict[str, _Count]) -> Iterator[str]:
        """What draws more than an even spread gives, most surplus first."""
        total = max(self.rest, 1e-9)

        def surplus(count: _Count) -> float:
            return count.found - count.even

        ranked = sorted(counts.items(), key=lambda item: (-surplus(item[1]), item[0]))
        for name, count in ranked[:_LISTED]:
            if count.times >= _RARE and surplus(count) / total >= _SURPLUS:
                told = f"{min(count.found / max(count.even, 1e-9), 999):.1f} times"
                places = ", ".join(
                    f"{which} place {weight(found / total)}"
                    for which, found in zip(_OCCURRENCES, count.by_occurrence, strict=True)
                    if found
                )
                if max(count.by_occurrence) >= _TELLING * total:
                    told += f": {places}"
                yield f"{name} {weight(count.found / total)} ({told})"

    def _unlike_queries(self) -> Iterator[str]:
        """Classes of queries whose weight on first token, itself or the one before is unusual."""
        found = []
        for name, (total, number) in self.queries.items():
            others = self.rows - number
            if number < _RARE or others < _RARE:
                continue
            difference = total / number - (self.profile - total) / others
            aspect = int(difference.abs().argmax())
            size = float(difference[aspect])
            matters = abs(size) * (number / self.rows) ** 0.5
            found.append((-matters, name, aspect, float(total[aspect] / number), size))
        aspects = ("the first token", "itself", "the token before")
        for matters, name, aspect, value, size in sorted(found)[:_LISTED]:
            if -matters >= _SURPLUS:
                yield f"{name} put {weight(value)} on {aspects[aspect]} (others {value - size:.2f})"


def _range(low: int, high: int) -> str:
    return f"{low}-{high}" if high < 10**9 else f"from {low}"


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


def count_facts(texts: Sequence[Text], patterns: Sequence[Tensor]) -> Facts:
    """The facts of a head on texts, its patterns packed (cells,) beside them."""
    facts = Facts(texts[0].causal)
    for text, packed in zip(texts, patterns, strict=True):
        facts.add(text, packed)
    return facts

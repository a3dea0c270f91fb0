"""The plain numbers of a head: its weight on the first token, on itself, by distance, by place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from headscript.propose.llm.observed import Observed
from headscript.propose.llm.showing import weight

_NEAR = 5  # tokens before the query, each with a share of its own
_BANDS = ((1, 4), (5, 9), (10, 19), (20, 49), (50, 99), (100, 10**9))
"""Places of the query, for the share of the first token."""
_DISTANCES = ((6, 10), (11, 20), (21, 50), (51, 10**9))
_MANY_PIECES = 0.25  # of the tokens go on with a word: pieces are worth a line


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
    continued: int = 0
    """Queries that go on with a word; the others begin one or stand outside words."""
    pieces: dict[str, list[float]] = field(default_factory=dict)
    """Of pieces of words: found and expected weight from queries that go on with a word, and from
    those that begin one."""
    openers: int = 0

    def add(self, seen: Observed) -> None:
        """Take in a head's pattern on a text."""
        begin, pattern = seen.begin, seen.pattern
        n = len(pattern)
        places = torch.arange(n)
        distance = (places[:, None] - places[None, :]).abs()
        rows = pattern[begin:]
        self.rows += len(rows)
        self.first += float(rows[:, 0].sum())
        self.itself += float(pattern.diagonal()[1:].sum())
        self.last += float(rows[:, -1].sum())
        for k in range(1, _NEAR + 1):
            self.before[k - 1] += float(pattern.diagonal(-k)[1:].sum())
            self.after[k - 1] += float(pattern.diagonal(k).sum())
        self.entropy -= float(torch.xlogy(rows, rows).sum())
        self.rest += float((pattern * seen.apart).sum())
        for low, high in _BANDS:
            column = pattern[low : high + 1, 0]
            total, number = self.by_place.get((low, high), (0.0, 0))
            self.by_place[low, high] = (total + float(column.sum()), number + len(column))
        for low, high in _DISTANCES:
            inside = (distance >= low) & (distance <= high)
            inside[:, 0] = False
            told = self.by_distance.get((low, high), 0.0)
            self.by_distance[low, high] = told + float((pattern * inside)[begin:].sum())
        self._add_pieces(seen)

    def _add_pieces(self, seen: Observed) -> None:
        starts, continues = seen.text.starts_word, seen.text.continues_word
        self.continued += int(continues[seen.begin :].sum())
        self.openers += int(starts[seen.begin :].sum())
        word = starts.long().cumsum(0)
        back = word[:, None] - word[None, :]
        ends = (starts | continues) & ~torch.cat([continues[1:], continues.new_zeros(1)])
        for name, holds in (
            ("the first piece of the query's own word", (back == 0) & starts),
            ("later pieces of that word", (back == 0) & continues),
            ("the first piece of the word before", (back == 1) & starts),
            ("the last piece of the word before", (back == 1) & ends),
        ):
            cells = holds & seen.apart
            sums = self.pieces.setdefault(name, [0.0] * 4)
            for side, queries in enumerate((continues, starts)):
                chosen = cells & queries[:, None]
                sums[2 * side] += float((seen.pattern * chosen).sum())
                sums[2 * side + 1] += float((seen.expected * chosen).sum())

    def lines(self) -> Iterator[str]:
        """The facts in words."""
        rows = max(self.rows, 1)
        near = " ".join(weight(total / rows) for total in self.before)
        yield (
            f"- Weight on the first token {weight(self.first / rows)}, on the token itself "
            f"{weight(self.itself / rows)}, on the tokens 1 to {_NEAR} before {near} "
            "(the first token not counted again)."
        )
        if not self.causal:
            following = " ".join(weight(total / rows) for total in self.after)
            yield (
                f"- Weight on the tokens 1 to {_NEAR} after {following}, on the text's last token "
                f"{weight(self.last / rows)}."
            )
        spread = self.entropy / rows
        yield (
            f"- Mean entropy {spread:.2f} nats, as much as {math.exp(spread):.1f} keys of equal "
            "weight have."
        )
        by_place = [
            f"places {_range(low, high)} {weight(total / number)}"
            for (low, high), (total, number) in self.by_place.items()
            if number
        ]
        yield f"- Weight on the first token by place of the query: {', '.join(by_place)}."
        yield (
            "- Weight by distance, without the first token: "
            + ", ".join(
                f"{_range(low, high)} {weight(total / rows)}"
                for (low, high), total in self.by_distance.items()
            )
            + "."
        )

    def piece_lines(self) -> Iterator[str]:
        """Where pieces of words look, for a tokenizer that splits many words."""
        if self.continued < _MANY_PIECES * self.rows:
            return
        for side, (queries, number) in enumerate(
            (("go on with a word", self.continued), ("begin a word", self.openers))
        ):
            told = [
                f"{name} {weight(sums[2 * side] / number)} "
                f"({times(sums[2 * side], sums[2 * side + 1])})"
                for name, sums in self.pieces.items()
                if number and sums[2 * side + 1] > 0
            ]
            if told:
                yield f"- Pieces of words: queries that {queries} put on {', '.join(told)}."


def times(found: float, expected: float) -> str:
    """How many times what is expected was found: `2.4 times`."""
    return f"{min(found / max(expected, 1e-9), 999):.1f} times"


def _range(low: int, high: int) -> str:
    return f"{low}-{high}" if high < 10**9 else f"from {low}"


def count_facts(observed: Sequence[Observed]) -> Facts:
    """The facts of a head on texts."""
    facts = Facts(observed[0].text.causal if observed else True)
    for seen in observed:
        facts.add(seen)
    return facts

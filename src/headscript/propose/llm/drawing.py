"""Tokens that draw a head's weight from everywhere, and what decides among their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.propose.llm.contrasts import key_classes
from headscript.propose.llm.facts import times
from headscript.propose.llm.observed import Observed
from headscript.propose.llm.showing import shown, weight

_LISTED = 8
_LISTED_LESS = 4
_RARE = 3  # a token string or condition seen less often says nothing
_SURPLUS = 0.01  # of the weight, that is worth a word
_TELLING = 0.05  # of the weight, on a token, to tell its places apart
_OTHER_TEXTS = 2  # texts that a token must draw in
_CONTENT_TEXTS = 3  # and a content word, and in half of all: else the texts are just about it
_SINK = 0.05  # weight on a place from each query far from it, on average
_SINK_QUERIES = 8  # of these, at least
_FAR = 30  # tokens from it to these queries, at least
_DRAWN = 0.1  # of the weight, on sinks, before they are worth setting aside
_DRAWN_BY_OTHERS = 0.02  # and on those of no token that is a sink
_UNLIKE = 1.5  # times, between the most and the least drawing places, to tell them apart
_MORE, _LESS = 1.3, 0.75  # times the expected weight that are worth a word
_RANKS = ("1st", "2nd", "3rd", "later")
_PLACES = ((1, 19), (20, 49), (50, 99), (100, 10**9))


@dataclass
class Place:
    """One key of one text: the weight it draws from all queries, and what distances explain."""

    text: int
    place: int
    surface: str
    occurrence: int
    found: float
    expected: float
    sink: bool


class Drawing:
    """The keys of some texts by the weight that they draw, apart from first token and diagonal."""

    def __init__(self, observed: Sequence[Observed]) -> None:
        self.observed = observed
        self.places: list[Place] = []
        for number, seen in enumerate(observed):
            rest = seen.pattern * seen.apart
            found, expected = rest.sum(0).tolist(), (seen.expected * seen.apart).sum(0).tolist()
            occurrence = seen.text.occurrence.tolist()
            sinks = _sinks(rest, seen.apart, seen.text.causal).tolist()
            self.places += [
                Place(
                    number,
                    place,
                    surface,
                    int(occurrence[place]),
                    found[place],
                    expected[place],
                    sinks[place],
                )
                for place, surface in enumerate(seen.text.surfaces)
                if place
            ]
        self.rest = max(sum(place.found for place in self.places), 1e-9)
        if sum(place.found for place in self.places if place.sink) < _DRAWN * self.rest:
            for place in self.places:
                place.sink = False
        self.by_surface: dict[str, list[Place]] = {}
        for place in self.places:
            self.by_surface.setdefault(place.surface, []).append(place)
        self.tokens = self._outlying(1)[:_LISTED]
        """Tokens that draw more, most surplus first."""
        self.tokens_less = self._outlying(-1)[:_LISTED_LESS]
        self.sink_tokens = [name for name in self.tokens if self._is_sink(name)][:3]
        """Of these, the ones that draw from afar, whatever lies between."""
        others = [p for p in self.places if p.sink and p.surface not in self.sink_tokens]
        self.other_sinks = _sums(others)[0] >= _DRAWN_BY_OTHERS * self.rest
        """Whether other places that draw from afar are worth setting aside."""

    def aside(self) -> list[Tensor]:
        """Which keys (n,) of each text are places of a token that is a sink, or other sinks."""
        flags = [torch.zeros(len(seen.text), dtype=torch.bool) for seen in self.observed]
        for place in self.places:
            if place.surface in self.sink_tokens or (place.sink and self.other_sinks):
                flags[place.text][place.place] = True
        return flags

    def aside_in_words(self) -> str:
        """What `aside` sets aside, for a reader; empty where there is nothing."""
        told = [shown(name) for name in self.sink_tokens]
        if self.other_sinks:
            told.append("other sinks" if told else "sinks")
        return " and ".join(", ".join(told).rsplit(", ", 1))

    def _is_sink(self, name: str) -> bool:
        """Whether most that a token draws is drawn by places that do so from afar."""
        places = self.by_surface[name]
        return 2 * _sums([place for place in places if place.sink])[0] >= _sums(places)[0] > 0

    def lines(self) -> Iterator[str]:
        """The tokens that draw more and less, the sinks, and the places of the strongest tokens."""
        more = ", ".join(self._told(name) for name in self.tokens)
        less = ", ".join(self._told(name) for name in self.tokens_less)
        yield f"  - tokens that draw more: {more or 'none stands out in several texts'}."
        if less:
            yield f"  - tokens that draw less: {less}."
        yield from self._sink_lines()
        for name in self.tokens[:2]:
            if self._surplus(name) >= _TELLING * self.rest:
                yield from self._place_lines(name)

    def _surplus(self, name: str) -> float:
        return sum(place.found - place.expected for place in self.by_surface[name])

    def _outlying(self, sign: int) -> list[str]:
        """Tokens with more (sign 1) or less (-1) than expected in several texts."""
        content = {
            surface
            for seen in self.observed
            for surface, is_content in zip(
                seen.text.surfaces, seen.text.is_content_word.tolist(), strict=True
            )
            if is_content
        }
        ranked = []
        for name, places in self.by_surface.items():
            surplus = sign * self._surplus(name)
            needed = _OTHER_TEXTS
            if name in content:
                needed = max(_CONTENT_TEXTS, -(-len(self.observed) // 2))
            if (
                len(places) >= _RARE
                and surplus >= _SURPLUS * self.rest
                and self._texts(name, sign) >= min(needed, len(self.observed))
            ):
                found, expected = _sums(places)
                ratio = found / max(expected, 1e-9)
                if ratio >= _MORE if sign > 0 else ratio <= _LESS:
                    ranked.append((-surplus, name))
        return [name for _, name in sorted(ranked)]

    def _texts(self, name: str, sign: int) -> int:
        """In how many texts a token draws more (or less) than expected."""
        surplus: dict[int, float] = {}
        for place in self.by_surface[name]:
            surplus[place.text] = surplus.get(place.text, 0.0) + place.found - place.expected
        return sum(sign * value > 0 for value in surplus.values())

    def _told(self, name: str) -> str:
        found, expected = _sums(self.by_surface[name])
        return f"{shown(name)} {weight(found / self.rest)} ({times(found, expected)})"

    def _sink_lines(self) -> Iterator[str]:
        sinks = [place for place in self.places if place.sink]
        if len(sinks) < _RARE:
            return
        by_token: dict[str, int] = {}
        for place in sinks:
            by_token[place.surface] = by_token.get(place.surface, 0) + 1
        named = sorted(by_token.items(), key=lambda item: (-item[1], item[0]))[:5]
        spots = sorted(place.place for place in sinks)
        share = sum(place.found for place in sinks) / self.rest
        yield (
            f"  - sinks, {len(sinks)} places in {len(self.observed)} texts that draw {_SINK:g} or "
            f"more from queries far from them, {weight(share)} in all: "
            + ", ".join(f"{shown(name)} {number}" for name, number in named)
            + f"; at places {spots[0]} to {spots[-1]}, half of them up to "
            f"{spots[(len(spots) - 1) // 2]}; {sum(place.occurrence == 1 for place in sinks)} are "
            "new tokens."
        )

    def _place_lines(self, name: str) -> Iterator[str]:
        """What decides among a token's places: rank, place, and what stands before it."""
        places = self.by_surface[name]
        if len(places) < 2 * _RARE:
            return
        ranks = [
            (f"{rank} in a text", [p for p in places if min(p.occurrence, len(_RANKS)) == k])
            for k, rank in enumerate(_RANKS, 1)
        ]
        spots = [
            (
                f"places {low}-{high}" if high < 10**9 else f"places from {low}",
                [p for p in places if low <= p.place <= high],
            )
            for low, high in _PLACES
        ]
        parts = [text for groups in (ranks, spots) if (text := _compared(groups))]
        before = [
            f"{what} {times(found, usual)} ({number} of {len(places)} places)"
            for what, found, usual, number in self._before(places)
        ]
        if before:
            parts.append("against other places of the same rank: " + ", ".join(before))
        if parts:
            yield f"  - which {shown(name)} draws: {'; '.join(parts)}."

    def _before(self, places: Sequence[Place]) -> list[tuple[str, float, float, int]]:
        """What stands before the places that draw more, or less, than others of their rank."""
        lift: dict[int, float] = {}
        for rank in range(1, len(_RANKS) + 1):
            found, expected = _sums([p for p in places if min(p.occurrence, len(_RANKS)) == rank])
            lift[rank] = found / max(expected, 1e-9)
        classes = [key_classes(seen.text) for seen in self.observed]
        conditions: dict[str, list[int]] = {}
        for index, place in enumerate(places):
            text = self.observed[place.text].text
            conditions.setdefault(f"after {shown(text.surfaces[place.place - 1])}", []).append(
                index
            )
            for name, member in classes[place.text].items():
                if member[place.place - 1]:
                    conditions.setdefault(f"after {name}", []).append(index)
        ranked = []
        for what, members in conditions.items():
            chosen = [places[index] for index in members]
            if min(len(chosen), len(places) - len(chosen)) < _RARE:
                continue
            if len({place.text for place in chosen}) < min(_OTHER_TEXTS, len(self.observed)):
                continue
            found = sum(place.found for place in chosen)
            usual = sum(p.expected * lift[min(p.occurrence, len(_RANKS))] for p in chosen)
            ratio = found / max(usual, 1e-9)
            if not _LESS < ratio < _MORE and abs(found - usual) >= 0.5 * _SURPLUS * self.rest:
                ranked.append((-abs(found - usual), what, found, usual, frozenset(members)))
        told: list[tuple[str, float, float, int]] = []
        taken: list[frozenset[int]] = []
        for _, what, found, usual, group in sorted(ranked, key=lambda item: item[:2]):
            if all(len(group & other) < 0.8 * len(group | other) for other in taken):
                taken.append(group)
                told.append((what, found, usual, len(group)))
        return told[:4]


def _sums(places: Sequence[Place]) -> tuple[float, float]:
    return sum(place.found for place in places), sum(place.expected for place in places)


def _compared(groups: Sequence[tuple[str, list[Place]]]) -> str:
    """Groups of places by how much they draw, where that differs between them."""
    known = [(what, *_sums(places)) for what, places in groups if len(places) >= _RARE]
    lifts = [found / max(expected, 1e-9) for _, found, expected in known]
    if len(lifts) < 2 or max(lifts) < _UNLIKE * min(lifts):
        return ""
    return ", ".join(f"{what} {times(found, expected)}" for what, found, expected in known)


def _sinks(rest: Tensor, apart: Tensor, causal: bool) -> Tensor:
    """Which keys (n,) draw from far away, rest and apart being (n, n).

    In a decoder the farther half of the queries after a key counts: what they look at has not
    given way to anything that came since.
    """
    n = len(rest)
    places = torch.arange(n)
    distance = places[:, None] - places[None, :]
    far = apart & (distance.abs() >= _FAR)
    if causal:
        far &= distance > (n - 1 - places[None, :]) / 2
    number = far.sum(0)
    mean = (rest * far).sum(0) / number.clamp(min=1)
    return (mean >= _SINK) & (number >= _SINK_QUERIES)

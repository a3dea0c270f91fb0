"""Many programs evaluated together: features shared, the terms of many heads as few products.

Nearly all programs are log-linear: a softmax of a sum of constants times features, and a feature is
a product of something about the query, something about the pair and something about the key. A bank
computes each such factor once a text, and the scores of a group of programs as

    scores[p] = sum over relations r of  r * (Q_pr^T diag(constants_pr) K_pr)

one batched matrix product a relation. Gradients reach the constants through the same products.
Programs of another form are evaluated one by one.

Shapes: texts B, programs P, rows of queries Q (all n, or the last ones), keys n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from headscript.language import Text
from headscript.programs.interpreter import Factors, Part, Scope
from headscript.programs.program import Program

_NO_RELATION = -1


@dataclass
class Features:
    """What a bank knows of some texts, padded on the right to the longest."""

    texts: list[Text]
    query: Tensor
    """(B, query factors, Q), float32; the first factor is 1."""
    key: Tensor
    """(B, key factors, n); the first factor is 1."""
    relation: Tensor
    """(B, relations, Q, n)."""
    hidden: Tensor
    """(B or 1, Q, n) bool: the keys that a query may not look at."""

    def cut(self, length: int) -> Features:
        """The keys of the first tokens alone, for texts that go on from there."""
        return replace(self, key=self.key[:, :, :length])

    def selected(self, texts: Tensor) -> Features:
        """The keys of some of the texts, for texts that go on from them."""
        return replace(self, key=self.key[texts])

    def to(self, device: torch.device) -> Features:
        """The same on another device."""
        if self.query.device == device:
            return self
        return Features(
            self.texts,
            self.query.to(device, non_blocking=True),
            self.key.to(device, non_blocking=True),
            self.relation.to(device, non_blocking=True),
            self.hidden.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class _Layout:
    """The addends of a group of programs that share a relation; padded to the longest sum."""

    relation: int
    programs: Tensor
    """(p,) which programs of the group."""
    query: Tensor
    """(p, m) query factor of each addend; 0 where there is none."""
    key: Tensor
    """(p, m)"""
    constant: Tensor
    """(p, m) place of its constant in the bank's."""
    sign: Tensor
    """(p, m) 1, -1, or 0 for padding."""

    def to(self, device: torch.device) -> _Layout:
        return _Layout(
            self.relation,
            *(
                t.to(device)
                for t in (self.programs, self.query, self.key, self.constant, self.sign)
            ),
        )


@dataclass
class Group:
    """Programs of a bank that are evaluated in one go, as those of a layer are."""

    programs: list[int]
    """Their places in the bank."""
    layouts: list[_Layout] = field(default_factory=list)
    one_by_one: list[int] = field(default_factory=list)
    """Which of the group are not log-linear."""
    _moved: dict[torch.device, list[_Layout]] = field(default_factory=dict)

    def layouts_on(self, device: torch.device) -> list[_Layout]:
        """The layouts on a device."""
        if device not in self._moved:
            self._moved[device] = [layout.to(device) for layout in self.layouts]
        return self._moved[device]


class Bank:
    """Programs that are evaluated together on the same texts."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = list(programs)
        self.first_constant = [0]
        for program in self.programs:
            self.first_constant.append(self.first_constant[-1] + program.terms)
        # What stands without a constant has this one, behind all others.
        self._one = self.first_constant[-1]
        self._query = _Columns()
        self._key = _Columns()
        self._relation = _Columns(identity=False)
        self._addends = [self._read(index) for index in range(len(self.programs))]

    def constants(self) -> Tensor:
        """The constants of all programs, one after the other, float32."""
        return torch.tensor(
            [value for program in self.programs for value in program.constants.values()]
        )

    def values_of(self, program: int, constants: Tensor) -> dict[str, Tensor]:
        """Of all constants, those of one program by name."""
        names = self.programs[program].constants
        start = self.first_constant[program]
        return {name: constants[start + number] for number, name in enumerate(names)}

    def group(self, programs: Sequence[int]) -> Group:
        """Make some programs ready to be evaluated together."""
        group = Group(list(programs))
        by_relation: dict[int, dict[int, list[tuple[int, int, int, int]]]] = {}
        for place, program in enumerate(programs):
            addends = self._addends[program]
            if addends is None:
                group.one_by_one.append(place)
                continue
            for relation, *addend in addends:
                sums = by_relation.setdefault(relation, {})
                sums.setdefault(place, []).append(tuple(addend))  # type: ignore[arg-type]
        padding = (0, 0, self._one, 0)
        for relation, sums in sorted(by_relation.items()):
            longest = max(len(addends) for addends in sums.values())
            table = torch.tensor(
                [addends + [padding] * (longest - len(addends)) for addends in sums.values()]
            )
            group.layouts.append(_Layout(relation, torch.tensor(list(sums)), *table.unbind(-1)))
        return group

    def features(self, texts: Sequence[Text], before: Features | None = None) -> Features:
        """Compute what the programs need of texts, each once.

        Texts that go on from `before` (their `first_query` says from where) only have what is new
        computed; their keys are joined to those of before.
        """
        longest = max(len(text) for text in texts)
        rows = max(len(text) - text.first_query for text in texts)
        query = torch.zeros(len(texts), len(self._query), rows)
        key = torch.zeros(len(texts), len(self._key), longest)
        relation = torch.zeros(len(texts), len(self._relation), rows, longest)
        for number, text in enumerate(texts):
            first, reader = text.first_query, _Reader(text)
            if before is not None:
                key[number, :, :first] = before.key[number, :, :first]
            if first == len(text):
                continue
            for index, parts in self._query:
                query[number, index, : reader.new] = reader.property(parts)
            for index, parts in self._key:
                key[number, index, first : len(text)] = reader.property(parts)
            for index, parts in self._relation:
                relation[number, index, : reader.new, : len(text)] = reader.relation(parts)
        return Features(list(texts), query, key, relation, _hidden(texts, rows, longest))

    def patterns(self, group: Group, features: Features, constants: Tensor | None = None) -> Tensor:
        """The patterns of a group on texts, (B, P, Q, n) float32, on the features' device.

        `constants` stands for those of the programs and may ask for gradients. Rows and keys of
        padding hold nothing of meaning.
        """
        device = features.query.device
        values = (self.constants() if constants is None else constants).to(device)
        values = torch.cat([values, values.new_ones(1)])
        with torch.autocast(device.type, enabled=False):
            patterns: Tensor = _LogLinear.apply(values, features, group)  # type: ignore[no-untyped-call]
        if group.one_by_one:
            single = [
                self._one_by_one(group.programs[place], features, constants)
                for place in group.one_by_one
            ]
            places = torch.tensor(group.one_by_one, device=device)
            patterns = patterns.index_copy(1, places, torch.stack(single, 1).to(device))
        return patterns

    def _one_by_one(self, program: int, features: Features, constants: Tensor | None) -> Tensor:
        """(B, Q, n) of a program that is not log-linear."""
        values = None if constants is None else self.values_of(program, constants)
        rows, longest = features.hidden.shape[-2:]
        found = []
        for text in features.texts:
            pattern = self.programs[program](text, values)
            right, below = longest - len(text), rows - pattern.shape[0]
            found.append(torch.nn.functional.pad(pattern, (0, right, 0, below)))
        return torch.stack(found)

    def _read(self, index: int) -> list[tuple[int, int, int, int, int]] | None:
        """A program's addends as (relation, query, key, constant, sign); None: not log-linear."""
        form = self.programs[index].log_linear
        if form is None:
            return None
        places = {name: number for number, name in enumerate(self.programs[index].constants)}
        start = self.first_constant[index]
        found = []
        for addend in form.addends:
            factors: Factors = addend.feature.as_factors()
            constant = self._one if addend.constant is None else start + places[addend.constant]
            found.append(
                (
                    self._relation.place(factors.relation),
                    self._query.place(factors.query),
                    self._key.place(factors.key),
                    constant,
                    addend.sign,
                )
            )
        return found


class _Columns:
    """Distinct factors, numbered; the empty product is number 0, or none (-1)."""

    def __init__(self, *, identity: bool = True) -> None:
        self._identity = identity
        self._places: dict[tuple[str, ...], int] = {(): 0 if identity else _NO_RELATION}
        self._parts: list[tuple[Part, ...]] = [()] if identity else []

    def place(self, parts: tuple[Part, ...]) -> int:
        name = tuple(sorted(part.canonical for part in parts))
        if name not in self._places:
            self._places[name] = len(self._parts)
            self._parts.append(parts)
        return self._places[name]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Any:
        return enumerate(self._parts)


class _Reader:
    """Reads factors off one text; of a text that goes on, for its new tokens alone."""

    def __init__(self, text: Text) -> None:
        self.scope = Scope(text, {})
        self.new = len(text) - text.first_query
        self._tails: dict[int, Scope] = {}

    def property(self, parts: tuple[Part, ...]) -> Tensor | float:
        """The product of token properties, for the new tokens."""
        found: Tensor | float = 1.0
        for part in parts:
            value: Tensor = part.evaluate(self._scope_for(part.reach))[-self.new :]
            found = value if isinstance(found, float) else found * value
        return found

    def relation(self, parts: tuple[Part, ...]) -> Tensor | float:
        """The product of values a pair, for the new queries."""
        found: Tensor | float = parts[0].evaluate(self.scope)
        for part in parts[1:]:
            found = found * part.evaluate(self.scope)
        return found

    def _scope_for(self, reach: int | None) -> Scope:
        """The text, or as much of its end as something of that reach needs."""
        if reach is None or self.scope.text.first_query <= reach:
            return self.scope
        if reach not in self._tails:
            self._tails[reach] = Scope(self.scope.text.tail(self.new + reach), {})
        return self._tails[reach]


def _hidden(texts: Sequence[Text], rows: int, longest: int) -> Tensor:
    """The cells of future keys or, in encoders, of padding: (B or 1, rows, longest) bool."""
    places = torch.arange(longest)
    if texts[0].causal:
        # Padded rows look at what they like: nobody reads them.
        firsts = torch.tensor(sorted({text.first_query for text in texts}))
        if len(firsts) > 1:
            firsts = torch.tensor([text.first_query for text in texts])
        return places > (firsts[:, None] + torch.arange(rows))[:, :, None]
    lengths = torch.tensor([len(text) for text in texts])
    return (places >= lengths[:, None])[:, None].expand(-1, rows, -1)


class _LogLinear(torch.autograd.Function):
    """Constants to patterns, with few products each way and nothing kept but the patterns."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, features: Features, group: Group) -> Tensor:
        batch, (rows, keys) = len(features.texts), features.hidden.shape[-2:]
        scores = values.new_zeros(batch, len(group.programs), rows, keys)
        for layout in group.layouts_on(values.device):
            by_query = features.query[:, layout.query]  # (B, p, m, Q)
            by_query = by_query * (values[layout.constant] * layout.sign)[..., None]
            found = by_query.transpose(2, 3) @ features.key[:, layout.key]  # (B, p, Q, n)
            if layout.relation != _NO_RELATION:
                found *= features.relation[:, layout.relation, None]
            scores.index_add_(1, layout.programs, found)
        scores.masked_fill_(features.hidden[:, None], -math.inf)
        patterns = scores.softmax(-1)
        ctx.features, ctx.group, ctx.num_values = features, group, len(values)
        ctx.save_for_backward(patterns)
        return patterns

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (patterns,) = ctx.saved_tensors
        features, group = ctx.features, ctx.group
        of_scores = grad * patterns
        of_scores -= patterns * of_scores.sum(-1, keepdim=True)
        of_values = grad.new_zeros(ctx.num_values)
        for layout in group.layouts_on(grad.device):
            found = of_scores.index_select(1, layout.programs)
            if layout.relation != _NO_RELATION:
                found *= features.relation[:, layout.relation, None]
            by_query = found @ features.key[:, layout.key].transpose(2, 3)  # (B, p, Q, m)
            summed = (by_query * features.query[:, layout.query].transpose(2, 3)).sum((0, 2))
            of_values.index_add_(0, layout.constant.flatten(), (summed * layout.sign).flatten())
        return of_values, None, None

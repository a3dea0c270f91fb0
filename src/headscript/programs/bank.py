"""Many programs evaluated together: features shared, the terms of many heads as few products.

Nearly all programs are log-linear: a softmax of a sum of constants times features, and a feature is
a product of something about the query, something about the pair and something about the key. A bank
computes each such factor once a text, and the scores of a group of programs as

    scores[p] = sum over relations r of  r * (Q_pr^T diag(constants_pr) K_pr)

one batched matrix product a relation. Gradients reach the constants through the same products. For
few rows, as of a text that grows token by token, so many products would take longer than what they
compute: the addends of all programs are then gathered and summed in one go. Programs of another
form are evaluated one by one.

Shapes: texts B, programs P, rows of queries Q (all n, or the last ones), keys n.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from headscript.language import Text
from headscript.programs.factors import Products, Properties, Reading, Relations
from headscript.programs.program import Program

FEW_ROWS = 16
"""Up to so many rows, of all texts together, are evaluated by gathering."""
_NO_RELATION = -1

Addend = tuple[int, int, int, int]
"""Its query factor, key factor, constant and sign."""


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

    @property
    def few_rows(self) -> bool:
        """Whether they are so few that it is best to evaluate all programs of a bank in one go."""
        return self.query.shape[0] * self.query.shape[2] <= FEW_ROWS

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

    @classmethod
    def of(cls, relation: int, sums: dict[int, list[Addend]], device: torch.device) -> _Layout:
        longest = max(len(addends) for addends in sums.values())
        padded = [addends + [(0, 0, 0, 0)] * (longest - len(addends)) for addends in sums.values()]
        columns = torch.tensor(padded, device=device).unbind(-1)
        return cls(relation, torch.tensor(list(sums), device=device), *columns)


@dataclass(frozen=True)
class _Bags:
    """The addends of a group one after the other, in bags of one relation and program."""

    program: Tensor
    """(bags,) which program of the group."""
    relation: Tensor
    """(bags of a relation,): those without one come first."""
    start: Tensor
    """(bags,) its first addend."""
    query: Tensor
    """(addends,)"""
    key: Tensor
    constant: Tensor
    sign: Tensor

    @classmethod
    def of(cls, sums: dict[int, dict[int, list[Addend]]], device: torch.device) -> _Bags:
        bags = [
            (relation, program, addends)
            for relation, of_programs in sorted(sums.items())
            for program, addends in of_programs.items()
        ]
        starts = [0]
        for _, _, addends in bags:
            starts.append(starts[-1] + len(addends))
        related = [relation for relation, _, _ in bags if relation != _NO_RELATION]
        table = torch.tensor([a for _, _, addends in bags for a in addends], device=device)
        return cls(
            torch.tensor([program for _, program, _ in bags], device=device),
            torch.tensor(related, dtype=torch.long, device=device),
            torch.tensor(starts[:-1], device=device),
            *table.unbind(1),
        )


@dataclass
class Group:
    """Programs of a bank that are evaluated in one go, as those of a layer are."""

    programs: list[int]
    """Their places in the bank."""
    sums: dict[int, dict[int, list[Addend]]] = field(default_factory=dict)
    """The addends by relation and by place in the group."""
    one_by_one: list[int] = field(default_factory=list)
    """Which of the group are not log-linear."""
    _layouts: dict[torch.device, list[_Layout]] = field(default_factory=dict)
    _bags: dict[torch.device, _Bags] = field(default_factory=dict)

    def layouts(self, device: torch.device) -> list[_Layout]:
        """The addends for matrix products, on a device."""
        if device not in self._layouts:
            with torch.inference_mode(False):  # they are kept, and may be used with gradients
                self._layouts[device] = [
                    _Layout.of(relation, sums, device)
                    for relation, sums in sorted(self.sums.items())
                ]
        return self._layouts[device]

    def bags(self, device: torch.device) -> _Bags:
        """The addends to be gathered, on a device."""
        if device not in self._bags:
            with torch.inference_mode(False):
                self._bags[device] = _Bags.of(self.sums, device)
        return self._bags[device]


class Bank:
    """Programs that are evaluated together on the same texts."""

    def __init__(self, programs: Sequence[Program], *, causal: bool = True) -> None:
        self.programs = list(programs)
        self.first_constant = [0]
        for program in self.programs:
            self.first_constant.append(self.first_constant[-1] + len(program.constants))
        # What stands without a constant has this one, behind all others.
        self._one = self.first_constant[-1]
        self._properties = Properties()
        self._query = Products(self._properties)
        self._key = Products(self._properties)
        self._relation = Relations(self._properties)
        self._addends = [self._read(index, causal) for index in range(len(self.programs))]
        self._grows = all(program.prefix_consistent for program in self.programs)

    @property
    def factors(self) -> tuple[Products, Products, Relations]:
        """What features are products of: of the query, of the key and of both."""
        return self._query, self._key, self._relation

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
        for place, program in enumerate(programs):
            addends = self._addends[program]
            if addends is None:
                group.one_by_one.append(place)
                continue
            for relation, addend in addends:
                group.sums.setdefault(relation, {}).setdefault(place, []).append(addend)
        return group

    def features(
        self, texts: Sequence[Text], before: Features | None = None, *, padded: int = 1
    ) -> Features:
        """Compute what the programs need of texts, each once.

        Rows are those from each text's `first_query` on. Texts that go on from `before` only have
        the keys computed that are new; the others are taken from there. Rows and keys are padded by
        zeros to a multiple of `padded`.
        """
        if not self._grows:  # what is known of a token may change with later ones
            before = None
        longest = -(-max(len(text) for text in texts) // padded) * padded
        rows = -(-max(len(text) - text.first_query for text in texts) // padded) * padded
        query = torch.zeros(len(texts), len(self._query), rows)
        key = torch.zeros(len(texts), len(self._key), longest)
        relation = torch.zeros(len(texts), len(self._relation), rows, longest)
        for number, text in enumerate(texts):
            first, n = text.first_query, len(text)
            known = first if before is not None else 0
            if before is not None:
                key[number, :, :known] = before.key[number, :, :known]
            # A text without new queries shows no row of what is alike in all rows.
            reading = Reading(text if first < n else text.from_first_query())
            if known < n:
                values = self._properties.values(reading, n - known)
                key[number, :, known:n] = self._key.of(values)
                query[number, :, : n - first] = self._query.of(values[:, first - known :])
            if first < n:
                self._relation.fill(reading, relation[number, :, : n - first, :n])
        return Features(list(texts), query, key, relation, _hidden(texts, rows, longest))

    @torch.no_grad()
    def feature_bounds(self, texts: Iterable[Text]) -> Tensor:
        """What the feature of each constant does not exceed in size on texts, (constants,).

        Infinite or NaN where the feature is; 0 for the constants of programs of another form.
        """
        query, key, relation = map(
            torch.zeros, (len(self._query), len(self._key), len(self._relation))
        )
        for text in texts:
            features = self.features([text])
            query = torch.maximum(query, features.query.abs().amax((0, 2)))
            key = torch.maximum(key, features.key.abs().amax((0, 2)))
            relation = torch.maximum(relation, features.relation.abs().amax((0, 2, 3)))
        bounds = torch.zeros(self._one + 1)
        for addends in self._addends:
            for place, (of_query, of_key, constant, _) in addends or ():
                bound = query[of_query] * key[of_key]
                if place != _NO_RELATION:
                    bound = bound * relation[place]
                bounds[constant] = torch.maximum(bounds[constant], bound)
        return bounds[:-1]

    def patterns(self, group: Group, features: Features, constants: Tensor | None = None) -> Tensor:
        """The patterns of a group on texts, (B, P, Q, n) float32, on the features' device.

        `constants` stands for those of the programs and may ask for gradients. Rows and keys of
        padding hold nothing of meaning. Raises ProgramError for a value that is no pattern.
        """
        device = features.query.device
        values = (self.constants() if constants is None else constants).to(device)
        values = torch.cat([values, values.new_ones(1)])
        with torch.autocast(device.type, enabled=False):
            if features.few_rows and not (values.requires_grad and torch.is_grad_enabled()):
                patterns = _softmax(_gathered(values.detach(), features, group), features)
            else:
                patterns = _LogLinear.apply(values, features, group)  # type: ignore[no-untyped-call]
        single = set(group.one_by_one)
        # A row in which any score is NaN or infinite is NaN, at its first key as everywhere.
        broken = patterns[..., 0].isnan()
        if bool(broken.any()):
            single.update(broken.any(-1).any(0).nonzero().flatten().tolist())
        if single:
            places = sorted(single)
            found = [self._one_by_one(group.programs[p], features, constants) for p in places]
            index = torch.tensor(places, device=device)
            patterns = patterns.index_copy(1, index, torch.stack(found, 1).to(device))
        return patterns

    def _one_by_one(self, program: int, features: Features, constants: Tensor | None) -> Tensor:
        """(B, Q, n) of a program as it says itself, which refuses what is no pattern."""
        values = None if constants is None else self.values_of(program, constants)
        rows, longest = features.hidden.shape[-2:]
        found = []
        for text in features.texts:
            pattern = self.programs[program](text, values)
            right, below = longest - len(text), rows - pattern.shape[0]
            found.append(torch.nn.functional.pad(pattern, (0, right, 0, below)))
        return torch.stack(found)

    def _read(self, index: int, causal: bool) -> list[tuple[int, Addend]] | None:
        """A program's addends, each with its relation; None where it has another form."""
        form = self.programs[index].log_linear
        if form is None or (form.causal and not causal):
            return None
        places = {name: number for number, name in enumerate(self.programs[index].constants)}
        start = self.first_constant[index]
        found = []
        for addend in form.addends:
            factors = addend.feature.as_factors()
            constant = self._one if addend.constant is None else start + places[addend.constant]
            found.append(
                (
                    self._relation.place(factors.relation) if factors.relation else _NO_RELATION,
                    (
                        self._query.place(factors.query),
                        self._key.place(factors.key),
                        constant,
                        addend.sign,
                    ),
                )
            )
        return found


def _hidden(texts: Sequence[Text], rows: int, longest: int) -> Tensor:
    """The cells of future keys or, in encoders, of padding: (B or 1, rows, longest) bool."""
    places = torch.arange(longest)
    if texts[0].causal:
        # Padded rows look at what they like: nobody reads them.
        firsts = torch.tensor(sorted({text.first_query for text in texts}))
        if len(firsts) > 1:
            firsts = torch.tensor([text.first_query for text in texts])
        return places > (firsts[:, None] + torch.arange(rows))[:, :, None]
    lengths = torch.tensor([max(1, len(text)) for text in texts])
    return (places >= lengths[:, None])[:, None].expand(-1, rows, -1)


def _softmax(scores: Tensor, features: Features) -> Tensor:
    """Scores (B, P, Q, n), which are used up, to patterns."""
    return scores.masked_fill_(features.hidden[:, None], -math.inf).softmax(-1)


def _multiplied(values: Tensor, features: Features, group: Group) -> Tensor:
    """The scores of a group, (B, P, Q, n): a batched product a relation."""
    batch, (rows, keys) = len(features.texts), features.hidden.shape[-2:]
    scores = values.new_zeros(batch, len(group.programs), rows, keys)
    for layout in group.layouts(values.device):
        by_query = features.query[:, layout.query]  # (B, p, m, Q)
        by_query = by_query * (values[layout.constant] * layout.sign)[..., None]
        found = by_query.transpose(2, 3) @ features.key[:, layout.key]  # (B, p, Q, n)
        if layout.relation != _NO_RELATION:
            found *= features.relation[:, layout.relation, None]
        scores.index_add_(1, layout.programs, found)
    return scores


def _gathered(values: Tensor, features: Features, group: Group) -> Tensor:
    """The same, row by row."""
    batch, (rows, keys) = len(features.texts), features.hidden.shape[-2:]
    scores = values.new_zeros(batch, len(group.programs), rows, keys)
    if not group.sums:
        return scores
    bags = group.bags(values.device)
    weights = values[bags.constant] * bags.sign
    related = len(bags.program) - len(bags.relation)  # the first bag that has a relation
    for text in range(batch):
        for row in range(rows):
            summed = torch.nn.functional.embedding_bag(  # (bags, n)
                bags.key,
                features.key[text],
                bags.start,
                mode="sum",
                per_sample_weights=weights * features.query[text, :, row][bags.query],
            )
            summed[related:] *= features.relation[text, :, row][bags.relation]
            scores[text, :, row].index_add_(0, bags.program, summed)
    return scores


class _LogLinear(torch.autograd.Function):
    """Constants to patterns, with few products each way and nothing kept but the patterns."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, features: Features, group: Group) -> Tensor:
        patterns = _softmax(_multiplied(values, features, group), features)
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
        for layout in group.layouts(grad.device):
            found = of_scores.index_select(1, layout.programs)
            if layout.relation != _NO_RELATION:
                found *= features.relation[:, layout.relation, None]
            by_query = found @ features.key[:, layout.key].transpose(2, 3)  # (B, p, Q, m)
            summed = (by_query * features.query[:, layout.query].transpose(2, 3)).sum((0, 2))
            # What is padded is no one's, also where a feature is infinite and the sum is NaN.
            signed = (summed * layout.sign).masked_fill(layout.sign == 0, 0.0)
            of_values.index_add_(0, layout.constant.flatten(), signed.flatten())
        return of_values, None, None

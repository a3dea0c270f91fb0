"""What can take the place of a head: programs, and for comparison what knows less of the head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.mean_patterns import MEAN, means_of
from headscript.evaluation.passes import Batch
from headscript.evaluation.sweep import PatternsOf
from headscript.heads import Head
from headscript.models import Model
from headscript.packing import unpack
from headscript.programs.bank import Bank
from headscript.programs.program import Program
from headscript.propose.writing import read_frontiers, write_program
from headscript.runs import FOUND, Run
from headscript.similarity import MeanByPosition

SIMPLE = ("uniform", "first token", "zero")
RANDOM, INTENDED = "random program", "intended"
BASELINES = (*SIMPLE, MEAN, RANDOM, INTENDED)
"""What heads are replaced by for comparison."""

_TOGETHER = 16  # programs evaluated in one go


class ProgramPatterns:
    """The patterns of programs on texts, each computed once; named by the program's key."""

    def __init__(self, model: Model, programs: Iterable[Program]) -> None:
        distinct = {program.key: program for program in programs}
        self._keys = list(distinct)
        self._bank = Bank(list(distinct.values()))
        places = range(len(distinct))
        self._groups = [
            self._bank.group(places[start : start + _TOGETHER])
            for start in range(0, len(distinct), _TOGETHER)
        ]
        self._read = model.reader(distinct.values())
        self._device = model.device

    @torch.no_grad()
    def of(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Patterns (B, n, n) of the programs that work on all texts, and why others do not."""
        found: dict[str, Tensor] = {}
        failures: dict[str, str] = {}
        if not self._keys:
            return found, failures
        features = self._bank.features([self._read(ids) for ids in batch.texts]).to(self._device)
        waiting = self._groups[::-1]
        while waiting:
            group = waiting.pop()
            try:
                patterns = self._bank.patterns(group, features)
            except HeadscriptError as error:
                if len(group.programs) == 1:
                    failures[self._keys[group.programs[0]]] = str(error)
                else:  # one of them fails: each alone
                    waiting += [self._bank.group([place]) for place in group.programs]
                continue
            for place, pattern in zip(group.programs, patterns.unbind(1), strict=True):
                found[self._keys[place]] = pattern
        return found, failures


def patterns_from(
    model: Model,
    programs: Iterable[Program],
    needed: Collection[str],
    others: Callable[[int], Mapping[str, Tensor]] = lambda num_tokens: {},
) -> PatternsOf:
    """The patterns of the programs whose key is needed, and others that know only a length."""
    needed = set(needed)
    of_programs = ProgramPatterns(model, (p for p in programs if p.key in needed))

    def of(batch: Batch) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
        patterns, failures = of_programs.of(batch)
        return {**patterns, **others(batch.ids.shape[1])}, failures

    return of


@dataclass(frozen=True)
class Baselines:
    """What replaces heads for comparison."""

    named: dict[str, dict[Head, str]]
    """Baseline -> head -> the name of the pattern that takes its place."""
    programs: list[Program]
    """Those whose patterns are among them, named by their keys."""
    left_out: dict[str, str]
    """Baselines that cannot be made, and why."""
    _means: dict[int, MeanByPosition]
    """By layer; none where they cannot be made."""

    @classmethod
    def of(
        cls, run: Run, version: str, programs: Mapping[Head, Program], *, longest: int, seed: int
    ) -> Baselines:
        """The baselines for heads that have programs, on texts of at most `longest` tokens."""
        heads = list(programs)
        order = torch.randperm(len(heads), generator=torch.Generator().manual_seed(seed)).tolist()
        drawn = {head: programs[heads[place]] for head, place in zip(heads, order, strict=True)}
        named = {name: dict.fromkeys(heads, name) for name in SIMPLE}
        left_out = {}
        means = means_of(run, heads, longest)
        if means is None:
            left_out[MEAN] = "the run's recording of the fit texts is gone"
        else:
            named[MEAN] = {head: f"{MEAN} {head}" for head in heads}
        named[RANDOM] = {head: program.key for head, program in drawn.items()}
        intended = _intended(run, version, heads)
        if isinstance(intended, str):
            left_out[INTENDED] = intended
            intended = {}
        else:
            named[INTENDED] = {head: program.key for head, program in intended.items()}
        return cls(named, [*programs.values(), *intended.values()], left_out, means or {})

    def patterns(self, num_tokens: int) -> dict[str, Tensor]:
        """Those patterns (n, n) by name that are no program's."""
        uniform = torch.ones(num_tokens, num_tokens).tril()
        first = torch.zeros(num_tokens, num_tokens)
        first[:, 0] = 1
        silent = torch.zeros(num_tokens, num_tokens)
        found = dict(
            zip(SIMPLE, (uniform / uniform.sum(1, keepdim=True), first, silent), strict=True)
        )
        for layer, mean in self._means.items():
            heads = [head for head in self.named[MEAN] if head.layer == layer]
            for head, cells in zip(heads, mean.packed(num_tokens), strict=True):
                found[f"{MEAN} {head}"] = unpack(cells, num_tokens, causal=True)
        return found


def _intended(run: Run, version: str, heads: Sequence[Head]) -> dict[Head, Program] | str:
    """The programs that the heads' own searches wrote; or why they are not known."""
    if version != FOUND:
        return f"the programs {version!r} were tuned after the choice among all was made"
    try:
        frontiers = read_frontiers(run, sorted({head.layer for head in heads}))
    except HeadscriptError:
        return "what the search found is not in the run any more"
    return {head: write_program(run, frontiers[head])[0] for head in heads if head in frontiers}


@dataclass(frozen=True)
class Source:
    """What patterns of a sweep are made from, here or elsewhere: programs, or their baselines."""

    version: str
    programs: Mapping[Head, Program]
    needed: Collection[str]
    """Names of the patterns that are wanted of it."""
    longest: int = 0
    """Tokens of the longest text, for baselines; 0 for the programs alone."""
    seed: int = 0
    """Of the baselines."""

    def patterns_of(self, run: Run, model: Model) -> PatternsOf:
        """The patterns that are needed."""
        if not self.longest:
            return patterns_from(model, self.programs.values(), self.needed)
        made = Baselines.of(run, self.version, self.programs, longest=self.longest, seed=self.seed)
        return patterns_from(model, made.programs, self.needed, made.patterns)

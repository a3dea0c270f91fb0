"""How likely a model finds answers to prompts, with different heads replaced.

A question is a prompt and a few answers to it. The prompt is read once, whatever the number of its
answers, which then go on from its key-value cache; and what programs need of the tokens is computed
once for all the replacements that are compared. Only the logits that are asked for are computed.

Shapes: prompts P, answers A, tokens of the longest prompt n or answer m, vocabulary V.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from headscript.heads import Head
from headscript.language import Text
from headscript.models import Model
from headscript.models.attention import mixing
from headscript.models.probe import padding_id
from headscript.programs.bank import Features
from headscript.replacement import Pattern, Replacement

BATCH_SIZE = 16
"""Answers scored at a time."""
_ALIKE = 8  # tokens; lengths that differ by less are alike


class Pair(NamedTuple):
    """A prompt and an answer to it, as token ids; neither is empty."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Likelihood(NamedTuple):
    """What a model makes of an answer."""

    log_likelihood: float
    """Of the answer given the prompt, in nats, summed over its tokens."""
    greedy: bool
    """Whether each of its tokens is the model's likeliest."""


class Scorer:
    """Scores answers under a model, once for each of several assignments of programs to heads.

    An assignment may be empty: then the model is as it was. `batch_size` is how many answers are
    scored at a time, at least those of one prompt. The network is left as it was.

    Raises HeadscriptError for what cannot be replaced; see `headscript.replaced`.
    """

    def __init__(
        self,
        model: Model,
        assignments: Sequence[Mapping[Head, Pattern]],
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        union = {head: pattern for given in assignments for head, pattern in given.items()}
        everything = _Replacement(model, union)
        self.replacements: list[Replacement | None] = []
        for assignment in assignments:
            # Where two assignments give a head different patterns, they cannot share a bank.
            shared = all(union[head] is pattern for head, pattern in assignment.items())
            own = everything.restricted(assignment) if shared else Replacement(model, assignment)
            self.replacements.append(own if assignment else None)
        self._features = everything.kept
        takes = inspect.signature(model.network.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._takes_logits_to_keep = "logits_to_keep" in takes
        # The state of a convolution or a recurrence is not to be had for a part of a batch.
        layers = DynamicCache(config=model.network.config).layers
        self._goes_on = all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
        )

    def __call__(
        self, pairs: Sequence[Pair], on_done: Callable[[int], None] = lambda done: None
    ) -> list[list[Likelihood]]:
        """The likelihoods of `pairs` in their order, for each assignment.

        `on_done` is told how many pairs are done, after each batch. A pair must fit: prompt and
        answer together have at most one token more than the model takes.
        """
        found: list[dict[int, Likelihood]] = [{} for _ in self.replacements]
        for batch in self._batches(pairs):
            for results, replacement in zip(found, self.replacements, strict=True):
                open_door = (
                    nullcontext()
                    if replacement is None
                    else mixing(self.model.network, replacement)
                )
                with torch.no_grad(), open_door:
                    results.update(self._scored(batch, pairs))
            self._features.clear()
            on_done(len(found[0]) if found else 0)
        return [[results[number] for number in range(len(pairs))] for results in found]

    def _batches(self, pairs: Sequence[Pair]) -> list[dict[tuple[int, ...], list[int]]]:
        """Prompts with the numbers of their pairs: the longest first, like lengths together.

        Where prompts have more tokens than answers, their length counts first, and the reverse.
        """
        of_prompt: dict[tuple[int, ...], list[int]] = {}
        for number, pair in enumerate(pairs):
            of_prompt.setdefault(pair.prompt, []).append(number)
        of_answer = {
            prompt: max(len(pairs[number].answer) for number in numbers)
            for prompt, numbers in of_prompt.items()
        }
        by_prompt = sum(map(len, of_prompt)) > sum(len(pair.answer) for pair in pairs)

        def size(prompt: tuple[int, ...]) -> tuple[int, int]:
            long, short = len(prompt), of_answer[prompt]
            if not by_prompt:
                long, short = short, long
            return long // _ALIKE, short

        batches: list[dict[tuple[int, ...], list[int]]] = []
        room = 0
        for prompt in sorted(of_prompt, key=size, reverse=True):
            numbers = of_prompt[prompt]
            if len(numbers) > room:
                batches.append({})
                room = self.batch_size
            batches[-1][prompt] = numbers
            room -= len(numbers)
        return batches

    def _scored(
        self, batch: dict[tuple[int, ...], list[int]], pairs: Sequence[Pair]
    ) -> dict[int, Likelihood]:
        numbers = [number for of_prompt in batch.values() for number in of_prompt]
        answers = [pairs[number].answer for number in numbers]
        if self._goes_on:
            owner = [place for place, own in enumerate(batch.values()) for _ in own]
            rows = self._going_on(list(batch), owner, answers)
        else:
            rows = self._whole([pairs[number] for number in numbers])
        return {
            number: _likelihood(logits, answer)
            for number, logits, answer in zip(numbers, rows, answers, strict=True)
        }

    def _going_on(
        self,
        prompts: Sequence[tuple[int, ...]],
        owner: Sequence[int],
        answers: Sequence[tuple[int, ...]],
    ) -> list[Tensor]:
        """Logits (tokens of the answer, V) of each answer; `owner` says which prompt's it is."""
        # Padding on the left keeps the tokens of a row together when answers go on from them.
        ids, mask = self._padded(prompts, left=True)
        out = self._forward(ids, mask, mask, last=True)
        rows = [out.logits[place, -1:] for place in owner]
        longer = [number for number, answer in enumerate(answers) if len(answer) > 1]
        if longer:
            places = torch.tensor([owner[number] for number in longer])
            out.past_key_values.batch_select_indices(places.to(self.model.device))
            ids, added = self._padded([answers[number][:-1] for number in longer])
            out = self._forward(
                ids, torch.cat([mask[places], added], 1), added, cache=out.past_key_values
            )
            for number, logits in zip(longer, out.logits, strict=True):
                rows[number] = torch.cat([rows[number], logits[: len(answers[number]) - 1]])
        return rows

    def _whole(self, pairs: Sequence[Pair]) -> list[Tensor]:
        """The same with each answer behind a prompt of its own."""
        ids, mask = self._padded([pair.prompt + pair.answer[:-1] for pair in pairs])
        logits = self._forward(ids, mask, mask, use_cache=False).logits
        firsts = [len(pair.prompt) - 1 for pair in pairs]
        return [
            row[first : first + len(pair.answer)]
            for row, first, pair in zip(logits, firsts, pairs, strict=True)
        ]

    def _padded(
        self, rows: Sequence[tuple[int, ...]], *, left: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Token ids and mask (rows, tokens of the longest)."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), padding_id(self.model.network))
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            place = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return ids, mask

    def _forward(
        self,
        ids: Tensor,
        mask: Tensor,
        new: Tensor,
        *,
        cache: Any = None,
        use_cache: bool = True,
        last: bool = False,
    ) -> Any:
        """One pass; `mask` covers the cached tokens too, `new` those of this pass."""
        device = self.model.device
        wanted: dict[str, Any] = {"past_key_values": cache} if cache is not None else {}
        if not bool(mask.all()):  # without a mask, attention is faster
            wanted["attention_mask"] = mask.to(device)
            if self._takes_positions:
                positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -new.shape[1] :]
                wanted["position_ids"] = positions.to(device)
        if last and self._takes_logits_to_keep:
            wanted["logits_to_keep"] = 1
        return self.model.network(ids.to(device), use_cache=use_cache, **wanted)


class _Replacement(Replacement):
    """Keeps the features of texts until they are dropped; what is restricted shares them."""

    def __init__(self, model: Model, assignment: Mapping[Head, Pattern]) -> None:
        super().__init__(model, assignment)
        self.kept: dict[tuple[tuple[tuple[int, ...], int], ...], Features] = {}

    def features_of(self, texts: list[Text], before: Features | None) -> Features:
        """What the programs need of the texts of a pass."""
        key = tuple((tuple(text.token_ids.tolist()), text.first_query) for text in texts)
        if key not in self.kept:
            self.kept[key] = super().features_of(texts, before)
        return self.kept[key]


def _likelihood(logits: Tensor, answer: tuple[int, ...]) -> Likelihood:
    """Of an answer whose tokens were predicted by logits (tokens, V)."""
    tokens = torch.tensor(answer, device=logits.device)
    # In the harness's own way: in float32 others differ by as much as 1e-5 a token.
    chosen = logits.log_softmax(-1).gather(1, tokens[:, None])
    return Likelihood(float(chosen.sum()), bool((logits.argmax(-1) == tokens).all()))

"""A model run on the same texts again and again, each time with other heads replaced.

What takes a head's place is a pattern of the batch, known before the pass, so that programs are
evaluated once a text however many sets of heads are tried. Layers below the first one that differs
from an earlier pass do again what they did then: that pass left a trace, and they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from headscript.heads import Head
from headscript.models import Model
from headscript.models.attention import Pass, Replaced, mixing
from headscript.models.probe import padding_id

Placed = frozenset[tuple[Head, str]]
"""Replaced heads, each with the name of the pattern in its place."""

NOTHING: Placed = frozenset()

_PROBE = (8, 5)  # tokens of the made-up texts on which leaving out layers is tried
_TOLERANCE = 1e-5  # of the largest logit


@dataclass(frozen=True)
class Batch:
    """Some texts of at least two tokens, padded on the right."""

    members: tuple[int, ...]
    """Their places among all texts."""
    texts: tuple[tuple[int, ...], ...]
    """Token ids."""
    ids: Tensor
    """(B, n)"""
    mask: Tensor
    """(B, n), 1 for a token and 0 for padding."""

    @classmethod
    def of(cls, members: Sequence[int], texts: Sequence[Sequence[int]], padding: int) -> Batch:
        """Make a batch of texts whose places among all are `members`."""
        longest = max(map(len, texts))
        ids = torch.full((len(texts), longest), padding)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        return cls(tuple(members), tuple(map(tuple, texts)), ids, mask)

    def predicting(self, logits: Tensor) -> Tensor:
        """Of logits (B, n, vocabulary), those that predict a token of a text: (places, vocabulary).

        All but the last of each text, whose next token nobody knows.
        """
        return logits[:, :-1][self.mask[:, 1:].bool().to(logits.device)]

    @cached_property
    def predicted(self) -> Tensor:
        """(places,) the tokens that are predicted."""
        return self.ids[:, 1:][self.mask[:, 1:].bool()]

    @cached_property
    def text_of(self) -> Tensor:
        """(places,) the row of the batch that each belongs to."""
        return self.mask[:, 1:].bool().nonzero()[:, 0]


def batches(texts: Sequence[Sequence[int]], tokens: int, padding: int) -> Iterator[Batch]:
    """Texts of like length together, at most `tokens` with padding, or one longer text alone."""
    members: list[int] = []
    for number in sorted(range(len(texts)), key=lambda number: (len(texts[number]), number)):
        if members and (len(members) + 1) * len(texts[number]) > tokens:
            yield Batch.of(members, [texts[member] for member in members], padding)
            members = []
        members.append(number)
    if members:
        yield Batch.of(members, [texts[member] for member in members], padding)


@dataclass(frozen=True)
class Trace:
    """What the layers gave out in a pass."""

    placed: Placed
    outputs: Mapping[int, Any]


class Passes:
    """Forward passes of one model; a context manager, inside which its attention is open.

    `patterns` of a pass are (n, n) or (B, n, n) by name, rows that sum to 1 or to 0.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._source = _Placed()
        self._layers = _layers_of(model)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(mixing(self.model.network, self._source))
        try:
            if not self._may_leave_out():
                self._layers = []
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def logits(
        self,
        batch: Batch,
        placed: Placed = NOTHING,
        patterns: Mapping[str, Tensor] | None = None,
        *,
        after: Trace | None = None,
    ) -> Tensor:
        """Logits (B, n, vocabulary); `after` is the trace of another pass over the same batch."""
        return self._run(batch, placed, patterns or {}, after, {})

    def traced(
        self,
        batch: Batch,
        placed: Placed = NOTHING,
        patterns: Mapping[str, Tensor] | None = None,
        *,
        after: Trace | None = None,
    ) -> tuple[Tensor, Trace]:
        """The same, and the pass's trace."""
        outputs: dict[int, Any] = {}
        with ExitStack() as hooks:
            for number, layer in enumerate(self._layers):

                def keep(module: nn.Module, args: Any, output: Any, number: int = number) -> None:
                    outputs[number] = output

                hooks.callback(layer.register_forward_hook(keep).remove)
            logits = self._run(batch, placed, patterns or {}, after, outputs)
        return logits, Trace(placed, outputs)

    @torch.no_grad()
    def _run(
        self,
        batch: Batch,
        placed: Placed,
        patterns: Mapping[str, Tensor],
        after: Trace | None,
        outputs: Mapping[int, Any],
    ) -> Tensor:
        known: Mapping[int, Any] = {}
        if after is not None and self._layers:
            different = after.placed ^ placed
            first = min((head.layer for head, _ in different), default=len(self._layers))
            known = {number: after.outputs[number] for number in range(first)}
        padded = not bool(batch.mask.all())
        device = self.model.device
        self._source.place(placed, patterns)
        try:
            with _left_out(self._layers, known):
                result = self.model.network(
                    batch.ids.to(device),
                    attention_mask=batch.mask.to(device) if padded else None,
                    use_cache=False,
                )
        finally:
            self._source.place(NOTHING, {})
        logits: Tensor = result.logits
        return logits

    def _may_leave_out(self) -> bool:
        """Try on made-up texts whether leaving layers out gives the same as running them."""
        heads = self.model.heads
        if not self._layers or max(head.layer for head in heads) >= len(self._layers):
            return False
        size = int(self.model.network.config.get_text_config().vocab_size)
        texts = [[(7 * place + 1) % size for place in range(length)] for length in _PROBE]
        batch = Batch.of(range(len(texts)), texts, padding_id(self.model.network))
        silent = {"silent": torch.zeros(max(_PROBE), max(_PROBE))}
        _, trace = self.traced(batch)
        for head in (heads[len(heads) // 2], heads[-1]):
            placed = frozenset({(head, "silent")})
            whole = batch.predicting(self.logits(batch, placed, silent))
            short = batch.predicting(self.logits(batch, placed, silent, after=trace))
            furthest = float((whole - short).abs().max())
            if not furthest <= _TOLERANCE * float(whole.abs().max()):
                return False
        return True


class _Placed:
    """A source of patterns that are known before the pass."""

    def __init__(self) -> None:
        self._names: dict[int, list[tuple[Head, str]]] = {}
        self._patterns: Mapping[str, Tensor] = {}
        self._shape = (0, 0)

    def place(self, placed: Placed, patterns: Mapping[str, Tensor]) -> None:
        self._patterns = patterns
        self._names = {}
        for head, name in sorted(placed):
            self._names.setdefault(head.layer, []).append((head, name))

    def begin(self, this: Pass) -> None:
        self._shape = (this.token_ids.shape[0], this.token_ids.shape[1])

    def end(self, cache: Any) -> None:
        pass

    def patterns(self, layer: int, num_keys: int, device: torch.device) -> Replaced | None:
        here = self._names.get(layer)
        if here is None:
            return None
        size, length = self._shape
        found = [self._patterns[name].expand(size, length, length) for _, name in here]
        index = torch.tensor([head.head for head, _ in here], device=device)
        return Replaced(index, torch.stack(found, 1).to(device))  # (B, h, n, n)


@contextmanager
def _left_out(layers: Sequence[nn.Module], known: Mapping[int, Any]) -> Iterator[None]:
    """While inside, layers whose output is known give it out at once."""
    before = [(layer, layer.__dict__.get("forward")) for layer in layers[: len(known)]]
    try:
        for number, (layer, _) in enumerate(before):
            layer.forward = lambda *args, number=number, **options: known[number]
        yield
    finally:
        for layer, forward in before:
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


def _layers_of(model: Model) -> list[nn.Module]:
    """The layers of a network in their order; none where they do not stand in one list."""
    config = model.network.config.get_text_config()
    number = getattr(config, "num_hidden_layers", None)
    lists = (part for part in model.network.base_model.modules() if type(part) is nn.ModuleList)
    return next((list(found) for found in lists if len(found) == number), [])

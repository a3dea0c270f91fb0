"""Programs in the place of heads, inside the running model.

    with headscript.replaced(model, {Head(5, 3): program}) as network:
        network.generate(...)

A replaced head keeps its values and its output projection; which token it looks at, the program
decides, from the tokens alone. Everything a network can do goes on: batches, padding, generation
with a cache, half precision, layers on several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.language.text import Text, TextReader
from headscript.models import Model
from headscript.models.attention import Pass, Replaced, mixing
from headscript.models.notes import note_of, put_note
from headscript.programs.bank import Bank, Features, Group
from headscript.programs.program import Program

Pattern = Program | Callable[[Text], Tensor]
"""What can take a head's place: a program, or any function of a text to its (n, n) pattern."""

Assignment = Mapping[Head, Pattern] | Iterable[tuple[Head, Pattern]]
"""The heads to replace, and by what."""

_ROW_TOLERANCE = 1e-3


@contextmanager
def replaced(
    model: Model, assignment: Assignment, *, allow_inconsistent: bool = False
) -> Iterator[PreTrainedModel]:
    """While inside, heads of the model's network look where their programs say.

    Gives the network itself, to be used as ever. On the way out, also by an exception, it is what
    it was. Programs of a decoder must be prefix-consistent, for what they say of a token would
    change with what follows; `allow_inconsistent` admits others. A function in the place of a
    program gives an (n, n) pattern whose rows sum to 1, or to 0 for a head that is silent.

    Raises HeadscriptError for a head that is not there or assigned twice, a program that is not
    prefix-consistent, a network whose heads are replaced already; and in a forward pass for a
    pattern that is none and for input that does not say which tokens it is about.
    """
    with mixing(model.network, Replacement(model, assignment, allow_inconsistent)):
        yield model.network


class Replacement:
    """Gives the attention of a network the patterns of its replaced heads, pass by pass."""

    def __init__(
        self, model: Model, assignment: Assignment, allow_inconsistent: bool = False
    ) -> None:
        patterns = check_assignment(model, assignment, allow_inconsistent=allow_inconsistent)
        programs = {head: p for head, p in patterns.items() if isinstance(p, Program)}
        self.bank = Bank(list(programs.values()), causal=model.causal)
        self.constants: Tensor | None = None
        """Stands for the programs' constants where it is not None; may ask for gradients."""
        self._functions = {
            head: pattern for head, pattern in patterns.items() if not isinstance(pattern, Program)
        }
        self._places = {head: place for place, head in enumerate(programs)}
        self._choose(patterns)
        self._read = model.reader(programs.values())
        self._max_tokens = model.max_tokens
        self._history = _History.empty()
        self._features: dict[torch.device, Features] = {}
        self._at_once: dict[torch.device, Tensor] = {}

    def restricted(self, heads: Iterable[Head]) -> Replacement:
        """The same for some of the heads alone; what programs share is not built again."""
        other = copy(self)
        other._choose({*self._places, *self._functions} & set(heads))
        return other

    def feature_bounds(self, texts: Iterable[Sequence[int]]) -> Tensor:
        """`Bank.feature_bounds` on texts of these token ids."""
        return self.bank.feature_bounds(self._read(ids) for ids in texts)

    def _choose(self, heads: Iterable[Head]) -> None:
        self._layers: dict[int, _Layer] = {}
        of_bank: list[int] = []
        for head in sorted(heads):
            layer = self._layers.setdefault(head.layer, _Layer(len(of_bank)))
            layer.heads.append(head)
            if head in self._places:
                of_bank.append(self._places[head])
        for layer in self._layers.values():
            programs = [self._places[head] for head in layer.heads if head in self._places]
            layer.group = self.bank.group(programs)
        self._everything = self.bank.group(of_bank)

    # A pass --------------------------------------------------------------------------------------

    def begin(self, this: Pass) -> None:
        """Read the tokens of a pass, behind those that its cache holds."""
        self._history = self._history_of(this.cache).joined(this, self._max_tokens)
        features = self.features_of(self._history.read(self._read), self._history.features)
        self._history.features = features
        self._features = {features.query.device: features}
        self._at_once = {}

    def features_of(self, texts: list[Text], before: Features | None) -> Features:
        """What the programs need of the texts of a pass."""
        return self.bank.features(texts, before)

    def end(self, cache: Any) -> None:
        """Remember which tokens the cache holds."""
        if cache is not None:
            put_note(cache, self, self._history)
        self._history, self._features, self._at_once = _History.empty(), {}, {}

    def patterns(self, layer: int, num_keys: int, device: torch.device) -> Replaced | None:
        """The patterns of a layer's replaced heads, laid out as the pass has its tokens."""
        if layer not in self._layers:
            return None
        if not self._features:
            raise HeadscriptError(
                "A layer of a model with replaced heads was called by itself, so that nobody knows "
                "of which tokens; call the model."
            )
        chosen = self._layers[layer]
        found = self._of_texts(chosen, device)  # (B, h, rows, tokens)
        return Replaced(chosen.indices_on(device), self._history.laid_out(found, num_keys))

    def _of_texts(self, layer: _Layer, device: torch.device) -> Tensor:
        if device not in self._features:
            self._features[device] = next(iter(self._features.values())).to(device)
        features = self._features[device]
        found = self._of_bank(layer, features) if layer.group.programs else None
        if len(layer.group.programs) == len(layer.heads):
            assert found is not None
            return found
        from_bank = iter(found.unbind(1)) if found is not None else iter(())
        rows, longest = features.hidden.shape[-2:]
        return torch.stack(
            [
                _evaluated(head, self._functions[head], features.texts, rows, longest).to(device)
                if head in self._functions
                else next(from_bank)
                for head in layer.heads
            ],
            1,
        )

    def _of_bank(self, layer: _Layer, features: Features) -> Tensor:
        """The patterns of a layer's programs; of few rows, those of all layers in one go."""
        differentiable = self.constants is not None and self.constants.requires_grad
        if not features.few_rows or (differentiable and torch.is_grad_enabled()):
            return self.bank.patterns(layer.group, features, self.constants)
        device = features.query.device
        if device not in self._at_once:
            everything = self.bank.patterns(self._everything, features, self.constants)
            self._at_once[device] = everything
        return self._at_once[device][:, layer.start : layer.start + len(layer.group.programs)]

    def _history_of(self, cache: Any) -> _History:
        held = 0 if cache is None else int(cache.get_seq_length())
        if held == 0:
            return _History.empty()
        found: _History | None = note_of(cache, self)
        if found is None or found.length < held:
            raise HeadscriptError(
                "The key-value cache holds tokens from before the heads were replaced, which "
                "programs cannot see; start with a new cache."
            )
        return found if found.length == held else found.cropped(held)


@dataclass
class _Layer:
    """The replaced heads of a layer."""

    start: int
    """How many programs the layers before have."""
    heads: list[Head] = field(default_factory=list)
    """Sorted."""
    group: Group = field(default_factory=lambda: Group([]))
    """Those of them that have a program."""
    _indices: dict[torch.device, Tensor] = field(default_factory=dict)

    def indices_on(self, device: torch.device) -> Tensor:
        """(h,) the heads' numbers in the layer."""
        if device not in self._indices:
            with torch.inference_mode(False):  # they are kept, and may be used with gradients
                numbers = [head.head for head in self.heads]
                self._indices[device] = torch.tensor(numbers, device=device)
        return self._indices[device]


class Switch:
    """A source of patterns that can be another one in each pass; None leaves heads as they are."""

    def __init__(self, source: Replacement | None = None) -> None:
        self.source = source

    def begin(self, this: Pass) -> None:
        """Get ready for a pass."""
        if self.source is not None:
            self.source.begin(this)

    def end(self, cache: Any) -> None:
        """The pass is over."""
        if self.source is not None:
            self.source.end(cache)

    def patterns(self, layer: int, num_keys: int, device: torch.device) -> Replaced | None:
        """The patterns of a layer's replaced heads; None where it has none."""
        return None if self.source is None else self.source.patterns(layer, num_keys, device)


class _History:
    """The tokens that a cache holds, and which of them are padding."""

    def __init__(self, token_ids: Tensor, real: Tensor, num_new: int) -> None:
        self.token_ids = token_ids  # (B, length)
        self.real = real  # (B, length) bool
        self.num_new = num_new
        self.features: Features | None = None
        self._places: tuple[Tensor, Tensor] | None = None

    @classmethod
    def empty(cls) -> _History:
        nothing = torch.zeros(0, 0, dtype=torch.long)
        return cls(nothing, nothing.bool(), 0)

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def length(self) -> int:
        return self.token_ids.shape[1]

    def joined(self, this: Pass, max_tokens: int) -> _History:
        """The history after another pass, with the features of the texts so far."""
        new = this.token_ids.cpu()
        before = self if self.length else _History(new[:, :0], new[:, :0].bool(), 0)
        if len(new) != len(before):
            raise HeadscriptError(f"The cache holds {len(before)} texts and {len(new)} were given.")
        ids = torch.cat([before.token_ids, new], 1)
        if this.attention_mask is not None:
            real = this.attention_mask.cpu().bool()[:, : ids.shape[1]]
            if real.shape != ids.shape:
                raise HeadscriptError(
                    f"The attention mask is for {real.shape[1]} tokens and there are "
                    f"{ids.shape[1]}; with a cache it covers the cached ones too."
                )
        else:
            of_new = torch.ones_like(new) if this.real is None else this.real.cpu()
            real = torch.cat([before.real, of_new.bool()], 1)
        longest = int(real.sum(1).max())
        if longest > max_tokens:
            raise HeadscriptError(
                f"A text of {longest} tokens is longer than the {max_tokens} that the model takes; "
                "shorten it."
            )
        joined = _History(ids, real, new.shape[1])
        if torch.equal(real[:, : before.length], before.real):
            joined.features = before.features
        return joined

    def cropped(self, length: int) -> _History:
        """The history of a cache that was cut to fewer tokens."""
        cut = _History(self.token_ids[:, :length], self.real[:, :length], 0)
        if self.features is not None:
            counts = cut.real.sum(1)
            cut.features = self.features.cut(int(counts.max())) if len(counts) else None
        return cut

    def selected(self, rows: Tensor) -> _History:
        """The history of a cache whose texts were reordered, repeated or left out."""
        chosen = _History(self.token_ids[rows], self.real[rows], self.num_new)
        chosen.features = None if self.features is None else self.features.selected(rows)
        return chosen

    def read(self, reader: TextReader) -> list[Text]:
        """The texts, padding left out, with the rows of the last pass."""
        texts = []
        for ids, real in zip(self.token_ids, self.real, strict=True):
            first = int(real[: self.length - self.num_new].sum())
            texts.append(reader(ids[real].tolist(), first_query=first))
        return texts

    def laid_out(self, patterns: Tensor, num_keys: int) -> Tensor:
        """Patterns over texts (B, h, rows, tokens) as the pass has them: (B, h, Q, num_keys).

        A sliding window's cache has only the last keys, a static one room for more.
        """
        if not bool(self.real.all()):
            patterns = self._with_padding(patterns)
        if num_keys < self.length:
            kept = patterns[..., self.length - num_keys :]
            patterns = kept / kept.sum(-1, keepdim=True).clamp_min(1e-30)
        elif num_keys > self.length:
            patterns = torch.nn.functional.pad(patterns, (0, num_keys - self.length))
        return patterns

    def _with_padding(self, patterns: Tensor) -> Tensor:
        if self._places is None:
            # Where each place of the batch lies in its text; padding points behind the end.
            place = self.real.cumsum(1) - 1
            first = self.real[:, : self.length - self.num_new].sum(1, keepdim=True)
            rows, longest = patterns.shape[-2:]
            query = torch.where(self.real, place - first, rows)[:, self.length - self.num_new :]
            self._places = query, torch.where(self.real, place, longest)
        query, key = (places.to(patterns.device) for places in self._places)
        padded = torch.nn.functional.pad(patterns, (0, 1, 0, 1))
        texts = torch.arange(len(padded), device=patterns.device)[:, None, None]
        # Indices at the first, third and fourth axis put the heads last.
        return padded[texts, :, query[:, :, None], key[:, None, :]].permute(0, 3, 1, 2)


def check_assignment(
    model: Model, assignment: Assignment, *, allow_inconsistent: bool = False
) -> dict[Head, Pattern]:
    """The assignment as a dictionary; raises HeadscriptError for what cannot be replaced so."""
    pairs = list(assignment.items() if isinstance(assignment, Mapping) else assignment)
    known, found = set(model.heads), {}
    for head, pattern in pairs:
        if head not in known:
            raise HeadscriptError(f"{model.name} has no head {head}.")
        if head in found:
            raise HeadscriptError(f"{head} is assigned two programs; give one.")
        if (
            isinstance(pattern, Program)
            and model.causal
            and not (pattern.prefix_consistent or allow_inconsistent)
        ):
            raise HeadscriptError(
                f"The program for {head} is not prefix-consistent: what it says of a token may "
                "change with later ones, so a decoder cannot run on it (--allow-inconsistent "
                "admits it and marks the result)."
            )
        found[head] = pattern
    return found


def _evaluated(
    head: Head, function: Callable[[Text], Tensor], texts: list[Text], rows: int, longest: int
) -> Tensor:
    """A function's patterns on texts, (B, rows, longest), checked."""
    found = torch.zeros(len(texts), rows, longest)
    for number, text in enumerate(texts):
        whole = text.from_first_query() if text.first_query else text
        pattern = function(whole)
        n = len(text)
        if not isinstance(pattern, Tensor) or pattern.shape != (n, n):
            shape = tuple(pattern.shape) if isinstance(pattern, Tensor) else type(pattern).__name__
            raise HeadscriptError(
                f"What replaces {head} gives {shape} on a text of {n} tokens, not ({n}, {n})."
            )
        sums = pattern.sum(-1)
        right = ((sums - 1).abs() <= _ROW_TOLERANCE) | (sums == 0)
        if not bool(right.all()) or bool((pattern < 0).any()):
            raise HeadscriptError(
                f"What replaces {head} gives no attention pattern on a text of {n} tokens: rows "
                "must be finite, not negative, and sum to 1."
            )
        if text.causal and bool(pattern.triu(1).any()):
            raise HeadscriptError(
                f"What replaces {head} looks at tokens after the query, which a decoder cannot."
            )
        found[number, : n - text.first_query, :n] = pattern[text.first_query :]
    return found

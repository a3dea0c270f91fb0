"""The one door to a model's attention: a function registered in transformers' AttentionInterface.

transformers asks its AttentionInterface, by name, for the function that turns queries, keys and
values into a layer's output. headscript registers one under `ATTENTION_NAME`. It gives SDPA's own
output, hands the attention weights of the layers somebody observes to a callback, and mixes the
values of replaced heads by patterns that come from elsewhere. Only these weights are computed;
every other layer is plain SDPA. Who asks for nothing but the weights gets them faster: then they
also mix the values, in the place of SDPA, as eager attention does.

The mask function of SDPA is registered under the same name: without it transformers would build no
mask at all for an attention function it does not know, and decoders would see the future.

Shapes: batch B, query heads H, key and value heads G (H a multiple of G), queries Q, keys K,
head size D.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from headscript.errors import HeadscriptError

ATTENTION_NAME = "headscript"

SUPPORTED = (
    "Llama, Mistral, Qwen, Gemma, Phi, OLMo, Granite, SmolLM, GPT-2, GPT-NeoX (Pythia), OPT, BERT, "
    "RoBERTa, DistilBERT, ModernBERT and the other families that dispatch through transformers' "
    "AttentionInterface"
)

OnPattern = Callable[[int, Tensor], None]


@dataclass
class Pass:
    """One forward pass through a network, as the source of patterns needs to know it."""

    token_ids: Tensor
    """(B, Q) the tokens of this pass."""
    attention_mask: Tensor | None
    """(B, K) 1 for a token and 0 for padding, those of the cache included; None: no padding."""
    cache: Any
    """The key-value cache that the pass goes on from, or None."""
    real: Tensor | None = None
    """(B, Q) bool, in place of a mask: False for padding among the tokens of this pass."""


class PatternSource(Protocol):
    """Where the patterns of replaced heads come from."""

    def begin(self, this: Pass) -> None:
        """Get ready for a pass."""

    def end(self, cache: Any) -> None:
        """The pass is over or has failed; this is the cache it returned, or None."""

    def patterns(self, layer: int, num_keys: int, device: torch.device) -> Replaced | None:
        """The patterns of a layer's replaced heads in this pass; None where it has none."""


@dataclass(frozen=True)
class Replaced:
    """The replaced heads of a layer."""

    heads: Tensor
    """(h,) their indices, sorted, on the layer's device."""
    patterns: Tensor
    """(B, h, Q, K), zero where a query must not look."""


class _Door:
    """What somebody wants of one network's attention while its door is open."""

    def __init__(
        self,
        layers: Collection[int] | None,
        on_pattern: OnPattern,
        source: PatternSource | None,
        mixed_by_weights: bool = False,
    ) -> None:
        self.layers = None if layers is None else frozenset(layers)
        self.on_pattern = on_pattern
        self.source = source
        self.mixed_by_weights = mixed_by_weights
        self._calls = 0

    def start_of_pass(self, *_: object) -> None:
        """A forward pre-hook: layers that carry no index are counted from here."""
        self._calls = 0

    def layer_of(self, module: nn.Module) -> int:
        """The layer an attention module belongs to: its own index, else its turn in the pass."""
        turn, self._calls = self._calls, self._calls + 1
        index = getattr(module, "layer_idx", None)
        return index if isinstance(index, int) else turn

    def wants(self, layer: int) -> bool:
        return self.layers is None or layer in self.layers


# Which door a module of an open network belongs to. Weak: a network that is gone leaves nothing.
_doors: WeakKeyDictionary[nn.Module, _Door] = WeakKeyDictionary()


def attention_weights(
    module: nn.Module,
    query: Tensor,  # (B, H, Q, D)
    key: Tensor,  # (B, G, K, D)
    attention_mask: Tensor | None,  # (B or 1, H or 1, Q, K), boolean or added to the scores
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
) -> Tensor:
    """Compute softmax(q k^T) as SDPA does inside: (B, H, Q, K), float32, rows summing to 1."""
    batch, num_heads, num_queries, head_size = query.shape
    num_groups, num_keys = key.shape[1], key.shape[2]
    scale = head_size**-0.5 if scaling is None else scaling
    # The query heads of a group share a key head: fold them into the rows instead of copying keys.
    folded = query.float().reshape(batch, num_groups, -1, head_size) * scale  # (B, G, H/G * Q, D)
    scores = (folded @ key.float().transpose(2, 3)).view(batch, num_heads, num_queries, num_keys)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if position_bias is not None:
        scores = scores + position_bias.float()
    lowest = torch.finfo(torch.float32).min
    if attention_mask is None:
        # The mask is left out where the module's own causality says it all, as in SDPA.
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        if causal and num_queries > 1:
            future = torch.ones(num_queries, num_keys, dtype=torch.bool, device=scores.device)
            scores = scores.masked_fill_(future.triu_(1), lowest)
    elif attention_mask.dtype == torch.bool:
        scores = scores.masked_fill_(~attention_mask, lowest)
    else:
        scores = scores.add_(attention_mask.float())
    return scores.softmax(-1)


def attend(
    module: nn.Module,
    query: Tensor,  # (B, H, Q, D)
    key: Tensor,  # (B, G, K, D)
    value: Tensor,  # (B, G, K, D)
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer, as transformers calls it; returns the output (B, Q, H, D).

    Raises HeadscriptError for attention that puts part of a row's weight outside the tokens.
    """
    if others.get("s_aux") is not None:
        raise HeadscriptError(
            f"{type(module).__name__} gives part of its attention to a learned sink outside the "
            f"text, so its patterns are not distributions over tokens; supported are {SUPPORTED}."
        )
    door = _doors.get(module)
    layer = None if door is None else door.layer_of(module)
    observed_layer = layer if door is not None and layer is not None and door.wants(layer) else None
    replaced = None
    if door is not None and door.source is not None and layer is not None:
        replaced = door.source.patterns(layer, key.shape[2], value.device)
        if replaced is not None and attention_mask is not None:
            replaced = Replaced(replaced.heads, _visible(replaced.patterns, attention_mask))

    # SDPA knows no soft cap (Gemma 2), and then the weights have to mix the values here.
    by_weights = softcap is not None
    if observed_layer is not None:
        by_weights = by_weights or (door is not None and door.mixed_by_weights)
    weights = None
    if observed_layer is not None or by_weights:
        # Observed patterns carry no gradient; the output keeps its own.
        detach = not by_weights
        weights = attention_weights(
            module,
            query.detach() if detach else query,
            key.detach() if detach else key,
            attention_mask,
            scaling=scaling,
            softcap=softcap,
            is_causal=is_causal,
            position_bias=position_bias,
        )
    if replaced is not None and len(replaced.heads) == query.shape[1]:
        output = _mixed(replaced, query, value).contiguous()
    elif not by_weights:
        output, _ = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **others,
        )
    else:
        assert weights is not None
        dropped = nn.functional.dropout(weights.to(value.dtype), dropout, training=module.training)
        output = _mixed_by_all(dropped, value).contiguous()
    if replaced is not None and len(replaced.heads) < query.shape[1]:
        output = output.index_copy(2, replaced.heads, _mixed(replaced, query, value))

    if door is not None and observed_layer is not None and weights is not None:
        weights = weights.detach()
        if replaced is not None:
            weights[:, replaced.heads] = replaced.patterns.detach().to(weights.dtype)
        door.on_pattern(observed_layer, weights)
    return output, None


def _mixed(replaced: Replaced, query: Tensor, value: Tensor) -> Tensor:
    """The output of replaced heads, (B, Q, h, D): each pattern times the values of its group."""
    num_heads, num_groups = query.shape[1], value.shape[1]
    patterns = replaced.patterns.to(value.dtype)
    if len(replaced.heads) == num_heads:
        return _mixed_by_all(patterns, value)
    mixed = patterns @ value[:, replaced.heads // (num_heads // num_groups)]
    return mixed.transpose(1, 2)


def _mixed_by_all(patterns: Tensor, value: Tensor) -> Tensor:
    """The output of all heads, (B, Q, H, D), by their patterns (B, H, Q, K)."""
    batch, num_heads, num_queries, num_keys = patterns.shape
    folded = patterns.reshape(batch, value.shape[1], -1, num_keys)  # (B, G, H/G * Q, K)
    return (folded @ value).view(batch, num_heads, num_queries, -1).transpose(1, 2)


def _visible(patterns: Tensor, attention_mask: Tensor) -> Tensor:
    """Patterns kept to what a layer's mask lets through, each row with the weight it had.

    A program knows nothing of a sliding window: what it gives to tokens beyond is shared out among
    those within, as a softmax over these alone would.
    """
    if attention_mask.dtype == torch.bool:
        visible = attention_mask
    else:
        visible = attention_mask > torch.finfo(attention_mask.dtype).min / 2
    kept = patterns * visible[..., : patterns.shape[-1]]
    before, after = patterns.sum(-1, keepdim=True), kept.sum(-1, keepdim=True)
    return kept * (before / after.clamp_min(torch.finfo(torch.float32).tiny))


AttentionInterface.register(ATTENTION_NAME, attend)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


@contextmanager
def observed(
    network: PreTrainedModel,
    layers: Collection[int] | None,
    on_pattern: OnPattern,
    *,
    mixed_by_weights: bool = False,
) -> Iterator[None]:
    """While inside, every forward pass hands over the attention patterns of `layers`.

    `on_pattern(layer, weights)` is called once per observed layer and pass, in the order of the
    layers, with weights (batch, query heads, query, key) in float32 on the layer's device; padding
    is still in them. `layers` None means all. The output of the network is what SDPA gives; with
    `mixed_by_weights`, which is faster, the observed layers give what eager attention does. The
    network's own attention implementation is restored on the way out, also after an exception.

    Raises HeadscriptError where the network does not dispatch through the AttentionInterface.
    """
    source = next((door.source for door in _doors_of(network)), None)
    with _open(network, _Door(layers, on_pattern, source, mixed_by_weights)):
        yield


@contextmanager
def mixing(network: PreTrainedModel, source: PatternSource) -> Iterator[None]:
    """While inside, heads of which `source` has patterns mix their values by these.

    Who observes the network meanwhile sees the patterns that it attends by.

    Raises HeadscriptError where the network does not dispatch through the AttentionInterface, where
    heads of it are replaced already, and, in a forward pass, where another attention implementation
    was set meanwhile or the pass does not say which tokens it is about.
    """
    outer = _doors_of(network)
    if any(door.source is not None for door in outer):
        raise HeadscriptError(
            "Heads of this model are replaced already; leave that `replaced` first, or replace all "
            "at once."
        )
    # Some networks call their backbone's layers, not the backbone, so both may begin a pass.
    entrances = {network, network.base_model}
    inside: list[nn.Module] = []

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module in inside:  # the pass before was interrupted
            inside.clear()
        inside.append(module)
        if len(inside) > 1:
            return
        if _is_compiled():
            raise HeadscriptError(
                "A model with replaced heads cannot be compiled by torch.compile; leave it out, "
                "and where `generate` compiles a static cache, say disable_compile=True."
            )
        if module not in entrances:
            raise HeadscriptError(
                "This is a copy of a model with replaced heads, and the programs did not come "
                "along; copy the model before, and replace heads of the copy."
            )
        if any(config._attn_implementation != ATTENTION_NAME for config in _configs(network)):
            raise HeadscriptError(
                "The attention implementation was changed while heads are replaced, so the "
                "programs would be left out; change it before."
            )
        source.begin(_pass_of(module, args, kwargs))

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if inside:
            inside.pop()
        if not inside:
            source.end(_cache_in(output))

    door = _Door((), lambda layer, weights: None, source)
    if outer:
        door = _Door(outer[0].layers, outer[0].on_pattern, source, outer[0].mixed_by_weights)
    with _open(network, door):
        hooks = [
            hook
            for entrance in entrances
            for hook in (
                entrance.register_forward_pre_hook(begin, with_kwargs=True),
                # Called after an exception too, with None as the output.
                entrance.register_forward_hook(end, always_call=True),
            )
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _is_compiled() -> bool:
    """Whether torch.compile is at work, be it that it gave up on the function that asks."""
    if torch.compiler.is_compiling():
        return True
    try:
        from torch._C._dynamo.eval_frame import get_eval_frame_callback
    except ImportError:  # no public name says it
        return False
    return callable(get_eval_frame_callback())


def _pass_of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pass:
    given = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    given = {**given, **given.get("kwargs", {})}
    token_ids, mask = given.get("input_ids"), given.get("attention_mask")
    cache, positions = given.get("past_key_values"), given.get("position_ids")
    if token_ids is None:
        raise HeadscriptError(
            "Programs read tokens, so a model with replaced heads needs input_ids, not "
            "inputs_embeds."
        )
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return Pass(token_ids, mask, cache)
    if mask is not None:
        if not getattr(cache, "is_compileable", False):
            raise HeadscriptError(
                "A model with replaced heads takes an attention mask of tokens, (batch, tokens), "
                "and not one of queries and keys."
            )
        return Pass(token_ids, None, cache, _real_tokens(mask, token_ids, cache))
    if cache is None and isinstance(positions, Tensor) and bool((positions.diff() != 1).any()):
        raise HeadscriptError(
            "A model with replaced heads takes one text a row, and these position_ids begin anew "
            "or leap within a row; give the texts as rows of a batch, with an attention mask."
        )
    return Pass(token_ids, None, cache)


def _real_tokens(mask: Any, token_ids: Tensor, cache: Any) -> Tensor | None:
    """Which tokens of a pass are no padding, (B, Q), by the mask of queries and keys that
    `generate` makes for a static cache: (B, 1, Q, K), or one for each kind of layer.

    Padding is a token that not even itself may look at.
    """
    masks = list(mask.values()) if isinstance(mask, dict) else [mask]
    found = next((found for found in masks if found is not None), None)
    if found is None:
        return None
    num_queries, num_keys = token_ids.shape[1], found.shape[-1]
    first = min(int(cache.get_seq_length()), num_keys - num_queries)
    own: Tensor = found[:, 0].diagonal(first, dim1=1, dim2=2)
    return own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2


def _cache_in(output: Any) -> Any:
    """The key-value cache in a network's output, which may be a plain tuple; None without one."""
    if isinstance(output, tuple):
        return next((part for part in output if isinstance(part, Cache)), None)
    return getattr(output, "past_key_values", None)


def _doors_of(network: PreTrainedModel) -> list[_Door]:
    """The doors that are open, each once."""
    return list({id(d): d for d in (_doors.get(m) for m in network.modules()) if d}.values())


@contextmanager
def _open(network: PreTrainedModel, door: _Door) -> Iterator[None]:
    modules = list(network.modules())
    outer = [(module, _doors[module]) for module in modules if module in _doors]
    with _implementation(network, ATTENTION_NAME):
        hooks = [
            part.register_forward_pre_hook(door.start_of_pass)
            for part in {network, network.base_model}
        ]
        try:
            _doors.update((module, door) for module in modules)
            yield
        finally:
            for module in modules:
                _doors.pop(module, None)
            _doors.update(outer)
            for hook in hooks:
                hook.remove()


@contextmanager
def sdpa_where_supported(network: PreTrainedModel) -> Iterator[None]:
    """Use SDPA for a while, or eager attention where transformers has no SDPA for the network."""
    with _implementation(network, "sdpa" if network._supports_sdpa else "eager"):
        yield


@contextmanager
def _implementation(network: PreTrainedModel, name: str) -> Iterator[None]:
    """Use another attention implementation for a while, in the network and the ones inside it."""
    if not network._can_set_attn_implementation():
        raise HeadscriptError(refusal(network, "does not dispatch through it"))
    before = [(config, config._attn_implementation) for config in _configs(network)]
    try:
        network.set_attn_implementation(name)
        yield
    finally:
        # Written back as they were: setting them anew would ask what the network supports.
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def _configs(network: PreTrainedModel) -> list[PreTrainedConfig]:
    """The configurations of the network and of the networks inside it, each once."""
    waiting = [part.config for part in network.modules() if isinstance(part, PreTrainedModel)]
    found: dict[int, PreTrainedConfig] = {}
    while waiting:
        config = waiting.pop()
        if id(config) not in found:
            found[id(config)] = config
            inner = (getattr(config, name, None) for name in config.sub_configs)
            waiting += [part for part in inner if isinstance(part, PreTrainedConfig)]
    return list(found.values())


def refusal(network: PreTrainedModel, reason: str) -> str:
    """One sentence: this architecture cannot be explained, and which can."""
    return (
        f"The attention of {type(network).__name__} cannot be reached: headscript goes through "
        f"transformers' AttentionInterface, and this architecture {reason}; supported are "
        f"{SUPPORTED}."
    )

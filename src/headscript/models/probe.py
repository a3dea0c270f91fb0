"""A look at a network before it is trusted: its heads, and that observing it changes nothing."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from headscript.errors import HeadscriptError
from headscript.models.attention import observed, refusal, sdpa_where_supported

# How far the output may move, relative to its largest value, when the attention is observed.
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5}
_TOLERANCE_HALF = 2e-2
_UNBOUNDED = 2**31 - 1


@dataclass(frozen=True)
class Probe:
    """What a short pass through the network showed."""

    heads_per_layer: tuple[int, ...]
    causal: bool


@torch.no_grad()
def probe(network: PreTrainedModel) -> Probe:
    """Run two short texts, one padded, with and without the attention observed, and compare.

    Raises HeadscriptError where the architecture does not dispatch through the AttentionInterface,
    where not all its layers show themselves, or where observing changes the output.
    """
    ids, mask = _probe_batch(network)
    seen: dict[int, Tensor] = {}

    def see(layer: int, weights: Tensor) -> None:
        if layer in seen:
            raise HeadscriptError(refusal(network, f"calls layer {layer} twice in one pass"))
        seen[layer] = weights.cpu()

    try:
        with sdpa_where_supported(network):
            plain = _output(network(ids, attention_mask=mask))
    except HeadscriptError:
        raise
    except Exception as error:  # whatever a network raises that is not one for plain text
        raise HeadscriptError(
            f"{type(network).__name__} does not run on token ids alone ({error}), so it is no "
            "language model that headscript can explain."
        ) from error
    with observed(network, None, see):
        watched = _output(network(ids, attention_mask=mask))

    _check_layers(network, set(seen))
    real = mask.bool()
    if not plain[real].isfinite().all():
        raise HeadscriptError(
            f"{type(network).__name__} answers a plain text with NaN or infinity: its weights are "
            "damaged, or float16 is too narrow for it; try float32."
        )
    largest = plain[real].abs().max().clamp_min(torch.finfo(plain.dtype).tiny)
    furthest = float((watched - plain)[real].abs().max() / largest)
    allowed = _TOLERANCE.get(plain.dtype, _TOLERANCE_HALF)
    if not furthest <= allowed:
        raise HeadscriptError(
            refusal(network, f"gives another output through it (by {furthest:.1e} relative)")
        )
    later = [weights[0].triu(1).any() for weights in seen.values()]
    return Probe(
        heads_per_layer=tuple(
            seen[layer].shape[1] if layer in seen else 0 for layer in range(max(seen) + 1)
        ),
        causal=not any(later),
    )


def run_backbone(network: PreTrainedModel, ids: Tensor, mask: Tensor) -> None:
    """Run the layers alone, without a language model's output over its vocabulary, and no cache."""
    backbone = network.base_model
    takes_cache = "use_cache" in inspect.signature(backbone.forward).parameters
    options = {"use_cache": False} if takes_cache else {}
    backbone(ids, attention_mask=mask, **options)


def context_length(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest text, in tokens: what the positions of the network and the tokenizer allow."""
    config = network.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    limits = [positions] if isinstance(positions, int) and positions > 0 else []
    # RoBERTa and its kin count positions from behind the padding token.
    offset_by_padding = any(
        hasattr(module, "create_position_ids_from_input_ids") for module in network.modules()
    )
    if limits and offset_by_padding and isinstance(config.pad_token_id, int):
        limits = [limits[0] - config.pad_token_id - 1]
    if tokenizer.model_max_length < _UNBOUNDED:  # a tokenizer without a limit says 1e30
        limits.append(int(tokenizer.model_max_length))
    return min(limits, default=_UNBOUNDED)


def padding_id(network: PreTrainedModel) -> int:
    """The token that fills a batch; which one only matters where positions are counted by it."""
    pad = network.config.get_text_config().pad_token_id
    return pad if isinstance(pad, int) and pad >= 0 else 0


def _probe_batch(network: PreTrainedModel, lengths: tuple[int, int] = (12, 8)) -> Any:
    """Token ids and mask (2, 12): arbitrary tokens, the second text padded on the right."""
    vocabulary = int(network.config.get_text_config().vocab_size)
    pad = padding_id(network)
    candidates = [token for token in range(vocabulary) if token != pad]
    stride = max(1, len(candidates) // 13)
    tokens = [candidates[(7 + stride * i) % len(candidates)] for i in range(max(lengths))]
    ids = torch.full((2, max(lengths)), pad)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.tensor(tokens[:length])
        mask[row, :length] = 1
    return ids.to(network.device), mask.to(network.device)


def _output(result: Any) -> Tensor:
    """Logits, or the last hidden state of a network without a head: (B, n, size)."""
    logits = getattr(result, "logits", None)
    output: Tensor = result.last_hidden_state if logits is None else logits
    return output


def _check_layers(network: PreTrainedModel, seen: set[int]) -> None:
    if not seen:
        raise HeadscriptError(refusal(network, "has no attention heads that go through it"))
    config = network.config.get_text_config()
    present = getattr(config, "num_hidden_layers", max(seen) + 1)
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if kinds is None:
        expected = set(range(present))
    else:  # a hybrid names the kind of each layer; only some have attention heads
        expected = {
            layer
            for layer, kind in enumerate(kinds)
            if "attention" in kind and "linear" not in kind
        }
    if not expected <= seen or max(seen) >= present:
        raise HeadscriptError(
            refusal(network, f"shows {len(seen)} of its {len(expected)} attention layers there")
        )

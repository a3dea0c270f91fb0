"""Small random networks of many families, and a tokenizer for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
)

VOCABULARY = 64
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GEMMA: dict[str, Any] = {
    **_SIZES,
    **_SPECIAL,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 4,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _llama(num_groups: int) -> PreTrainedConfig:
    return LlamaConfig(**_SIZES, **_SPECIAL, num_key_value_heads=num_groups)


DECODERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": lambda: GPT2Config(**_GPT2),
    "gpt2-scaled-by-layer": lambda: GPT2Config(**_GPT2, scale_attn_by_inverse_layer_idx=True),
    "llama-1-group": lambda: _llama(1),
    "llama-2-groups": lambda: _llama(2),
    "llama-4-groups": lambda: _llama(4),
    # Caps and windows small enough to be felt by texts of a dozen tokens.
    "gemma2": lambda: Gemma2Config(
        **_GEMMA, attn_logit_softcapping=0.5, query_pre_attn_scalar=4, final_logit_softcapping=3.0
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **_GEMMA, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "qwen3": lambda: Qwen3Config(**_SIZES, **_SPECIAL, num_key_value_heads=2, head_dim=8),
    "mistral": lambda: MistralConfig(**_SIZES, **_SPECIAL, num_key_value_heads=2, sliding_window=4),
    "gpt-neox": lambda: GPTNeoXConfig(**_SIZES, **_SPECIAL),
    "opt": lambda: OPTConfig(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
    ),
    "phi": lambda: PhiConfig(**_SIZES, **_SPECIAL),
    # A hybrid: its second layer is a convolution and has no heads.
    "lfm2": lambda: Lfm2Config(
        **_SIZES,
        **_SPECIAL,
        num_key_value_heads=2,
        layer_types=["full_attention", "conv", "full_attention"],
    ),
}
ENCODERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**_SIZES, pad_token_id=0),
    "roberta": lambda: RobertaConfig(**_SIZES, **_SPECIAL),
    # One attention module serves every layer, and neither of these two numbers its layers.
    "albert": lambda: AlbertConfig(**_SIZES, **_SPECIAL, embedding_size=16),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, hidden_dim=48, n_layers=3, n_heads=4
    ),
    "modernbert": lambda: ModernBertConfig(
        **_SIZES, **_SPECIAL, cls_token_id=1, sep_token_id=2, local_attention=8
    ),
}
FAMILIES = DECODERS | ENCODERS


def network_of(family: str, *, seed: int = 0) -> Any:
    """A random network in evaluation mode; its scores are spread so that patterns differ."""
    torch.manual_seed(seed)
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForMaskedLM
    network = auto.from_config(FAMILIES[family](), dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return network.eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word: "w5 w6"; anything else is the unknown token 3."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, VOCABULARY))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>")


def some_ids(length: int, *, seed: int = 0) -> list[int]:
    """Token ids of a made-up text, no special token among them."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY, (length,), generator=draw).tolist()


def padded(
    lengths: tuple[int, ...] = (12, 9), side: str = "right"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of made-up texts and their attention mask, (texts, longest)."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        place = slice(0, n) if side == "right" else slice(max(lengths) - n, None)
        ids[row, place] = torch.tensor(some_ids(n, seed=row))
        mask[row, place] = 1
    return ids, mask

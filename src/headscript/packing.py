"""Patterns as they are kept: only the cells that can carry weight, row after row.

In a decoder, row i of a pattern (n, n) has weight on its first i + 1 cells, so n (n + 1) / 2 cells
are kept; in an encoder all n * n.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.heads import Head

_ROW_TOLERANCE = 1e-3


def num_cells(num_tokens: int, causal: bool) -> int:
    """How many cells of a pattern on that many tokens are kept."""
    return num_tokens * (num_tokens + 1) // 2 if causal else num_tokens**2


def pack(weights: Tensor, counts: Sequence[int], causal: bool, dtype: torch.dtype) -> list[Tensor]:
    """Pack weights (B, H, n, n) into (H, cells) per text, on the CPU, padding left behind."""
    num_heads = weights.shape[1]
    packed = []
    for pattern, n in zip(weights, counts, strict=True):
        flat = pattern[:, :n, :n].reshape(num_heads, n * n)
        if causal:
            flat = flat.index_select(1, _lower_triangle(n, flat.device))
        packed.append(flat.to(dtype).flatten())
    together = torch.cat(packed).cpu()  # one transfer a layer
    parts = torch.split(together, [cells.numel() for cells in packed])
    return [cells.view(num_heads, -1) for cells in parts]


def pack_rows(patterns: Tensor, causal: bool) -> Tensor:
    """Pack whole patterns (..., n, n) of one text into (..., cells)."""
    n = patterns.shape[-1]
    flat = patterns.reshape(*patterns.shape[:-2], n * n)
    return flat[..., _lower_triangle(n, flat.device)] if causal else flat


def unpack(cells: Tensor, num_tokens: int, causal: bool) -> Tensor:
    """Turn packed cells (..., cells) into patterns (..., n, n)."""
    if not causal:
        return cells.reshape(*cells.shape[:-1], num_tokens, num_tokens)
    whole = cells.new_zeros(*cells.shape[:-1], num_tokens * num_tokens)
    whole[..., _lower_triangle(num_tokens, cells.device)] = cells
    return whole.view(*cells.shape[:-1], num_tokens, num_tokens)


def check_rows(
    weights: Tensor,  # (B, H, n, n)
    real: Tensor,  # (B, n), 1 for a token, 0 for padding
    heads: Sequence[Head],
    batch: Sequence[int],
) -> None:
    """Refuse weights that are no distribution over the tokens of their text.

    Raises HeadscriptError naming head and text (a member of `batch`) on NaN, infinity, or a row
    that does not sum to 1.
    """
    mass = weights @ real.float()[:, None, :, None]  # (B, H, n, 1): what lies on tokens
    # One comparison finds it all: it is false for NaN, infinity and a sum that is off.
    wrong = ~((mass.squeeze(-1) - 1).abs() <= _ROW_TOLERANCE) & real.bool()[:, None]
    if wrong.any():
        row, head = wrong.any(-1).nonzero()[0].tolist()
        raise HeadscriptError(
            f"The attention of {heads[head]} on text {batch[row]} is not a distribution over its "
            "tokens (NaN, infinity, or rows that do not sum to 1); load the model in float32, or "
            "leave out that head or text."
        )


@lru_cache(maxsize=8)
def _lower_triangle(num_tokens: int, device: torch.device) -> Tensor:
    """Where the cells of a decoder's pattern lie in the flattened (n, n): row i has i + 1."""
    with torch.inference_mode(False):  # it is kept, and may be used where gradients flow
        lower = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()
        return lower.flatten().nonzero().squeeze(1)

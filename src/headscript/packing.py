"""Patterns as they are kept: only the cells that can carry weight, row after row.

In a decoder, row i of a pattern (n, n) has weight on its first i + 1 cells, so n (n + 1) / 2 cells
are kept; in an encoder all n * n.

A cell is kept as float32, float16, or a code of one byte: 255 times the fourth root of the cell's
share of the largest in its row. Rows sum to 1, so the largest itself need not be kept: a row that
is read is scaled until it does. Where a code is off by half, a weight w of a row whose largest is m
is off by about 0.8 % of w (m / w)^(1/4); the L1 distance between a row and what is read of it is
less than `CODE_ERROR` times (n m)^(1/4).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.heads import Head

CODE_ERROR = 0.017
"""See above: twice 4 * 0.5 / 255, for the cells and for the scale of the row, and some more."""

_ROW_TOLERANCE = 1e-3
_LARGEST_CODE = 255


def num_cells(num_tokens: int, causal: bool) -> int:
    """How many cells of a pattern on that many tokens are kept."""
    return num_tokens * (num_tokens + 1) // 2 if causal else num_tokens**2


def pack(weights: Tensor, counts: Sequence[int], causal: bool, dtype: torch.dtype) -> list[Tensor]:
    """Pack weights (B, H, n, n) into (H, cells) per text, on the CPU, padding left behind.

    As float16, float32, or uint8 for the code of one byte, whose rows must not be zero.
    """
    batch, num_heads, longest, _ = weights.shape
    if causal:  # the cells of a shorter text come first among those of the longest
        rows = weights.reshape(batch * num_heads, longest * longest)
        cells = rows.index_select(1, _lower_triangle(longest, weights.device).int())
        if dtype == torch.uint8:
            cells = _codes(cells, weights.amax(-1).flatten(0, 1), causal)
        whole = cells.to(dtype).cpu().view(batch, num_heads, -1)  # one transfer a layer
        return [cells[:, : num_cells(n, causal)] for cells, n in zip(whole, counts, strict=True)]
    packed = []
    for pattern, n in zip(weights, counts, strict=True):
        cells = pattern[:, :n, :n].reshape(num_heads, n * n)
        if dtype == torch.uint8:
            cells = _codes(cells.clone(), pattern[:, :n, :n].amax(-1), causal)
        packed.append(cells.to(dtype).flatten())
    together = torch.cat(packed).cpu()
    parts = torch.split(together, [cells.numel() for cells in packed])
    return [cells.view(num_heads, -1) for cells in parts]


def decode(codes: Tensor, num_tokens: int, causal: bool) -> Tensor:
    """Turn codes of one byte (H, cells) into packed patterns in float32, whose rows sum to 1."""
    cells = codes.float().div_(_LARGEST_CODE).square_().square_()
    rows = _row_of_cell(num_tokens, causal, codes.device)
    sums = cells.new_zeros(len(cells), num_tokens).index_add_(1, rows, cells)
    return cells.div_(sums.index_select(1, rows))


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
    mass = weights.flatten(1, 2) @ real.float()[:, :, None]  # (B, H n, 1): what lies on tokens
    mass = mass.view(weights.shape[:3])
    # One comparison finds it all: it is false for NaN, infinity and a sum that is off.
    wrong = ~((mass - 1).abs() <= _ROW_TOLERANCE) & real.bool()[:, None]
    if wrong.any():
        row, head = wrong.any(-1).nonzero()[0].tolist()
        raise HeadscriptError(
            f"The attention of {heads[head]} on text {batch[row]} is not a distribution over its "
            "tokens (NaN, infinity, or rows that do not sum to 1); load the model in float32, or "
            "leave out that head or text."
        )


def _codes(cells: Tensor, largest: Tensor, causal: bool) -> Tensor:
    """Codes of cells (R, cells), which are overwritten; `largest` (R, n) are those of each row."""
    rows = _row_of_cell(largest.shape[1], causal, cells.device).int()  # twice as fast
    scale = largest.pow(-0.25).mul_(_LARGEST_CODE).index_select(1, rows)
    return cells.sqrt_().sqrt_().mul_(scale).add_(0.5).clamp_max_(_LARGEST_CODE).to(torch.uint8)


def _row_of_cell(num_tokens: int, causal: bool, device: torch.device) -> Tensor:
    """(cells,) the row in which each packed cell lies."""
    rows = torch.arange(num_tokens, device=device)
    return rows.repeat_interleave(rows + 1 if causal else num_tokens)


@lru_cache(maxsize=8)
def _lower_triangle(num_tokens: int, device: torch.device) -> Tensor:
    """Where the cells of a decoder's pattern lie in the flattened (n, n): row i has i + 1."""
    with torch.inference_mode(False):  # it is kept, and may be used where gradients flow
        lower = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()
        return lower.flatten().nonzero().squeeze(1)

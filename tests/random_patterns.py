"""Made-up texts and attention patterns for tests of the arithmetic over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headscript.language import Text
from headscript.packing import pack_rows

SURFACES = [" the", " cat", ",", " she", " said", ".", " Tom", " ran", "s", " to", ' "', " red"]


def random_texts(counts: Sequence[int], *, causal: bool = True, seed: int = 0) -> list[Text]:
    """Texts of so many tokens each, words drawn at random."""
    draw = torch.Generator().manual_seed(seed)
    texts = []
    for count in counts:
        ids = torch.randint(len(SURFACES), (count,), generator=draw).tolist()
        texts.append(Text([SURFACES[i] for i in ids], ids, len(SURFACES), causal=causal))
    return texts


def random_patterns(texts: Sequence[Text], heads: int, *, seed: int = 0) -> list[Tensor]:
    """Patterns whose rows sum to 1, packed: per text (heads, cells)."""
    draw = torch.Generator().manual_seed(seed)
    packed = []
    for text in texts:
        scores = 2 * torch.randn(heads, len(text), len(text), generator=draw)
        weights = scores.masked_fill(~text.allowed, -torch.inf).softmax(-1)
        packed.append(pack_rows(weights, text.causal))
    return packed

"""The address of an attention head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from headscript.errors import HeadscriptError

_HEAD = re.compile(r"L(\d+)H(\d+)", re.IGNORECASE)
_LAYER = re.compile(r"L(\d+)", re.IGNORECASE)


class Head(NamedTuple):
    """A query head of a layer, both counted from zero."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer:02d}H{self.head:02d}"

    @classmethod
    def parse(cls, name: str) -> Head:
        """Read "L5H3" or "L05H03"; raises HeadscriptError on anything else."""
        match = _HEAD.fullmatch(name.strip())
        if match is None:
            raise HeadscriptError(f"{name!r} is not the name of a head; write it like L5H3.")
        return cls(int(match[1]), int(match[2]))


def parse_heads(selection: str, heads_per_layer: Sequence[int]) -> list[Head]:
    """Read a selection of heads: "all", or names of heads and layers such as "L5H3,L6".

    `heads_per_layer` gives the number of query heads of each layer of the model. The heads come
    sorted and without repeats; a head that the model does not have raises HeadscriptError.
    """
    if selection.strip().lower() == "all":
        return [Head(layer, head) for layer, n in enumerate(heads_per_layer) for head in range(n)]
    chosen: set[Head] = set()
    for name in selection.split(","):
        layer_match = _LAYER.fullmatch(name.strip())
        layer = int(layer_match[1]) if layer_match else Head.parse(name).layer
        if layer >= len(heads_per_layer):
            raise HeadscriptError(
                f"There is no layer {layer}: the model has {len(heads_per_layer)} layers, "
                f"L0 to L{len(heads_per_layer) - 1}."
            )
        if layer_match:
            chosen.update(Head(layer, head) for head in range(heads_per_layer[layer]))
            continue
        head = Head.parse(name)
        if head.head >= heads_per_layer[layer]:
            raise HeadscriptError(
                f"There is no head {head}: layer {layer} has {heads_per_layer[layer]} heads, "
                f"H0 to H{heads_per_layer[layer] - 1}."
            )
        chosen.add(head)
    return sorted(chosen)

"""Choosing each head's program among those of all heads, on texts nothing was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Choice:
    """The program chosen for a head."""

    program: int
    """Its place among the programs."""
    iou: float
    """Its mean IoU on the select texts."""
    intended_iou: float
    """That of the program written for the head."""


def choose_programs(
    table: Tensor,  # (programs, heads) mean IoU on the select texts
    intended: Sequence[int],
    *,
    margin: float,
) -> list[Choice]:
    """Choose for each head the best program of all; its own unless another is better by `margin`.

    `intended` gives the place of the program that was written for each head. The margin keeps a
    program with the head it explains when another wins by no more than the noise of choosing.
    """
    choices = []
    for head, own in enumerate(intended):
        best = int(table[:, head].argmax())
        if float(table[best, head]) < float(table[own, head]) + margin:
            best = own
        choices.append(Choice(best, float(table[best, head]), float(table[own, head])))
    return choices

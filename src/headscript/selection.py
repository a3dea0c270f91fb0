"""Choosing each head's program among those of all heads, on texts nothing was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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


def choose_among(
    table: Tensor,  # (programs, heads) mean IoU on the select texts
    owners: Sequence[int],
    terms: Sequence[int],
    *,
    price: float,
) -> list[tuple[int, int] | None]:
    """Choose for each head one of many programs, of which it may have several of its own, or none.

    `owners` gives for each program the head it was written for, `terms` the number of its
    constants. Programs are compared by their IoU less `price` for each term, so that a long one
    does not win by noise; another head's must be better than the best of its own by `price` more.
    Returns for each head the program chosen and the best of its own (that chosen, where it has
    none); None where there is no program at all.
    """
    worth = table - price * torch.tensor(terms, dtype=table.dtype)[:, None]
    choices: list[tuple[int, int] | None] = []
    for head in range(table.shape[1]):
        if not len(owners):
            choices.append(None)
            continue
        best = int(worth[:, head].argmax())
        mine = [index for index, owner in enumerate(owners) if owner == head]
        own = max(mine, key=lambda index: float(worth[index, head])) if mine else best
        if float(worth[best, head]) < float(worth[own, head]) + price:
            best = own
        choices.append((best, own))
    return choices

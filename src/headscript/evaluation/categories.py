"""What a head measurably does: where its attention goes, against what chance would put there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.language import Text

CATEGORIES = (
    "first token",
    "sequential",
    "same token",
    "delimiter",
    "syntactic",
    "broad",
    "mixed",
)
"""first token: rests on the text's first token. sequential: the token itself and the two beside it.
same token: other places of the token or word, what followed them, or the name a pronoun may mean.
delimiter: punctuation, line breaks, special tokens and an encoder's last token. syntactic: words of
the same sentence farther than the neighbours. broad: spread over most of what can be seen. mixed:
none of these clearly."""

_BROAD_ENTROPY = 0.85
_CLEAR_SURPLUS = 0.1
_FIRST_ROW = 4  # earlier rows have too few keys to tell one behaviour from another


@dataclass
class Behaviour:
    """Where the attention of a layer's heads goes, summed over texts."""

    surplus: Tensor
    """(kinds, heads): mass on the kind's keys beyond what uniform attention puts there."""
    entropy: Tensor
    """(heads,): entropy of the rows over that of uniform rows."""
    rows: int

    @classmethod
    def of_nothing(cls, heads: int) -> Behaviour:
        """Before the first text."""
        return cls(torch.zeros(len(_KINDS), heads), torch.zeros(heads), 0)

    def add(self, patterns: Tensor, text: Text) -> None:
        """Take in the patterns (heads, n, n) of a text."""
        n = len(text)
        if n <= _FIRST_ROW:
            return
        seen = patterns[:, _FIRST_ROW:]
        allowed = text.allowed.float()[_FIRST_ROW:]
        width = allowed.sum(1)
        uniform = allowed / width[:, None]
        for place, kind in enumerate(_kinds(text)):
            inside = kind[_FIRST_ROW:].float()
            self.surplus[place] += ((seen - uniform) * inside).sum((1, 2))
        nats = -(seen * seen.clamp(min=1e-12).log()).sum(2)
        self.entropy += (nats / width.log()).sum(1)
        self.rows += n - _FIRST_ROW

    def categories(self) -> list[str]:
        """Each head's category: the kind with the greatest surplus of attention, if clear."""
        if not self.rows:
            return ["mixed"] * len(self.entropy)
        surplus = self.surplus / self.rows
        found = []
        for head, entropy in enumerate((self.entropy / self.rows).tolist()):
            best = int(surplus[:, head].argmax())
            if entropy > _BROAD_ENTROPY:
                found.append("broad")
            elif float(surplus[best, head]) >= _CLEAR_SURPLUS:
                found.append(_KINDS[best])
            else:
                found.append("mixed")
        return found


_KINDS = ("first token", "sequential", "same token", "delimiter", "syntactic")


def _kinds(text: Text) -> tuple[Tensor, ...]:
    """The keys of each kind, (n, n) bool; a key is of one kind only, the earlier in the list."""
    n = len(text)
    first = text.first
    near = (text.distance <= 2) & ~first
    taken = first | near
    name_of_pronoun = text.is_pronoun[:, None] & text.latest(text.is_name)
    same = (text.same_word | text.after_same | name_of_pronoun) & ~taken & ~text.is_punctuation
    taken = taken | same
    mark = (text.is_punctuation | text.is_newline | text.is_special)[None, :].expand(n, n)
    if not text.causal:
        mark = mark | text.last
    mark = mark & ~taken
    syntactic = text.same_sentence & ~taken & ~mark
    return first, near, same, mark, syntactic

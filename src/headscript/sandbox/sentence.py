"""A sentence: all that enters the sandbox with a program."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sentence:
    """A tokenised sentence as plain data.

    A program's matrix has a row and a column for each of `token_ids`. Nothing of a model's
    attention, of other texts or of the machine is in it.
    """

    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """Each token as the tokenizer's vocabulary spells it: "Ġthe", "▁the", "##s"."""
    surfaces: tuple[str, ...] = ()
    """Each token decoded by itself; the tokens if not given."""
    special: tuple[bool, ...] = ()
    """Which tokens are special ones ([CLS], <s>); none if not given."""
    offsets: tuple[tuple[int, int], ...] = ()
    """Where each token stands in the text, in characters; (0, 0) for special ones."""
    words: tuple[int | None, ...] = ()
    """The word that each token is of, None for special ones; unknown if not given."""
    special_tokens: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The tokenizer's special tokens by role ("cls", "eos", ...): how each is spelt, and its id."""
    vocabulary_size: int = 0
    longest: int = 0
    """The most tokens that the model takes; 0 where it is not known."""
    causal: bool = True
    """Whether a row may look at itself and earlier tokens alone."""
    parse: dict[str, Any] | None = None
    """What spaCy found in the text, as `headscript.programs.sentences` writes it; None if not."""

    def __post_init__(self) -> None:
        count = len(self.token_ids)
        for name in ("tokens", "surfaces", "special", "offsets", "words"):
            given = getattr(self, name)
            if len(given) != count and (name == "tokens" or given):
                raise ValueError(
                    f"{name} and token_ids must be of one length, but {len(given)} != {count}"
                )

    def __len__(self) -> int:
        return len(self.token_ids)

    def encode(self) -> bytes:
        """As JSON."""
        # Not asdict, which copies the parse piece by piece.
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(values, separators=(",", ":")).encode()

    @staticmethod
    def decode(data: bytes) -> Sentence:
        """A sentence from its bytes."""
        values = json.loads(data)
        lists = ("token_ids", "tokens", "surfaces", "special", "words")
        return Sentence(
            **values
            | {name: tuple(values[name]) for name in lists}
            | {"offsets": tuple((start, end) for start, end in values["offsets"])}
            | {"special_tokens": {k: (t, i) for k, (t, i) in values["special_tokens"].items()}}
        )

"""A tokenised text as a program sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscript.language.vocabulary import VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Text:
    """One tokenised text: what a program may look at, and nothing else of the model.

    Vocabulary entries are its attributes: `text.is_comma` is a token property of shape (n,),
    `text.distance` a relation of shape (n, n) whose first axis is the query and second the key,
    `text.previous(2)` one with an argument. Values are computed once and kept.

    `surfaces` holds each token as it reads in the text, a leading space included where a word
    starts with one. `causal` says whether a query may look at itself and earlier tokens alone.
    """

    def __init__(
        self,
        surfaces: Sequence[str],
        token_ids: Sequence[int],
        vocabulary_size: int,
        *,
        causal: bool = True,
        special: Sequence[bool] | None = None,
        embeddings: Tensor | None = None,
    ) -> None:
        if len(surfaces) != len(token_ids):
            raise ValueError(
                "surfaces and token_ids must be of one length, but "
                f"{len(surfaces)} != {len(token_ids)}"
            )
        self.surfaces = tuple(surfaces)
        self.token_ids = torch.as_tensor(list(token_ids), dtype=torch.long)
        self.vocabulary_size = vocabulary_size
        self.causal = causal
        self.special = tuple(special) if special is not None else (False,) * len(surfaces)
        self.embeddings = (
            embeddings  # (n, width) input embeddings, or None where the model is not at hand
        )
        self._values: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.surfaces)

    def __repr__(self) -> str:
        return f"Text({''.join(self.surfaces)!r}, {len(self)} tokens)"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        entry = VOCABULARY.get(name)
        if entry is None or entry.kind == "function":
            raise AttributeError(f"the program language has no entry text.{name}")
        if not entry.parameters:
            return self.remember(name, lambda: entry.compute(self))

        def called(*arguments: Any) -> Any:
            # Tensor arguments (properties given to latest, before, ...) hash by identity, and the
            # cached value keeps them alive so that an identity is never used twice.
            key = (name, *(id(a) if isinstance(a, Tensor) else a for a in arguments))
            return self.remember(key, lambda: (arguments, entry.compute(self, *arguments)))[1]

        return called

    def remember(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value kept under `key`, computed at the first asking."""
        if key not in self._values:
            self._values[key] = compute()
        return self._values[key]

    def forget(self) -> None:
        """Drop all values kept; worth doing between texts when many programs look at each."""
        self._values.clear()

    def prefix(self, length: int) -> Text:
        """The text's first `length` tokens as a text of their own."""
        return Text(
            self.surfaces[:length],
            self.token_ids[:length].tolist(),
            self.vocabulary_size,
            causal=self.causal,
            special=self.special[:length],
            embeddings=None if self.embeddings is None else self.embeddings[:length],
        )


def token_surfaces(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Each token as it reads in the text: words that follow a space begin with one.

    Byte-level BPE, SentencePiece and WordPiece pieces come out alike, so that a program means the
    same whatever the tokenizer: `" the"`, `"ing"`, `","`, and a line break as a line break.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(token_ids))
    special_ids = set(tokenizer.all_special_ids)
    word_pieces = any(piece.startswith("##") for piece in pieces) or "##s" in tokenizer.get_vocab()
    surfaces = []
    for piece, token_id in zip(pieces, token_ids, strict=True):
        if token_id in special_ids:
            surfaces.append(piece)
        elif piece.startswith("▁"):
            surfaces.append(piece.replace("▁", " "))
        elif word_pieces:
            continues = piece.startswith("##") or not piece[:1].isalnum()
            surfaces.append(piece.removeprefix("##") if continues else " " + piece)
        elif piece.startswith("<0x") and piece.endswith(">"):
            surfaces.append(chr(int(piece[3:-1], 16)))
        else:
            surfaces.append(str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False)))
    return surfaces


def read_text(
    tokenizer: PreTrainedTokenizerBase,
    token_ids: Sequence[int],
    *,
    causal: bool = True,
    embedding_table: Tensor | None = None,
) -> Text:
    """The text that a tokenizer's ids spell; `embedding_table` is (vocabulary, width) or None."""
    special_ids = set(tokenizer.all_special_ids)
    return Text(
        token_surfaces(tokenizer, token_ids),
        token_ids,
        len(tokenizer),
        causal=causal,
        special=[token_id in special_ids for token_id in token_ids],
        embeddings=None
        if embedding_table is None
        else embedding_table[torch.as_tensor(list(token_ids), dtype=torch.long)],
    )

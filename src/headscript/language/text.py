"""A tokenised text as a program sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscript.language.vocabulary import VOCABULARY, Entry

if TYPE_CHECKING:
    from rich.console import RenderableType
    from transformers import PreTrainedTokenizerBase


class Text:
    """One tokenised text: what a program may look at, and nothing else of the model.

    Vocabulary entries are its attributes: `text.is_comma` is a token property of shape (n,),
    `text.distance` a relation of shape (n, n) whose first axis is the query and second the key,
    `text.previous(2)` one with an argument. Values are computed once and kept.

    `surfaces` holds each token as it reads in the text, a leading space included where a word
    starts with one. `causal` says whether a query may look at itself and earlier tokens alone.
    `first_query` leaves out the rows of earlier queries: relations then have the shape
    (n - first_query, n), as a text that grows token by token needs.
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
        first_query: int = 0,
        reader: TextReader | None = None,
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
        self.first_query = first_query
        self.reader = reader
        """What read it, which knows its tokenizer; only free-form programs are told of that."""
        self._values: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.surfaces)

    def __repr__(self) -> str:
        return f"Text({''.join(self.surfaces)!r}, {len(self)} tokens)"

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.text(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.text(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        entry = VOCABULARY.get(name)
        if entry is None or entry.kind == "function":
            raise AttributeError(f"the program language has no entry text.{name}")
        if not entry.parameters:
            return self.remember(name, lambda: self.compute(entry))

        def called(*arguments: Any) -> Any:
            # Tensor arguments (properties given to latest, before, ...) hash by identity, and the
            # cached value keeps them alive so that an identity is never used twice.
            key = (name, *(id(a) if isinstance(a, Tensor) else a for a in arguments))
            return self.remember(key, lambda: (arguments, self.compute(entry, *arguments)))[1]

        return called

    def compute(self, entry: Entry, *arguments: Any) -> Any:
        """The value of an entry, not kept: (n,) for a token property, (rows, n) for a relation."""
        if entry.kind != "relation" or entry.by_row or not self.first_query:
            return entry.compute(self, *arguments)
        whole = self.remember("(whole)", self.from_first_query)
        return entry.compute(whole, *arguments)[self.first_query :]

    @property
    def rows(self) -> slice:
        """The queries whose rows relations have."""
        return slice(self.first_query, len(self))

    def of_queries(self, values: Tensor) -> Tensor:
        """A token property (..., n) seen from the queries: (..., rows, 1)."""
        return values[..., self.first_query :, None]

    def remember(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value kept under `key`, computed at the first asking."""
        if key not in self._values:
            self._values[key] = compute()
        return self._values[key]

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep a value that `remember` would compute, where it is known already."""
        self._values[key] = value

    def kept(self, key: Hashable) -> Any:
        """The value kept under `key`; None where there is none."""
        return self._values.get(key)

    def forget(self) -> None:
        """Drop all values kept; worth doing between texts when many programs look at each."""
        self._values.clear()

    def prefix(self, length: int) -> Text:
        """The text's first `length` tokens as a text of their own."""
        return self._part(0, length)

    def tail(self, length: int) -> Text:
        """The text's last `length` tokens as a text of their own."""
        return self._part(max(0, len(self) - length), len(self))

    def from_first_query(self, first_query: int = 0) -> Text:
        """The same tokens with the rows from another query on."""
        return self._part(0, len(self), first_query)

    def chosen(self, places: Sequence[int]) -> Text:
        """Some of the tokens as a text of their own."""
        return Text(
            [self.surfaces[place] for place in places],
            [int(self.token_ids[place]) for place in places],
            self.vocabulary_size,
            causal=self.causal,
            special=[self.special[place] for place in places],
            embeddings=None if self.embeddings is None else self.embeddings[list(places)],
            reader=self.reader,
        )

    def _part(self, start: int, stop: int, first_query: int = 0) -> Text:
        return Text(
            self.surfaces[start:stop],
            self.token_ids[start:stop].tolist(),
            self.vocabulary_size,
            causal=self.causal,
            special=self.special[start:stop],
            embeddings=None if self.embeddings is None else self.embeddings[start:stop],
            first_query=first_query,
            reader=self.reader,
        )


class TextReader:
    """Turns token ids into texts; knows how each token of a tokenizer reads.

    Byte-level BPE, SentencePiece and WordPiece pieces come out alike, so that a program means the
    same whatever the tokenizer: `" the"`, `"ing"`, `","`, and a line break as a line break. Words
    that follow a space begin with one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        causal: bool = True,
        embedding_table: Tensor | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._causal = causal
        self._embedding_table = embedding_table
        self._special = set(tokenizer.all_special_ids)
        self._word_pieces = "##s" in tokenizer.get_vocab()
        self._size = len(tokenizer)
        self._surfaces: dict[int, str] = {}

    def __call__(self, token_ids: Sequence[int], *, first_query: int = 0) -> Text:
        """The text that ids spell, with the rows from `first_query` on."""
        return Text(
            self.surfaces(token_ids),
            token_ids,
            self._size,
            causal=self._causal,
            special=[token_id in self._special for token_id in token_ids],
            embeddings=None
            if self._embedding_table is None
            else self._embedding_table[torch.as_tensor(list(token_ids), dtype=torch.long)],
            first_query=first_query,
            reader=self,
        )

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer whose ids it reads."""
        return self._tokenizer

    def surfaces(self, token_ids: Sequence[int]) -> list[str]:
        """Each token as it reads in the text."""
        new = list({token_id for token_id in token_ids if token_id not in self._surfaces})
        pieces = self._tokenizer.convert_ids_to_tokens(new)
        for token_id, piece in zip(new, pieces, strict=True):
            self._surfaces[token_id] = self._surface(token_id, piece)
        return [self._surfaces[token_id] for token_id in token_ids]

    def _surface(self, token_id: int, piece: str | None) -> str:
        if piece is None:  # an id that the model has and its tokenizer has not
            return ""
        if token_id in self._special:
            return piece
        if piece.startswith("▁"):
            return piece.replace("▁", " ")
        if self._word_pieces:
            continues = piece.startswith("##") or not piece[:1].isalnum()
            return piece.removeprefix("##") if continues else " " + piece
        if piece.startswith("<0x") and piece.endswith(">"):
            return chr(int(piece[3:-1], 16))
        return str(self._tokenizer.decode([token_id], clean_up_tokenization_spaces=False))


def token_surfaces(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Each token as it reads in the text: words that follow a space begin with one."""
    return TextReader(tokenizer).surfaces(token_ids)


def read_text(
    tokenizer: PreTrainedTokenizerBase,
    token_ids: Sequence[int],
    *,
    causal: bool = True,
    embedding_table: Tensor | None = None,
) -> Text:
    """The text that a tokenizer's ids spell; `embedding_table` is (vocabulary, width) or None.

    For many texts of one tokenizer a `TextReader` is faster.
    """
    return TextReader(tokenizer, causal=causal, embedding_table=embedding_table)(token_ids)

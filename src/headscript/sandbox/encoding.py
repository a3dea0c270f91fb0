"""What calling the sandbox's tokenizer gives: ids, words and places, as transformers has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class _Size(int):
    """A number of elements that can be called, as torch has it."""

    shape: tuple[int, ...] = ()

    def __call__(self, axis: int | None = None) -> Any:
        return self.shape if axis is None else self.shape[axis]


class IdTensor(np.ndarray[Any, Any]):
    """Token ids as an array that also knows what programs ask of a torch tensor."""

    @property
    def size(self) -> Any:
        """The number of elements; called, the shape."""
        size = _Size(int(np.prod(self.shape)))
        size.shape = self.shape
        return size

    def _same(self, *arguments: Any, **options: Any) -> IdTensor:
        return self

    cpu = detach = to = long = contiguous = clone = _same

    def numpy(self) -> np.ndarray[Any, Any]:
        """The ids as a plain array."""
        return np.asarray(self)

    def dim(self) -> int:
        """The number of axes."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    def unsqueeze(self, axis: int) -> Any:
        """The ids with a new axis."""
        return np.expand_dims(self, axis)


def as_tensor(rows: Any) -> IdTensor:
    """Rows of ids as a tensor."""
    return np.asarray(rows, dtype=np.int64).view(IdTensor)


class Row:
    """One text as the tokenizer divides it."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.ids: list[int] = list(found["ids"])
        self.tokens: list[str] = list(found["tokens"])
        self.offsets = [(start, end) for start, end in found["offsets"]]
        self.special: list[bool] = list(found["special"])
        self.words: list[int | None] = list(found["words"])

    def __len__(self) -> int:
        return len(self.ids)

    def kept(self, places: Sequence[int]) -> Row:
        """Some of its tokens."""
        return Row(
            {
                "ids": [self.ids[place] for place in places],
                "tokens": [self.tokens[place] for place in places],
                "offsets": [self.offsets[place] for place in places],
                "special": [self.special[place] for place in places],
                "words": [self.words[place] for place in places],
            }
        )

    @property
    def word_ids(self) -> list[int | None]:
        """The word that each token is of."""
        return self.words

    @property
    def attention_mask(self) -> list[int]:
        """1 for each token."""
        return [1] * len(self)

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for special tokens, 0 for others."""
        return [int(special) for special in self.special]


class Encoding(dict[str, Any]):
    """What calling the tokenizer gives: a dictionary with attributes, like BatchEncoding."""

    def __init__(self, rows: list[Row], values: dict[str, Any]) -> None:
        super().__init__(values)
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def __getitem__(self, name: Any) -> Any:
        return self._rows[name] if isinstance(name, int) else super().__getitem__(name)

    @property
    def is_fast(self) -> bool:
        """Whether there are words and offsets: yes."""
        return True

    @property
    def encodings(self) -> list[Row]:
        """The texts one by one."""
        return self._rows

    @property
    def data(self) -> dict[str, Any]:
        """The dictionary."""
        return dict(self)

    def to(self, *arguments: Any, **options: Any) -> Encoding:
        """Itself: there are no devices here."""
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a text."""
        return self._rows[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word that each token of a text is of."""
        return self._rows[batch_index].words

    words = word_ids

    def char_to_token(self, first: int, second: int | None = None) -> int | None:
        """The token that a character is in."""
        row, char = (0, first) if second is None else (first, second)
        for place, (start, end) in enumerate(self._rows[row].offsets):
            if start <= char < end:
                return place
        return None

    def token_to_chars(self, first: int, second: int | None = None) -> tuple[int, int]:
        """Where a token stands in its text."""
        row, token = (0, first) if second is None else (first, second)
        return self._rows[row].offsets[token]

    def token_to_word(self, first: int, second: int | None = None) -> int | None:
        """The word that a token is of."""
        row, token = (0, first) if second is None else (first, second)
        return self._rows[row].words[token]

    def word_to_tokens(self, first: int, second: int | None = None) -> Any:
        """The first token of a word and the one after its last; None if it has none."""
        row, word = (0, first) if second is None else (first, second)
        places = [place for place, of in enumerate(self._rows[row].words) if of == word]
        return (places[0], places[-1] + 1) if places else None

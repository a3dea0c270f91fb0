"""What a program in the sandbox has for a tokenizer.

It answers as a transformers tokenizer would, from what is known of the sentence. For anything else
(another text, a word's id) it asks the host, which answers with data; `ask` is that question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from headscript.sandbox.encoding import Encoding, Row, as_tensor
from headscript.sandbox.sentence import Sentence

Ask = Callable[[dict[str, Any]], Any]
"""A question to the host, and its answer."""

_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class _Vocabulary:
    """The vocabulary as a mapping whose entries are asked for one by one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def get(self, token: str, default: Any = None) -> Any:
        found = self._tokenizer.id_of(token)
        return default if found is None else found

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and self._tokenizer.id_of(token) is not None

    def __getitem__(self, token: str) -> int:
        found = self._tokenizer.id_of(token)
        if found is None:
            raise KeyError(token)
        return found

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("the whole vocabulary does not enter the sandbox; ask for single tokens")

    keys = values = items = __iter__


class Tokenizer:
    """A tokenizer that knows one sentence, and asks for the rest."""

    def __init__(self, sentence: Sentence, ask: Ask) -> None:
        count = len(sentence)
        self._text = sentence.text
        self._row = Row(
            {
                "ids": sentence.token_ids,
                "tokens": sentence.tokens,
                "offsets": sentence.offsets or ((0, 0),) * count,
                "special": sentence.special or (False,) * count,
                "words": sentence.words or (None,) * count,
            }
        )
        surfaces = sentence.surfaces or sentence.tokens
        self._surfaces = dict(zip(sentence.token_ids, surfaces, strict=True))
        self._tokens = dict(zip(sentence.token_ids, sentence.tokens, strict=True))
        self._ids: dict[str, int | None] = dict(
            zip(sentence.tokens, sentence.token_ids, strict=True)
        )
        self._ask = ask
        self._size = sentence.vocabulary_size
        self._roles = sentence.special_tokens
        self.vocab_size = sentence.vocabulary_size
        self.model_max_length = sentence.longest or int(1e30)
        self.is_fast = True
        self.padding_side = self.truncation_side = "right"
        self.name_or_path = ""
        for role in _ROLES:
            spelt, number = sentence.special_tokens.get(role, (None, None))
            setattr(self, f"{role}_token", spelt)
            setattr(self, f"{role}_token_id", number)
        for spelt, number in sentence.special_tokens.values():
            self._tokens.setdefault(number, spelt)
            self._surfaces.setdefault(number, spelt)
            self._ids.setdefault(spelt, number)

    def __len__(self) -> int:
        return self._size

    # Special tokens --------------------------------------------------------------------------

    @property
    def all_special_tokens(self) -> list[str]:
        """How the special tokens are spelt."""
        return list(dict.fromkeys(spelt for spelt, _ in self._roles.values()))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return list(dict.fromkeys(number for _, number in self._roles.values()))

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Role to spelling."""
        return {f"{role}_token": spelt for role, (spelt, _) in self._roles.items()}

    # Text to tokens --------------------------------------------------------------------------

    def _encoded(self, text: Any, special: bool, split: bool = False) -> Row:
        if isinstance(text, str) and text == self._text and not split:
            row = self._row
            if special:
                return row
            return row.kept([place for place in range(len(row)) if not row.special[place]])
        if split:
            text = [str(word) for word in text]
        elif not isinstance(text, str):
            raise ValueError("text input must be of type str")
        return Row(self._ask({"ask": "tokenize", "text": text, "special": bool(special)}))

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: Any = False,
        truncation: Any = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        return_tensors: Any = None,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        **others: Any,
    ) -> Encoding:
        """Tokenise a text or a list of texts."""
        if text_pair is not None:
            raise NotImplementedError("pairs of texts do not enter the sandbox")
        if is_split_into_words:
            together = bool(len(text)) and not isinstance(text[0], str)
        else:
            together = isinstance(text, (list, tuple))
        texts = list(text) if together else [text]
        rows = [self._encoded(one, add_special_tokens, is_split_into_words) for one in texts]
        if truncation and max_length is not None:
            rows = [row.kept(range(min(len(row), max_length))) for row in rows]
        values: dict[str, list[list[Any]]] = {"input_ids": [list(row.ids) for row in rows]}
        if "cls" in self._roles:
            values["token_type_ids"] = [[0] * len(row) for row in rows]
        values["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            values["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        longest = max((len(row) for row in rows), default=0)
        if padding:
            fill = getattr(self, "pad_token_id", None) or 0
            for name, table in values.items():
                for one in table:
                    one += [fill if name == "input_ids" else 0] * (longest - len(one))
        found: dict[str, Any] = dict(values)
        if return_tensors is not None:
            if len({len(one) for one in values["input_ids"]}) > 1:
                raise ValueError("texts of several lengths make no tensor; use padding=True")
            found = {name: as_tensor(table) for name, table in values.items()}
        if return_offsets_mapping:
            offsets: Any = [row.offsets for row in rows]
            found["offset_mapping"] = offsets if return_tensors is None else as_tensor(offsets)
        if not together and return_tensors is None:
            found = {name: table[0] for name, table in found.items()}
        return Encoding(rows, found)

    encode_plus = batch_encode_plus = __call__

    def encode(self, text: Any, *arguments: Any, **options: Any) -> Any:
        """The ids of a text."""
        encoding = self(text, *arguments, **options)
        return encoding["input_ids"]

    def tokenize(self, text: str, add_special_tokens: bool = False, **others: Any) -> list[str]:
        """The tokens of a text, without special ones."""
        return list(self._encoded(text, add_special_tokens).tokens)

    # Tokens and ids --------------------------------------------------------------------------

    def id_of(self, token: str) -> int | None:
        """The id of a token, None for one that is not in the vocabulary."""
        if token not in self._ids:
            (self._ids[token],) = self._ask({"ask": "ids", "tokens": [token]})
        return self._ids[token]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The ids of tokens; that of the unknown token for those it does not know."""
        if tokens is None:
            return None
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        found = self.id_of(tokens)
        return getattr(self, "unk_token_id", None) if found is None else found

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The tokens of ids."""
        if np.ndim(ids) == 0:
            return self._token(int(ids))
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token(int(one)) for one in ids if int(one) not in special]

    def _token(self, number: int) -> Any:
        if number not in self._tokens:
            (self._tokens[number],) = self._ask({"ask": "tokens", "ids": [number]})
        return self._tokens[number]

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **others: Any) -> Any:
        """The text of an id or of several."""
        if np.ndim(token_ids) > 1:
            return self.batch_decode(token_ids, skip_special_tokens)
        ids = [int(one) for one in np.atleast_1d(np.asarray(token_ids, dtype=np.int64))]
        if skip_special_tokens:
            special = set(self.all_special_ids)
            ids = [one for one in ids if one not in special]
        if not ids:
            return ""
        if len(ids) == 1 and ids[0] in self._surfaces:
            return self._surfaces[ids[0]]
        return self._ask({"ask": "decode", "ids": ids})

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **more: Any) -> Any:
        """The texts of several lists of ids, or of ids."""
        return [self.decode(one, skip_special_tokens) for one in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> Any:
        """The text of tokens."""
        return self.decode([self.convert_tokens_to_ids(token) for token in tokens])

    def get_special_tokens_mask(
        self, token_ids_0: Any, token_ids_1: Any = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens, 0 for others."""
        special = set(self.all_special_ids)
        return [int(int(one) in special) for one in token_ids_0]

    def get_vocab(self) -> Any:
        """The vocabulary, as far as tokens are asked for one by one."""
        return _Vocabulary(self)

    @property
    def vocab(self) -> Any:
        """The same."""
        return _Vocabulary(self)

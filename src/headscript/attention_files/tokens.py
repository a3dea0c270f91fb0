"""The tokens of foreign files as ids of a tokenizer, and tokenizers from where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headscript.attention_files.text import AttentionText
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.language.text import TextReader
from headscript.records import RECORD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WHOLE_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


class TokenMapper:
    """Finds the ids of tokens that a file gives as numbers, as strings, or as both."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.read = TextReader(tokenizer)
        self._tokenizer = tokenizer
        self._pieces: dict[str, int] = tokenizer.get_vocab()
        self._known = set(self._pieces.values())
        self._by_surface: dict[str, list[int]] = {}

    def __call__(self, text: AttentionText) -> tuple[int, ...]:
        """The ids of a text.

        Raises HeadscriptError where the tokenizer does not have an id or a string, where it reads
        an id otherwise than the file does, and where a string is that of several tokens.
        """
        if text.token_ids is None:
            assert text.tokens is not None
            return self._of_strings(text, text.tokens)
        unknown = next((number for number in text.token_ids if number not in self._known), None)
        if unknown is not None:
            raise HeadscriptError(
                f"{text.place} has the token id {unknown}, which the tokenizer does not; name the "
                "tokenizer of the model that was recorded."
            )
        if text.tokens is not None:
            self._check_strings(text, text.token_ids, text.tokens)
        return text.token_ids

    def spelled(self, token_ids: Sequence[int]) -> str:
        """The text that ids spell."""
        return str(
            self._tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _check_strings(
        self, text: AttentionText, ids: Sequence[int], tokens: Sequence[str]
    ) -> None:
        surfaces = self.read.surfaces(ids)
        pieces = self._tokenizer.convert_ids_to_tokens(list(ids))
        for place, (token, surface, piece) in enumerate(zip(tokens, surfaces, pieces, strict=True)):
            if token not in (surface, piece) and token.strip() != surface.strip():
                raise HeadscriptError(
                    f"Token {place} of {text.place} is {token!r}, and the tokenizer reads its id "
                    f"{ids[place]} as {surface!r}; name the tokenizer of the model that was "
                    "recorded."
                )

    def _of_strings(self, text: AttentionText, tokens: Sequence[str]) -> tuple[int, ...]:
        if all(token in self._pieces for token in tokens):
            return tuple(self._pieces[token] for token in tokens)
        if not self._by_surface:
            ids = sorted(self._known)
            for number, surface in zip(ids, self.read.surfaces(ids), strict=True):
                self._by_surface.setdefault(surface, []).append(number)
        found = []
        for place, token in enumerate(tokens):
            numbers = self._by_surface.get(token, [])
            if len(numbers) != 1:
                many = f"{len(numbers)} tokens that read so" if numbers else "no such token"
                raise HeadscriptError(
                    f"Token {place} of {text.place} is {token!r}, and the tokenizer has {many}; "
                    "save token_ids, or name the tokenizer of the model that was recorded."
                )
            found.append(numbers[0])
        return tuple(found)


def open_tokenizer(
    places: Sequence[str | Path], *, on_event: Listener = ignore
) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, a run or a model; GPT-2's kind from a vocabulary and merges.

    `places` is one of these, a folder with a file *vocab.json and one *merges.txt too, or those two
    files. Raises HeadscriptError where there is none.
    """
    from headscript.models.loading import load_tokenizer, read_tokenizer

    paths = [Path(place).expanduser() for place in places]
    if len(paths) == 2:
        return _byte_level(paths, str(places[0]))
    if len(paths) != 1:
        raise HeadscriptError(
            f"A tokenizer is one folder, or a vocabulary and merges, not {len(paths)} files."
        )
    folder = paths[0]
    if not folder.is_dir():
        if folder.is_file():
            raise HeadscriptError(
                f"{folder} alone is no tokenizer; name its folder, or a vocabulary (.json) and "
                "merges (.txt)."
            )
        return load_tokenizer(str(places[0]), on_event=on_event)[0]
    if (folder / RECORD).is_file():
        return read_tokenizer(folder / "tokenizer")
    if any((folder / name).is_file() for name in _WHOLE_TOKENIZER):
        return read_tokenizer(folder)
    return _byte_level([*folder.glob("*vocab.json"), *folder.glob("*merges.txt")], str(folder))


def _byte_level(files: Sequence[Path], where: str) -> PreTrainedTokenizerBase:
    from transformers import GPT2Tokenizer

    from headscript.models.weights import first_line, quiet

    by_kind = {file.suffix.lower(): file for file in files if file.is_file()}
    if len(files) != 2 or by_kind.keys() != {".json", ".txt"}:
        raise HeadscriptError(
            f"There is no tokenizer at {where}; name a folder with tokenizer.json, or with a "
            "vocabulary (*vocab.json) and merges (*merges.txt)."
        )
    try:
        with quiet():
            made: PreTrainedTokenizerBase = GPT2Tokenizer(
                vocab=str(by_kind[".json"]), merges=str(by_kind[".txt"])
            )
            made("a")
    except Exception as error:  # the readers of tokenizers raise what they like
        raise HeadscriptError(
            f"The vocabulary {by_kind['.json']} and the merges {by_kind['.txt']} make no tokenizer "
            f"({first_line(error)})."
        ) from error
    return made

"""The module `spacy` as programs in the sandbox import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from headscript.sandbox.linguistics import Doc, Span, Token


class Language:
    """What `spacy.load` gives."""

    def __init__(self, parse: Callable[[str], dict[str, Any]]) -> None:
        self._parse = parse
        self._docs: dict[str, Doc] = {}
        self.lang = "en"
        self.max_length = 1_000_000
        self.pipe_names = ["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner"]

    def __call__(self, text: Any, **others: Any) -> Doc:
        """Read a text."""
        if isinstance(text, Doc):
            return text
        if not isinstance(text, str):
            raise ValueError("spaCy reads a str or a Doc")
        if text not in self._docs:
            self._docs[text] = Doc(self._parse(text))
        return self._docs[text]

    make_doc = __call__

    def pipe(self, texts: Any, **others: Any) -> Iterator[Doc]:
        """Read several texts."""
        return (self(text) for text in texts)

    def has_pipe(self, name: str) -> bool:
        """Whether the pipeline has a step."""
        return name in self.pipe_names

    def add_pipe(self, *arguments: Any, **others: Any) -> None:
        """Nothing: the pipeline is that of the host."""

    disable_pipes = select_pipes = remove_pipe = add_pipe


def spacy_modules(parse: Callable[[str], dict[str, Any]]) -> dict[str, ModuleType]:
    """`spacy` and what programs import from it; `parse` gives a text's parse."""
    language = Language(parse)

    def load(*arguments: Any, **others: Any) -> Language:
        return language

    def nothing(*arguments: Any, **others: Any) -> bool:
        return True

    contents: dict[str, dict[str, Any]] = {
        "spacy": {"load": load, "blank": load, "prefer_gpu": nothing, "Language": Language},
        "spacy.tokens": {"Doc": Doc, "Span": Span, "Token": Token},
        "spacy.language": {"Language": Language},
        "spacy.cli": {"download": nothing},
        "spacy.util": {"is_package": nothing},
        "en_core_web_sm": {"load": load},
    }
    modules = {name: ModuleType(name) for name in contents}
    for name, values in contents.items():
        vars(modules[name]).update(values)
    for name in ("tokens", "language", "cli", "util"):
        setattr(modules["spacy"], name, modules[f"spacy.{name}"])
    return modules

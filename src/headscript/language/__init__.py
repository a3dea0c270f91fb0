"""The program language: its vocabulary, the text a program looks at, and the gate."""

from headscript.language import functions, relations, token_properties
from headscript.language.text import Text, read_text, token_surfaces
from headscript.language.vocabulary import VOCABULARY, Entry, Vocabulary

__all__ = [
    "VOCABULARY",
    "Entry",
    "Text",
    "Vocabulary",
    "functions",
    "read_text",
    "relations",
    "token_properties",
    "token_surfaces",
]

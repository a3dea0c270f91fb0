"""The program language: its vocabulary, the text a program looks at, and the gate.

A program file imports its functions from here, and `run`, which prints its pattern for a sentence.
"""

from collections.abc import Callable
from typing import Any

# linguistics is imported for what it registers; it loads spaCy only when an entry is asked for.
from headscript.language import functions, linguistics, relations, token_properties
from headscript.language.functions import (
    exp,
    key,
    log,
    maximum,
    minimum,
    query,
    softmax,
    sqrt,
    where,
)
from headscript.language.gate import GateError, check_expression, check_program
from headscript.language.text import Text, read_text, token_surfaces
from headscript.language.vocabulary import VOCABULARY, Entry, Vocabulary
from headscript.versions import VOCABULARY_VERSION

__all__ = [
    "VOCABULARY",
    "VOCABULARY_VERSION",
    "Entry",
    "GateError",
    "Text",
    "Vocabulary",
    "check_expression",
    "check_program",
    "exp",
    "functions",
    "key",
    "linguistics",
    "log",
    "maximum",
    "minimum",
    "query",
    "read_text",
    "relations",
    "run",
    "softmax",
    "sqrt",
    "token_properties",
    "token_surfaces",
    "where",
]


def run(attend: Callable[..., Any]) -> None:
    """Print the pattern of a program file for the sentence on its command line."""
    from headscript.programs.standalone import run as run_standalone

    run_standalone(attend)


def __getattr__(name: str) -> Any:
    """Functions that plug-ins have added, so that programs can import them from here too."""
    entry = None if name.startswith("_") else VOCABULARY.get(name)
    if entry is None or entry.kind != "function":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return entry.compute

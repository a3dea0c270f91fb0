"""What a program may import in the sandbox.

Modules of the standard library that only compute, NumPy, and stand-ins for spaCy and the names that
annotations take from transformers. All are loaded before the child gives up files.
"""

from __future__ import annotations

import builtins
import sys
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from headscript.sandbox.pipeline import spacy_modules

ALLOWED = (
    "__future__",
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "copy",
    "dataclasses",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "numbers",
    "numpy",
    "numpy.fft",
    "numpy.lib.stride_tricks",
    "numpy.linalg",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.random",
    "numpy.typing",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "unicodedata",
    "warnings",
)
STAND_INS = ("en_core_web_sm", "spacy", "transformers", "typing_extensions")

# What NumPy and Python import only when it is first needed.
_LAZY = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.unicode_escape",
    "encodings.utf_16",
    "numpy._core._exceptions",
    "numpy._core._methods",
    "numpy.char",
    "numpy.strings",
    "stringprep",
    "traceback",
)
_ANNOTATIONS = (
    "AutoTokenizer",
    "BatchEncoding",
    "PreTrainedModel",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
)


def load_all() -> None:
    """Load what programs may import, once, in the parent."""
    for name in (*ALLOWED, *_LAZY):
        import_module(name)


def stand_ins(parse: Callable[[str], dict[str, Any]]) -> dict[str, ModuleType]:
    """The modules that stand in for those that do not enter; `parse` gives a text's parse."""
    transformers = ModuleType("transformers")

    class Annotation:
        """A class of transformers, of which only the name is here."""

        @classmethod
        def from_pretrained(cls, *arguments: Any, **others: Any) -> Any:
            raise RuntimeError(
                "no model or tokenizer is loaded in the sandbox; use the one that is given"
            )

    for name in _ANNOTATIONS:
        setattr(transformers, name, type(name, (Annotation,), {}))
    base = ModuleType("transformers.tokenization_utils_base")
    vars(base).update({name: getattr(transformers, name) for name in _ANNOTATIONS})
    return {
        **spacy_modules(parse),
        "transformers": transformers,
        "transformers.tokenization_utils_base": base,
        "typing_extensions": typing,
    }


def importer(modules: Mapping[str, ModuleType]) -> Callable[..., Any]:
    """An `__import__` for programs: stand-ins first, then what the process has loaded.

    That is more than `ALLOWED`, since NumPy's own code comes here, too. What keeps a program from
    files and processes is the policy, not this.
    """
    true_import = builtins.__import__

    def __import__(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        if level:
            raise ImportError("a program is one file: there is nothing to import from beside it")
        root = name.partition(".")[0]
        if root in modules:
            if name not in modules:
                raise ModuleNotFoundError(f"the sandbox has no module {name}", name=name)
            return modules[name if fromlist else root]
        if name not in sys.modules:
            raise ModuleNotFoundError(f"the sandbox has no module {name}", name=name)
        return true_import(name, globals, locals, fromlist, 0)

    return __import__

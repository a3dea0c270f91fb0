"""Functions that numba compiles and keeps on disk, and those that are written down for LLVM.

Numba takes kept code as good while the file of its function stays as it is. What that function
calls, and constants that became part of it, may stand in other files of this folder. So code is
kept under a name with a hash of them all, and a change of any file makes all of it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from inspect import Parameter, Signature, signature
from typing import Any

from numba import njit, types
from numba.extending import intrinsic


def compiled(signature: str, function: Callable[..., Any], **options: Any) -> Any:
    """Machine code that lets other threads run, kept on disk where there is a place for it."""
    function.__qualname__ = f"{function.__name__}_{_hash_of_sources()}"  # part of the file's name
    try:
        return njit(signature, nogil=True, cache=True, **options)(function)
    except (RuntimeError, OSError):
        return njit(signature, nogil=True, **options)(function)


@cache
def _hash_of_sources() -> str:
    sources = [file for file in files(__package__).iterdir() if file.name.endswith(".py")]
    sources.sort(key=lambda file: file.name)
    return sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]


def written(returns: Any = types.void) -> Callable[[Callable[..., Any]], Any]:
    """Make of `write(builder, *arguments)` a function that compiled code calls.

    `write` gets arrays with `data` and `shape`, integers of 64 bits, and other numbers as they are;
    what it gives back is of the type `returns`.
    """

    def function(write: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
            given = [
                context.make_array(kind)(context, builder, value)
                if isinstance(kind, types.Array)
                else value
                for kind, value in zip(of.args, arguments, strict=True)
            ]
            found = write(builder, *given)
            return context.get_dummy_value() if returns is types.void else found

        def typed(typing: Any, *kinds: Any) -> Any:
            plain = [types.intp if isinstance(kind, types.Integer) else kind for kind in kinds]
            return returns(*plain), generate

        # Numba asks how many arguments there are.
        arguments = list(signature(write).parameters.values())[1:]
        typing = Parameter("typing", Parameter.POSITIONAL_OR_KEYWORD)
        typed.__signature__ = Signature([typing, *arguments])  # type: ignore[attr-defined]
        typed.__name__ = write.__name__
        return intrinsic(typed)

    return function

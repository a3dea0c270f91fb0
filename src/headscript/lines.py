"""The lines of Python source, as Python numbers them."""

from __future__ import annotations


def source_lines(source: str) -> list[str]:
    """The lines of a source without their ends; what ends with a line break has an empty last one.

    Line n of a syntax tree is number n - 1. `str.splitlines` would not do: it also breaks lines at
    form feeds, at U+2028 and at other characters that stand within a line to Python.
    """
    return source.replace("\r\n", "\n").replace("\r", "\n").split("\n")

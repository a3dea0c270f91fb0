"""Programs of decoders for encoders, and the reverse.

In a decoder a row ends at the query: `softmax(scores)`. In an encoder it goes on to the last token:
`softmax(scores, text.allowed)`. The second form fits both, for `text.allowed` is what the model's
kind allows; so a program for an encoder is given the mask, and a decoder takes either form. What a
decoder cannot take is a program that looks at tokens after the query by what it reads.
"""

from __future__ import annotations

import ast

from headscript.errors import HeadscriptError
from headscript.programs.program import Program


def suited(program: Program, *, causal: bool) -> Program | None:
    """The program for the texts of a decoder (`causal`) or an encoder; None where it suits none."""
    if causal:
        return program if program.prefix_consistent else None
    return with_mask(program)


def with_mask(program: Program) -> Program | None:
    """The program with rows over all allowed keys; itself where it has its masks.

    None where no mask can be written into its source.
    """
    places = [
        _end_of(node, program.source)
        for node in ast.walk(ast.parse(program.source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "softmax"
        and len(node.args) == 1
    ]
    if not places:
        return program
    encoded = program.source.encode()
    for place in sorted(places, reverse=True):
        before = encoded[:place].rstrip()
        comma = b"" if before.endswith(b",") else b","
        encoded = before + comma + b" text.allowed" + encoded[len(before) : place] + encoded[place:]
    try:
        return Program.parse(encoded.decode(), program.name)
    except HeadscriptError:  # a comment behind the last operand, say
        return None


def _end_of(call: ast.Call, source: str) -> int:
    """Where a call's closing bracket stands, in bytes of the UTF-8 source."""
    assert call.end_lineno is not None
    assert call.end_col_offset is not None
    lines = source.encode().splitlines(keepends=True)
    return sum(map(len, lines[: call.end_lineno - 1])) + call.end_col_offset - 1

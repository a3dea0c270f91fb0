"""Programs of decoders for encoders, and the reverse.

In a decoder a row ends at the query: `softmax(scores)`. In an encoder it goes on to the last token:
`softmax(scores, text.allowed)`. The second form fits both, for `text.allowed` is what the model's
kind allows; so a program for an encoder is given the mask, and a decoder takes either form. What a
decoder cannot take is a program that looks at tokens after the query by what it reads.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

from headscript.errors import HeadscriptError
from headscript.lines import source_lines
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
    lines = source_lines(program.source)
    source = "\n".join(lines)
    ends = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "softmax"
            and len(node.args) == 1
        ):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            before = lines[node.end_lineno - 1].encode()[: node.end_col_offset]
            ends.add((node.end_lineno, len(before.decode())))
    if not ends:
        return program
    # From the last back, so that places before it stay what they are.
    for (line, column), comma in sorted(_last_operands(source, ends), reverse=True):
        text = lines[line - 1]
        lines[line - 1] = f"{text[:column]}{comma} text.allowed{text[column:]}"
    try:
        return Program.parse("\n".join(lines), program.name)
    except HeadscriptError:
        return None


def _last_operands(
    source: str, ends: set[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], str]]:
    """Where the operands of calls that end at `ends` end, and the comma that is missing there."""
    last, comma = (1, 0), ","
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        if token.string == ")" and token.end in ends:
            yield last, comma
        last, comma = token.end, "" if token.string == "," else ","

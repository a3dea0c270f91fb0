"""Lines are counted as Python counts them, whatever characters stand in them."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscript.library.masks import with_mask
from headscript.lines import source_lines
from headscript.programs import Program
from headscript.propose.candidates import Outcome
from headscript.propose.llm.answers import read_answer
from headscript.sandbox.finding import find_programs
from headscript.tuning.retelling import with_first_line

ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What ends a line to `str.splitlines` and stands within one to Python."""


@given(
    st.lists(st.text(ODD + "ab ", max_size=4), max_size=4), st.sampled_from(["\n", "\r\n", "\r"])
)
def test_lines_are_those_of_the_syntax_tree(comments, end):
    source = end.join([*(f"'''{said}'''  # {said}" for said in comments), "last = 1"]) + end
    tree = ast.parse(source)
    lines = source_lines(source)
    assert lines[-1] == ""
    assert len(lines) == len(comments) + 2
    assert lines[tree.body[-1].lineno - 1] == "last = 1"
    for node in tree.body:
        line = lines[node.lineno - 1].encode()
        assert ast.parse(line[: node.end_col_offset]).body


@pytest.mark.parametrize("odd", ["\x0c", "\x85", "\u2028"])
def test_a_program_is_cut_out_masked_and_told_anew(odd):
    function = "\n".join(
        [
            "def attend(text, a=1.0):",
            f'    """One{odd}two."""  # {odd}',
            "    return softmax(a * text.first)",
        ]
    )
    program = Program.parse(f'"""Title{odd}more."""\n\n\n{function}\n')
    masked = with_mask(program)
    assert masked is not None
    assert masked.source == program.source.replace("text.first)", "text.first, text.allowed)")
    assert with_first_line(program.source, '"""New."""') == f'"""New."""\n\n\n{function}\n'
    (reading,) = read_answer(f"```python\n# {odd}\n{function}\n```")
    assert reading.outcome is Outcome.OK, reading.reason
    assert reading.repairs == ("import",)  # written as it was, not anew from the tree
    assert f"# {odd}" in reading.source
    (refused,) = read_answer(f"```python\n# {odd}\n{function.replace('first', 'frist')}\n```")
    assert refused.reason.startswith("`return softmax(a * text.frist)`: ")


@pytest.mark.parametrize("odd", ["\x0c", "\x85", "\u2028"])
@pytest.mark.parametrize("broken", ["", "def half(sentence, tokenizer:\n    pass\n"])
def test_published_programs_are_found_beside_odd_characters(odd, broken):
    source = (
        f'import numpy as np\n\n"""A page{odd}ends."""\n\nHALF = 0.5\n\n'
        "def halves(sentence, tokenizer):\n    return 'halves', HALF * np.eye(3)\n"
    )
    found = find_programs(broken + source)[-1]
    assert found["source"] == (
        "import numpy as np\n\nHALF = 0.5\n\n"
        "def halves(sentence, tokenizer):\n    return 'halves', HALF * np.eye(3)\n"
    )

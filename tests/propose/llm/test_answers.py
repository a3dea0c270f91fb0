"""Whatever a model answers: programs where there are some, and a named outcome for all else."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headscript.language import VOCABULARY, Entry
from headscript.programs.program import Program
from headscript.propose.candidates import Outcome
from headscript.propose.llm.answers import Reading, read_answer

GOOD = '''"""A title."""

from headscript.language import log, run, softmax


def attend(text, sink=3.0, near=0.5):
    """Rests on the first token."""
    return softmax(sink * text.first - near * log(text.distance + 1))


if __name__ == "__main__":
    run(attend)
'''
BODY = "return softmax(sink * text.first)"


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}\n```\nThat was it."


def only(answer: str, *, cut_off: bool = False) -> Reading:
    (reading,) = read_answer(answer, cut_off=cut_off)
    return reading


def program_in(reading: Reading) -> Program:
    assert reading.program is not None, reading.reason
    return reading.program


def test_a_program_as_it_was_asked_for_is_left_as_it_is():
    reading = only(fenced(GOOD))
    assert reading.outcome is Outcome.OK
    assert reading.repairs == ()
    assert reading.program == Program.parse(reading.source)
    assert reading.source.splitlines()[2:] == GOOD.splitlines()[2:]


def test_every_block_is_a_program_and_prose_blocks_are_none():
    answer = fenced("pip install x", "bash") + fenced(GOOD) + fenced(GOOD.replace("3.0", "4.0"))
    assert [r.program.constants["sink"] for r in read_answer(answer) if r.program] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("code", "repair"),
    [
        (f"def attend(text, sink=1.0):\n    '''A.'''\n    {BODY}", "import"),
        (f"def f(text, sink=1.0):\n    {BODY}", "name of the function"),
        (f"def attend(text, sink=1.0):\n    {BODY}", "no docstring"),
        (f"def attend(text, sink):\n    {BODY}", "constant without a number"),
        (f"def attend(text, *, sink: float = 1.0) -> 'Tensor':\n    {BODY}", "annotations"),
        (f"def attend(text, *, sink=1.0):\n    {BODY}", "kinds of parameters"),
        (f"@cache\ndef attend(text, sink=1.0):\n    {BODY}", "decorator"),
        (f"  def attend(text, sink=1.0):\n      {BODY}", "indented"),
        (f"> def attend(text, sink=1.0):\n>     {BODY}", "quoted"),
        ("def attend(t, sink=1.0):\n    return softmax(sink * t.first)", "name of the first"),
        (
            "def attend(text, sink=1.0):\n    return softmax(sink * text.previous(k=2))",
            "keyword arguments",
        ),
        (
            "def attend(text, sink=1.0):\n    return softmax(sink * text.first())",
            "call without arguments",
        ),
        (
            "def attend(text, a=1.0):\n"
            "    s = a * text.first\n    s += a * text.itself\n    return softmax(s)",
            "name assigned twice",
        ),
        (
            "import numpy as np\ndef attend(text, a=1.0):\n"
            "    return softmax(a * np.log(text.distance + 1))",
            "function of the language as an attribute",
        ),
        (
            "def attend(text, a=1.0):\n"
            "    return softmax(a * key(text.is_comma and not text.is_name))",
            "and, or, not",
        ),
        (
            "def attend(text, a=1.0):\n    return softmax(a * (1 < text.distance < 4))",
            "chain of comparisons",
        ),
    ],
)
def test_what_has_one_meaning_alone_is_mended_and_counted(code, repair):
    reading = only(fenced(code))
    assert reading.outcome is Outcome.OK, reading.reason
    assert any(found.startswith(repair) for found in reading.repairs), reading.repairs
    # What comes out is a whole file of the language, which reads as itself again.
    assert Program.parse(reading.source).key == program_in(reading).key
    assert program_in(only(fenced(reading.source))).key == program_in(reading).key


def test_mending_keeps_the_meaning():
    mended = only(
        fenced(
            "def attend(text, a=2.0, b=0.5):\n"
            "    s = a * text.first\n"
            "    s = s - b * log(text.distance + 1)\n"
            "    s += a * (1 < text.distance < 4)\n"
            "    return softmax(s)"
        )
    )
    plain = Program.parse(
        "def attend(text, a=2.0, b=0.5):\n"
        "    return softmax(a * text.first - b * log(text.distance + 1)"
        " + a * ((1 < text.distance) & (text.distance < 4)))"
    )
    from tests.random_patterns import random_texts

    text = random_texts([20])[0]
    assert program_in(mended)(text).allclose(plain(text))


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        ("I cannot see a pattern here.", Outcome.NO_CODE, ""),
        ("", Outcome.NO_CODE, ""),
        (fenced("x = 1"), Outcome.NO_CODE, ""),
        (fenced(GOOD.replace("text.first", "text.frist")), Outcome.REFUSED, "did you mean"),
        (
            fenced("def attend(text):\n    return text.is_comma"),
            Outcome.REFUSED,
            "one value a pair",
        ),
        (
            fenced("def attend(text):\n    for i in text: pass\n    return softmax(text.first)"),
            Outcome.REFUSED,
            "no loops",
        ),
        (fenced("def attend(text):\n    return softmax(("), Outcome.REFUSED, "syntax"),
        (
            fenced("def attend(text, a=1.0):\n    return __import__('os').system('x')"),
            Outcome.REFUSED,
            "",
        ),
        ("```python\n" + GOOD[:150], Outcome.CUT_OFF, "ends within"),
        (
            "```python\ndef attend(text, a=1.0):\n    b = text.first\n",
            Outcome.CUT_OFF,
            "ends within",
        ),
        ("<think>Let me see. ```python", Outcome.CUT_OFF, "thoughts"),
        (
            fenced("import numpy as np\ndef f(sentence, tokenizer):\n    return 'x', np.eye(3)"),
            Outcome.FREE_FORM,
            "",
        ),
    ],
)
def test_all_else_has_a_name(answer, outcome, said):
    reading = only(answer)
    assert reading.outcome is outcome
    assert reading.program is None
    assert said in reading.reason


def test_an_answer_that_was_stopped_in_the_middle_is_told_from_a_wrong_one():
    half = fenced("def attend(text, a=1.0):\n    return softmax((")
    assert only(half).outcome is Outcome.REFUSED
    assert only(half, cut_off=True).outcome is Outcome.CUT_OFF
    assert only("Let me think", cut_off=True).outcome is Outcome.CUT_OFF


def test_thoughts_are_left_out():
    reading = only(f"<think>{fenced('def attend(text): pass')}</think>{fenced(GOOD)}")
    assert reading.outcome is Outcome.OK


def test_a_program_outside_of_code_blocks_is_found():
    reading = only(f"Sure!\n\n{GOOD}")
    assert reading.outcome is Outcome.OK
    assert "no code block" in reading.repairs


@pytest.mark.parametrize("cut_off", [True, False])
def test_a_pattern_may_be_returned_by_its_name(cut_off):
    named = GOOD.replace("return softmax", "pattern = softmax").replace(
        "+ 1))", "+ 1))\n    return pattern"
    )
    reading = only("```python\n" + named, cut_off=cut_off)  # the block is not closed
    assert reading.outcome is Outcome.OK, reading.reason
    assert program_in(reading).key == Program.parse(GOOD).key
    half = only("```python\n" + named.partition("return pat")[0] + "return pat", cut_off=True)
    assert half.outcome is Outcome.CUT_OFF


def test_a_fault_behind_the_gate_costs_one_program_and_not_the_answer(monkeypatch):
    # As a plug-in may have it: nothing is computed by this entry, not even what it takes.
    broken = Entry("is_odd", "token property", None, "Odd.", parameters=("k",))  # type: ignore[arg-type]
    monkeypatch.setitem(VOCABULARY._entries, "is_odd", broken)
    odd = "def attend(text):\n    return softmax(key(text.is_odd(2)))\n"
    refused, read = read_answer(fenced(odd) + fenced(GOOD))
    assert refused.outcome is Outcome.REFUSED
    assert refused.reason.startswith("headscript fails on this program (TypeError: ")
    assert refused.source.strip() == odd.strip()
    assert read.outcome is Outcome.OK


def test_helper_functions_beside_attend_are_no_programs():
    readings = read_answer(fenced(f"def other(text):\n    return 1\n\n{GOOD[60:]}"))
    assert [reading.outcome for reading in readings] == [Outcome.OK]


PIECES = st.sampled_from(
    [
        "```python\n", "```", "\n", "~~~\n", "def attend(", "text", ", a=1.0", "):\n", "    ",
        "return softmax(", "a * text.first", ")", "'''", '"""', "import os\n", "lambda", "\\",
        "def f(sentence, tokenizer):\n    return 1\n", "<think>", "</think>", "\x00", "\ud800",
        "(" * 300, "-" * 300, "1" * 5000, GOOD, "text.", "if x:\n", "s += 1\n", "@", "async ",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)), st.booleans())
@example(
    "```\ndef attend(text, a=1" + "0" * 400 + "):\n    return softmax(a * text.first)\n```", False
)
@example("def x", False)
@example("```\nasync def f(): ...\nif " + "1 + " * 1500 + "1: pass\n```", False)
@example("```\ndef attend(text):\n    p = softmax(1.0 * text.first)\n    return p\n```", False)
@example("```python\ndef f(): return\n```", False)
def test_no_text_makes_it_fail(answer, cut_off):
    readings = read_answer(answer, cut_off=cut_off)
    assert readings
    for reading in readings:
        assert isinstance(reading.outcome, Outcome)
        assert (reading.outcome is Outcome.OK) == (reading.program is not None)
        assert reading.reason or reading.outcome in (Outcome.OK, Outcome.FREE_FORM)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(fenced(GOOD))))
def test_every_cut_of_a_good_answer_has_a_name(end):
    readings = read_answer(fenced(GOOD)[:end], cut_off=True)
    assert readings
    for reading in readings:
        assert reading.outcome in (Outcome.OK, Outcome.CUT_OFF, Outcome.NO_CODE)

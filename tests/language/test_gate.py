"""What the gate lets through, and what it says of the rest."""

import ast
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headscript.language import GateError, check_expression, check_program
from headscript.language.gate import MAX_CONSTANTS

HEAD = "from headscript.language import key, log, query, run, softmax\n"


def body(line, parameters="sink=4.1"):
    signature = f"def attend(text, {parameters}):"
    return f"{HEAD}{signature}\n    {line}\n    return softmax(sink * text.first)\n"


def result(expression):
    return f"def attend(text, sink=4.1):\n    return {expression}\n"


def refusal(source):
    with pytest.raises(GateError) as caught:
        check_program(source, "L05H03.py")
    return caught.value


def test_a_whole_file_passes():
    checked = check_program(
        '"""Head."""\n'
        + HEAD
        + "def attend(text, sink=4.1, far=-1, recency=.5):\n"
        + '    """Says so."""\n'
        + "    the = text.one_of(' the', \"'s\")\n"
        + "    near = (text.distance <= 5) & ~query(the)\n"
        + "    return softmax(\n        sink * text.first - far * near\n"
        + "        + recency / (text.distance + 1) ** 2\n    )\n"
        + "if __name__ == '__main__':\n    run(attend)\n"
    )
    assert checked.constants == {"sink": 4.1, "far": -1.0, "recency": 0.5}
    assert checked.explanation == "Says so."
    assert checked.shapes.entries == {"one_of", "distance", "first"}
    assert checked.shapes.prefix_consistent


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("if sink: x = 1", "where(condition, x, y)"),
        ("for x in text: pass", "no loops"),
        ("while True: pass", "no loops"),
        ("import os", "imports from headscript.language alone"),
        ("from os import path", "imports from headscript.language alone"),
        ("x = [t for t in text]", "no comprehensions"),
        ("x = lambda: 1", "no lambda"),
        ("class A: pass", "no classes"),
        ("def f(): pass", "no inner functions"),
        ("x = (y := 1)", "no :="),
        ("x = text.first[0]", "no indexing"),
        ("x = f'{sink}'", "no f-strings"),
        ("x = text.first and text.itself", "use & in place of and"),
        ("x = text.first or text.itself", "use & in place of and, |"),
        ("x = not text.first", "use ~ in place of not"),
        ("x = +sink", "plus sign"),
        ("x = text.first if sink else 0", "where(condition, x, y)"),
        ("x = 0 < text.distance < 3", "two values at a time"),
        ("x = text.first is text.itself", "not is or in"),
        ("x = text.one_of(*'ab')", "no *"),
        ("x = text.previous(k=1)", "without their names"),
        ("x = [1, 2]", "no lists"),
        ("x = 'the'", "only be an argument"),
        ("x = True", "is no number"),
        ("x = 1j", "is no number"),
        ("x = None", "is no number"),
        ("x = text.first // 2", "use +, -, *, /, **"),
        ("x = text.first @ text.first", "use +, -, *, /, **"),
        ("x += 1", "assign to a new name"),
        ("x: int = 1", "leave out the annotation"),
        ("x = y = 1", "one plain name"),
        ("x, y = 1, 2", "one plain name"),
        ("text.first = 1", "one plain name"),
        ("sink = 2", "already taken"),
        ("text = 2", "has a meaning"),
        ("log = 2", "has a meaning"),
        ("_x = 2", "underscore"),
        ("text.first", "no effect"),
        ("return text.first", "one return"),
        ("global x", "no part of the language"),
        ("del sink", "no part of the language"),
        ("x = text.surfaces", "no entry text.surfaces"),
        ("x = text._values", "no entry text._values"),
        ("x = text.__class__", "no entry text.__class__"),
        ("x = text.first.T", "only text has entries"),
        ("x = text.first.sum()", "only text has entries"),
        ("x = text", "text itself is no value"),
        ("x = text.is_coma", "did you mean text.is_comma"),
        ("x = text.is_comma()", "takes no arguments"),
        ("x = text.previous", "needs arguments"),
        ("x = text.within()", "not 0 arguments"),
        ("x = text.within(1, 2)", "not 2 arguments"),
        ("x = text.within('a')", "a whole number as its k"),
        ("x = text.within(1.5)", "a whole number as its k"),
        ("x = text.within(sink)", "a whole number as its k"),
        ("x = text.one_of(1)", "a string as its tokens"),
        ("x = text.latest(text.first)", "a token property as its property"),
        ("x = text.latest(1)", "a token property as its property"),
        ("x = is_comma", "say text.is_comma"),
        ("x = log", "log is a function"),
        ("x = open('f')", "there is no function 'open'"),
        ("x = eval(1)", "there is no function 'eval'"),
        ("x = __import__(1)", "there is no function"),
        ("x = unknown", "there is no name 'unknown'"),
        ("x = exp(sink)", "exp is not imported"),
        ("x = log(1, 2)", "log takes log(x)"),
        ("x = query(text.first)", "lifts a token property"),
        ("x = text.is_comma * text.first", "lift the former"),
        ("x = 1 < 2", "not two numbers"),
        ("x = ~sink", "conditions on the text"),
        ("x = sink & text.first", "conditions on the text"),
        ("x = softmax(text.is_comma)", "values of a pair"),
        ("x = 9 ** 9", "power of numbers"),
        ("x = text.distance ** 99", "between -16 and 16"),
        ("x = text.distance ** (1 + 1)", "plain number or a constant"),
        ("x = text.distance ** 2 ** 2", "exponent"),
        ("x = 1e999", "finite"),
        ("x = 10000000000", "at most"),
        ("x = text.one_of('" + "a" * 500 + "')", "at most 200 characters"),
        ("x = " + "-" * 50 + "1", "nested too deeply"),
        ("x = " + "(1 + " * 50 + "1" + ")" * 50, "nested too deeply"),
        ("x = " + "-" * 50_000 + "1", ""),
        ("x = " + "text.first * " * 60 + "1", "nested too deeply"),
    ],
)
def test_refused_lines(line, advice):
    error = refusal(body(line))
    assert str(error).startswith("L05H03.py, line ")
    assert advice in str(error)
    assert len(str(error).splitlines()) == 1
    assert error.line == 3 or "Python cannot read" in str(error)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("", "a program file holds"),
        ("x = 1", "a program file holds"),
        ("import os\n" + result("softmax(text.first)"), "a program file holds"),
        (result("softmax(text.first)") + "print(1)\n", "a program file holds"),
        (result("softmax(text.first)") * 2, "a program file holds"),
        ("from os import path\n" + result("softmax(text.first)"), "headscript.language alone"),
        ("from .language import log\n" + result("softmax(text.first)"), "alone"),
        (
            "from headscript.language import *\n" + result("softmax(text.first)"),
            "'*' is no function",
        ),
        (
            "from headscript.language import log as f\n" + result("softmax(text.first)"),
            "without 'as'",
        ),
        (
            "from headscript.language import softmx\n" + result("softmax(text.first)"),
            "mean softmax",
        ),
        ("from headscript.language import Text\n" + result("softmax(text.first)"), "no function"),
        ("def other(text):\n    return 1\n", "must be called attend"),
        ("async def attend(text):\n    return 1\n", "a program file holds"),
        ("@cache\ndef attend(text):\n    return 1\n", "decorator"),
        ("def attend(words):\n    return 1\n", "first parameter must be text"),
        ("def attend():\n    return 1\n", "first parameter must be text"),
        ("def attend(text, a):\n    return 1\n", "a number as its default"),
        ("def attend(text, a='x'):\n    return 1\n", "must be a plain number"),
        ("def attend(text, a=1 + 1):\n    return 1\n", "must be a plain number"),
        ("def attend(text, a=True):\n    return 1\n", "must be a plain number"),
        ("def attend(text, a=1e10):\n    return 1\n", "at most"),
        ("def attend(text, *a):\n    return 1\n", "no *"),
        ("def attend(text, **a):\n    return 1\n", "no *"),
        ("def attend(text, *, a=1):\n    return 1\n", "no *"),
        ("def attend(text, /, a=1):\n    return 1\n", "no *"),
        ("def attend(text: int):\n    return 1\n", "annotations"),
        ("def attend(text) -> int:\n    return 1\n", "annotations"),
        ("def attend(text, log=1.0):\n    return 1\n", "has a meaning"),
        ("def attend(text, _a=1.0):\n    return 1\n", "underscore"),
        ("def attend(text):\n    '''Only this.'''\n", "must end with"),
        ("def attend(text):\n    x = text.first\n", "must end with"),
        ("def attend(text):\n    return\n", "must end with"),
        ("def attend(text):\n    return 1\n", "one value a pair"),
        ("def attend(text):\n    return text.is_comma\n", "one value a pair"),
        ("def attend(text:\n", "not valid Python"),
        ("def attend(text):\n\treturn 1\n        x\n", "not valid Python"),
        ("\0", ""),
        ("x" * 300_000, "200,000 characters"),
        ("x;" * 30_000, "parts"),
        (
            result("softmax(text.first)") + f"if {'1 + ' * 1500}1:\n    run(attend)\n",
            "a program file holds",
        ),
    ],
)
def test_refused_files(source, advice):
    error = refusal(source)
    assert advice in str(error)
    assert str(error).startswith("L05H03.py, line ")


def test_a_default_of_many_signs_is_a_number():
    source = f"def attend(text, a={'-' * 1501}2):\n    return softmax(a * text.first)\n"
    assert check_program(source).constants == {"a": -2.0}


def test_an_explanation_can_be_written_to_a_file():
    source = "def attend(text):\n    'Half a \\ud83d.'\n    return softmax(1.0 * text.first)\n"
    assert check_program(source).explanation == "Half a ?."


def test_too_many_constants():
    names = ", ".join(f"c{number}=1.0" for number in range(MAX_CONSTANTS + 1))
    assert "at most" in str(refusal(f"def attend(text, {names}):\n    return text.first\n"))


@pytest.mark.parametrize("sign", ["+", "*", "&"])
def test_names_within_names_may_not_double_without_end(sign):
    doubled = "".join(f"    f{i + 1} = f{i} {sign} f{i}\n" for i in range(100))
    begun = time.process_time()
    error = refusal(f"def attend(text):\n    f0 = text.first\n{doubled}    return softmax(f100)\n")
    assert "with its names written out" in str(error)
    assert time.process_time() - begun < 5
    whole = "def attend(text):\n    f = " + "text.first + " * 500 + "1\n    return softmax({})\n"
    assert "names written out" in str(refusal(whole.format(" + ".join(["f"] * 200))))
    check_program(whole.format("f + f"))


def test_as_many_terms_as_constants_allow():
    names = [f"c{number}" for number in range(MAX_CONSTANTS)]
    source = (
        f"def attend(text, {', '.join(name + '=1.0' for name in names)}):\n    return softmax("
        + " + ".join(f"{name} * text.previous({number})" for number, name in enumerate(names))
        + ")\n"
    )
    assert len(check_program(source).constants) == MAX_CONSTANTS


@pytest.mark.parametrize(
    ("mask", "consistent"),
    [
        ("", True),
        (", text.allowed", True),
        (", text.allowed & (text.distance <= 5)", True),
        (", text.distance <= 5", False),
        (", text.last", False),
    ],
)
def test_a_mask_beyond_the_query_is_not_prefix_consistent(mask, consistent):
    checked = check_program(result(f"softmax(sink * text.first{mask})"))
    assert checked.shapes.prefix_consistent is consistent


def test_a_named_mask_is_followed():
    source = (
        "def attend(text):\n    near = text.allowed & (text.distance < 5)\n"
        "    return softmax(text.first, near)\n"
    )
    assert check_program(source).shapes.prefix_consistent


def test_expressions_hold_no_constants():
    tree, _ = check_expression("text.latest(text.is_comma) & (text.distance < 9)")
    assert isinstance(tree, ast.BinOp)
    for source in ("sink * text.first", "text.first; 1", "__import__('os').system('true')", ""):
        with pytest.raises(GateError):
            check_expression(source)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abtex.()[]{}'\"=+-*/<>~&|:,\n\t 019_lfrionmpdgsvq@#\\", max_size=120))
def test_odd_sources_are_refused_in_one_sentence_or_pass(odd):
    lines: list[int] = []
    for source in (odd, result(odd), body(odd)):
        started = time.process_time()
        try:
            check_program(source)
        except GateError as error:
            lines.append(error.line)
        assert time.process_time() - started < 5
    assert min(lines, default=1) >= 1

"""Programs: evaluated as Python would, differentiable, rewritten without touching anything else."""

import math
import os
import shutil
import stat
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import texts, weighted_terms

from headscript.disk import sweep
from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.language.gate import GateError
from headscript.programs import Program, ProgramError, emit
from headscript.programs.program import rounded

SOURCE = '''"""Élan: a docstring — with odd characters."""
from headscript.language import exp, key, log, minimum, query, run, softmax, sqrt, where

def attend(text, sink=4.1,  # the sink
           to_commas=-1.3, recency = 0.4, wide=3, sharp=0.5):
    """Rests on the first token."""
    articles = text.one_of(" the", " a")  # é
    near = (text.distance <= 5) & ~key(articles)
    scaled = sharp * where(near, minimum(text.distance, 3), sqrt(text.distance)) ** 2
    return softmax(
        sink * text.first
        + to_commas * (query(text.is_name) | key(text.is_comma)) * exp(-text.distance / 7)
        - recency * log(text.distance + 1) + (text.distance > wide) - scaled
        + 0.25 * key(articles) - -0.5 * text.itself
    )

if __name__ == "__main__":
    run(attend)
'''


@pytest.fixture
def text():
    surfaces = ["Once", " the", ",", " Tom", " a", " Tom", ",", " ran", "."]
    return Text(surfaces, [1, 2, 3, 4, 5, 4, 3, 8, 9], 10)


def as_python(source, text):
    """The pattern of a file that is run as Python is."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program.py", "exec"), names)
    return names["attend"](text)


def test_evaluates_as_python_does(text):
    program = Program.parse(SOURCE, "L05H03")
    pattern = program(text)
    torch.testing.assert_close(pattern, as_python(SOURCE, text))
    torch.testing.assert_close(pattern, program(text))  # from what the text has kept
    assert torch.equal(pattern.triu(1), torch.zeros_like(pattern))
    assert (program.name, program.explanation) == ("L05H03", "Rests on the first token.")
    assert program.terms == len(program) == 5
    assert program.constants["wide"] == 3.0
    assert program.prefix_consistent
    assert "is_comma" in program.entries
    assert "log" not in program.entries


def test_gradients_flow_to_constants(text):
    program = Program.parse(SOURCE)
    names = ("sink", "to_commas", "recency", "sharp")
    constants = {
        name: torch.tensor(program.constants[name], dtype=torch.float64, requires_grad=True)
        for name in names
    }

    def loss(*values):
        return program(text, dict(zip(names, values, strict=True))).square().sum()

    loss(*constants.values()).backward()
    for name, constant in constants.items():
        step = 1e-2
        plus, minus = (
            program(text, {name: torch.tensor(program.constants[name] + s)}).square().sum().item()
            for s in (step, -step)
        )
        assert constant.grad is not None
        assert constant.grad.item() == pytest.approx(
            (plus - minus) / (2 * step), rel=0.02, abs=2e-3
        )
    torch.testing.assert_close(program(text), program(text, constants), check_dtype=False)
    with pytest.raises(HeadscriptError, match="no constant 'snk'"):
        program(text, {"snk": torch.tensor(1.0)})


def test_new_constants_change_nothing_else():
    program = Program.parse(SOURCE, "L05H03")
    other = program.with_constants({"sink": 3.14159, "wide": -2, "to_commas": 0.0123456})
    expected = (
        SOURCE.replace("sink=4.1", "sink=3.14")
        .replace("to_commas=-1.3", "to_commas=0.0123")
        .replace("wide=3", "wide=-2.0")
    )
    assert other.source == expected
    assert other.name == "L05H03"
    assert other.with_constants(program.constants).key == program.key
    assert other.key != program.key
    assert program.with_constants({}).source == SOURCE
    with pytest.raises(HeadscriptError, match="no constant 'nope'"):
        program.with_constants({"nope": 1.0})
    with pytest.raises(HeadscriptError, match="sink would be nan"):
        program.with_constants({"sink": math.nan})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4.0612, "4.06"),
        (0.44123, "0.441"),
        (-0.0443219, "-0.0443"),
        (12.3456, "12.35"),
        (123.456, "123.5"),
        (12345.6, "12350.0"),
        (-1.0, "-1.0"),
        (0.0, "0.0"),
        (-1e-9, "0.0"),
        (0.000123, "0.000123"),
        (9.9999, "10.0"),
        (1e8, "100000000.0"),
    ],
)
def test_constants_are_rounded_to_what_matters(value, said):
    assert rounded(value) == said


@given(st.floats(-1e6, 1e6))
def test_rounding_stays_close_and_settles(value):
    said = rounded(value)
    assert abs(float(said) - value) <= max(5e-6, abs(value) * 5.1e-3)
    assert rounded(float(said)) == said


def _doubled(first, times):
    lines = "\n    ".join(f"x{n + 1} = x{n} + x{n}" for n in range(times))
    body = f"x0 = {first}\n    {lines}\n    return softmax(x{times})"
    return f"def attend(text, a=1.0):\n    {body}\n"


def test_the_key_is_what_is_computed():
    def key_of(body, parameters="a=1.0"):
        return Program.parse(f"def attend(text, {parameters}):\n    {body}\n").key

    plain = key_of("return softmax(a * text.first)")
    assert key_of("'''Doc.'''\n    return softmax( a*text.first )  # so") == plain
    assert key_of("b = text.first\n    return softmax(a * b)") == plain
    assert key_of("return softmax(b * text.first)", "b=1") == plain
    assert key_of("return softmax(a * text.first)", "a=2.0") != plain
    assert key_of("return softmax(a * text.itself)") != plain
    assert key_of("return softmax(a * text.previous(1))") != key_of(
        "return softmax(a * text.previous(2))"
    )
    # Names within names stay short, and are refused where they would not.
    started = time.process_time()
    for first in ("a * text.distance", "text.distance * 1"):
        program = Program.parse(_doubled(first, 10))
        assert program(Text([" a", " b"], [1, 2], 9))[1].tolist() == [1.0, 0.0]
        with pytest.raises(GateError, match="names written out"):
            Program.parse(_doubled(first, 60))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("softmax(a * log(text.distance * 0 - 1))", "no attention pattern"),
        ("softmax(text.first / 0 * a)", "no attention pattern"),
        ("softmax(a * ~text.distance)", "line 3: this cannot be computed: `~text.distance`"),
        ("softmax(a * (text.distance & text.first))", "`text.distance & text.first`"),
        ("softmax(a * (text.first - text.itself))", "line 3"),
        ("softmax(exp(1000 * text.first * a))", "no attention pattern"),
        ("2 * a * text.first", "no attention pattern"),
        ("-a * text.itself", "no attention pattern"),
        ("text.itself + text.previous(1) - text.previous(1) * 2 * a", "no attention pattern"),
        ("softmax(a * text.first, text.earlier)", "no attention pattern"),
        ("softmax(a * text.first, text.first | text.last)", "after the query"),
    ],
)
def test_values_that_are_no_pattern(returned, reason, text):
    program = Program.parse(
        f"def attend(text, a=1.0):\n    '''Doc.'''\n    return {returned}\n", "p"
    )
    with pytest.raises(ProgramError) as caught:
        program(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("p")


def test_patterns_without_softmax(text):
    program = Program.parse("def attend(text):\n    return text.itself\n")
    assert torch.equal(program(text), torch.eye(len(text)))
    assert len(program) == 0
    assert program


def test_encoders_look_both_ways():
    program = Program.parse(
        "def attend(text, a=1.0):\n    return softmax(a * text.following(1), text.allowed)\n"
    )
    text = Text([" a", " b", " c"], [1, 2, 3], 9, causal=False)
    pattern = program(text)
    assert pattern[0].tolist() == pytest.approx([0.2119, 0.5761, 0.2119], abs=1e-4)
    assert program.prefix_consistent
    causal = Text([" a", " b", " c"], [1, 2, 3], 9)
    assert torch.equal(program(causal).triu(1), torch.zeros(3, 3))


def test_what_depends_on_constants_is_not_kept(text):
    program = Program.parse(
        "def attend(text, rare=0.5, a=1.0):\n"
        "    return softmax(a * key(text.after(text.rarity > rare)))\n"
    )
    program(text)
    kept = len(text._values)
    for rare in torch.linspace(0, 1, 5):
        program(text, {"rare": rare})
        torch.testing.assert_close(
            program(text, {"rare": rare}),
            program.with_constants({"rare": float(rare)})(text),
        )
    assert len(text._values) == kept


def test_files(tmp_path):
    program = Program.parse(SOURCE, "L05H03")
    path = tmp_path / "programs" / "L05H03.py"
    program.save(path)
    program.save(path)
    assert Program.load(path) == program
    assert sorted(p.name for p in path.parent.iterdir()) == ["L05H03.py"]
    with pytest.raises(HeadscriptError, match=r"no program file .*L05H04\.py"):
        Program.load(path.with_name("L05H04.py"))
    with pytest.raises(HeadscriptError, match="cannot be read"):
        Program.load(path.parent)
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(HeadscriptError, match="no text in UTF-8"):
        Program.load(path)
    path.write_text(SOURCE.replace("text.first", "text.frist"))
    with pytest.raises(HeadscriptError, match=r"L05H03\.py, line 11: .*did you mean text\.first"):
        Program.load(path)
    with pytest.raises(HeadscriptError, match="cannot be written"):
        program.save(path / "below" / "a.py")
    if os.geteuid() != 0:
        path.parent.chmod(0o500)
        with pytest.raises(HeadscriptError, match="cannot be written"):
            program.save(path)
        path.parent.chmod(0o700)


def test_what_a_killed_save_leaves_is_swept_and_a_finished_one_stays(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        if synced == [False]:  # what lies there is what a process leaves that is killed now
            (part,) = tmp_path.iterdir()
            shutil.copy(part, part.with_name(part.name.replace("L05", "L06")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Program.parse(SOURCE).save(tmp_path / "L05H03.py")
    assert synced == [False, True]  # the file, and then the folder that has its name
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["L05H03.py"]


@settings(max_examples=60, deadline=None)
@given(texts(), weighted_terms, st.data())
def test_random_programs_keep_to_their_prefix(text, chosen, data):
    program = emit("L00H00", "m", [t for t, _ in chosen], [w for _, w in chosen], causal=True)
    pattern = program(text)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(len(text)))
    assert torch.equal(pattern.triu(1), torch.zeros_like(pattern))
    assert program.prefix_consistent
    length = data.draw(st.integers(1, len(text)))
    torch.testing.assert_close(
        pattern[:length, :length], program(text.prefix(length)), rtol=1e-4, atol=1e-5
    )


def test_many_programs_share_features():
    text = Text([f" w{n % 7}" for n in range(40)], [n % 7 for n in range(40)], 10)
    source = (
        "def attend(text, a=1.0, b=2.0):\n"
        "    return softmax(a * text.previous(1) + b * (text.same_token & key(text.is_new)))\n"
    )
    Program.parse(source)(text)
    kept = set(text._values)
    Program.parse(source.replace("a=1.0, b=2.0", "c=3.0, b=2.0").replace("a *", "c *"))(text)
    assert set(text._values) == kept

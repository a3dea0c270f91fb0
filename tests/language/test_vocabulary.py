"""The register, and what every entry promises."""

import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import calls, own_entries, texts

from headscript.errors import HeadscriptError
from headscript.language import VOCABULARY, Entry, Text, Vocabulary
from headscript.language.shapes import expected_arguments
from headscript.programs.terms import parse_expression

ENTRIES = own_entries("token property") + own_entries("relation")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_entries_have_their_shape_and_are_prefix_consistent(entry, data):
    text = data.draw(texts())
    expression = parse_expression(data.draw(calls(entry)))
    whole = expression(text)
    n = len(text)
    assert whole.shape == ((n,) if entry.kind == "token property" else (n, n))
    assert whole.dtype in (torch.bool, torch.float32)
    assert whole.float().isfinite().all()
    assert not entry.in_view or not whole.triu(1).any()
    if not entry.prefix_consistent:
        return
    length = data.draw(st.integers(1, n))
    prefix = expression(text.prefix(length))
    if entry.kind == "token property":
        assert torch.equal(whole[:length], prefix)
    else:  # the cells a decoder may use
        assert torch.equal(whole[:length, :length].float().tril(), prefix.float().tril())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_entries_work_in_encoders(entry, data):
    text = data.draw(texts(causal=False))
    assert parse_expression(data.draw(calls(entry)))(text).float().isfinite().all()


@pytest.mark.parametrize("entry", list(VOCABULARY), ids=lambda entry: entry.name)
def test_entries_say_what_they_mean(entry):
    assert entry.meaning.endswith(".")
    assert entry.group
    if entry.kind != "function":
        assert entry.phrase
        for parameter in entry.parameters:
            assert "{" + parameter.lstrip("*") + "}" in entry.phrase
    kinds, _, repeats = expected_arguments(entry)
    assert len(kinds) == len(entry.parameters)
    assert repeats == any(parameter.startswith("*") for parameter in entry.parameters)


def test_names_are_checked():
    register = Vocabulary()
    entry = Entry("is_note", "token property", lambda text: text, "A note.")
    register.add(entry)
    assert register.get("is_note") is entry
    with pytest.raises(HeadscriptError, match="already has an entry 'is_note'"):
        register.add(entry)
    for name in ("_hidden", "a b", "1st", ""):
        with pytest.raises(HeadscriptError, match="cannot name an entry"):
            register.add(Entry(name, "relation", lambda text: text, "None."))
    with pytest.raises(HeadscriptError, match="did you mean is_note"):
        register.require("is_not")
    with pytest.raises(HeadscriptError, match=r"no entry 'wholly_else'\.$"):
        register.require("wholly_else")


def test_values_are_kept_until_forgotten():
    text = Text([" a", " b"], [1, 2], 10)
    assert text.same_token is text.same_token
    assert text.previous(1) is text.previous(1)
    assert text.latest(text.is_comma) is text.latest(text.is_comma)
    before = text.same_token
    text.forget()
    assert text.same_token is not before
    assert torch.equal(text.same_token, before)
    with pytest.raises(AttributeError, match=r"no entry text\.softmax"):
        _ = text.softmax


PLUGIN = """
    import torch
    from headscript.language.vocabulary import Entry

    def is_note(text, letter: str):
        return torch.tensor([surface.strip() == letter for surface in text.surfaces])

    def halved(x):
        return x / 2

    def register(vocabulary):
        vocabulary.add(Entry("is_note", "token property", is_note, "A note.", ("letter",)))
        vocabulary.add(Entry("halved", "function", halved, "Half of x.", ("x",)))
"""

PROGRAM = """
    from headscript.language import halved, key, run, softmax

    def attend(text, notes=2.0):
        return softmax(halved(notes * key(text.is_note('C'))))

    if __name__ == "__main__":
        run(attend)
"""


def test_installed_plugins_add_entries(tmp_path):
    (tmp_path / "music_entries.py").write_text(textwrap.dedent(PLUGIN))
    metadata = tmp_path / "music_entries-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: music-entries\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[headscript.vocabulary]\nmusic = music_entries:register\n"
    )
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    script = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from headscript.programs import Program
        from headscript.language import Text
        program = Program.load({str(program)!r})
        pattern = program(Text(["C", " D"], [0, 1], 2))
        assert abs(float(pattern[1, 0]) - 0.7310586) < 1e-5, pattern
        print(sorted(program.entries))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['is_note']\n", done.stderr


def test_a_line_break_may_stand_anywhere_in_a_token():
    text = Text(["One", ".\n", "\nTwo", "a\nb", "\\n"], range(5), 9)
    assert text.is_newline.tolist() == [False, True, True, True, False]
    assert VOCABULARY.require("is_newline").meaning == "The token contains a line break."

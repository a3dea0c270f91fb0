"""Program files run on their own."""

import json
import subprocess
import sys

import pytest
import torch

from headscript.language import read_text
from headscript.programs import Program

SOURCE = '''"""Head L00H00."""
from headscript.language import key, run, softmax

def attend(text, before=5.0, to_commas=1.0):
    """Looks at the token just before."""
    return softmax(before * text.previous(1) + to_commas * key(text.is_comma))

if __name__ == "__main__":
    run(attend)
'''


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "run" / "programs" / "L00H00.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    return path


def call(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_prints_its_docstring_and_pattern(program):
    done = call(program, "Once upon a time, she ran.")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["L00H00", "Looks at the token just before."]
    assert any("_upon █" in line and "Once 0.99" in line for line in lines)
    assert "plain words" in done.stdout


def test_prints_one_object_as_json(program):
    done = call(program, "Once upon a time", "--json")
    answer = json.loads(done.stdout)
    assert answer["name"] == "L00H00"
    assert answer["tokens"] == ["Once", " upon", " a", " time"]
    assert [round(sum(row), 4) for row in answer["pattern"]] == [1, 1, 1, 1]
    assert call(program, "--json").returncode == 0  # a sentence of its own


def test_uses_the_tokenizer_of_the_run(program, shared):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "stories260k")
    tokenizer.save_pretrained(program.parent.parent / "tokenizer")
    answer = json.loads(call(program, "Lily saw, and ran.", "--json").stdout)
    text = read_text(tokenizer, tokenizer("Lily saw, and ran.")["input_ids"])
    assert answer["tokens"] == list(text.surfaces)
    expected = Program.load(program)(text)
    torch.testing.assert_close(torch.tensor(answer["pattern"]), expected, rtol=0, atol=1e-5)
    named = call(program, "Lily saw", "--tokenizer", shared / "models" / "stories260k")
    assert "plain words" not in named.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a", "--tokenizer", "/no/such/folder"], "There is no tokenizer '/no/such/folder'"),
        ([""], "The sentence is empty"),
    ],
)
def test_mistakes_are_one_sentence(program, arguments, reason):
    done = call(program, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(reason)
    assert len(done.stderr.splitlines()) == 1


def test_encoders_programs_look_both_ways(program):
    source = SOURCE.replace("(text.is_comma))", "(text.is_comma), text.allowed)")
    program.write_text(source.replace("text.previous", "text.following"))
    answer = json.loads(call(program, "Once upon", "--json").stdout)
    assert answer["pattern"][0][1] > 0.9

"""headscript generate, as a person or a program runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Command
from tests.small_run import save_model, save_texts

PROMPT = "w5 w6 w7 w8 w9"
EDIT = '''
def attend(text, back=6.0):
    """One back."""
    return softmax(back * text.previous(1))
'''
AHEAD = 'def attend(text):\n    """Last."""\n    return softmax(2.0 * text.last)\n'


@pytest.fixture
def edit(tmp_path: Path) -> Path:
    (tmp_path / "[red]mine.py").write_text(EDIT)
    return tmp_path / "[red]mine.py"


def test_json_holds_texts_tokens_and_perplexities(small_run: Path, headscript: Command) -> None:
    answer = headscript("generate", small_run, PROMPT, "--max-new-tokens", 9, "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert found["run"] == str(small_run)
    assert found["prompt"] == PROMPT
    assert 1 <= len(found["original"].split()) <= 9
    assert found["replaced"] != found["original"]
    assert found["edited"] is None
    assert (found["heads"], found["fraction"], len(found["replaced_heads"])) == (3, 0.25, 3)
    assert (found["programs"], found["order"]) == ("found", "iou")
    assert found["prefix_consistent"] is True
    perplexity = found["perplexity"]
    assert perplexity["increase"] == pytest.approx(
        perplexity["replaced"] / perplexity["original"] - 1
    )
    assert perplexity["increase_ci95"][0] <= perplexity["increase_ci95"][1]
    assert perplexity["texts"] == 2
    assert {"token", "original", "replaced", "edited"} == found["top_tokens"][0].keys()


def test_an_edit_is_compared_with_the_run_s_own_program(
    small_run: Path, tmp_path: Path, edit: Path, headscript: Command
) -> None:
    texts = save_texts(tmp_path / "texts.txt", number=6, seed=3)
    command = ["generate", small_run, PROMPT, "--edit", f"L1H2={edit}", "--replace", "0"]
    command += ["--texts", texts, "--max-texts", 4, "--max-new-tokens", 9]
    answer = headscript(*command, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["heads"] == 1
    assert found["replaced_heads"] == ["L01H02"]
    assert found["edited_heads"] == {"L01H02": str(edit)}
    assert found["edited"] != found["replaced"]
    perplexity = found["perplexity"]
    assert perplexity["texts"] == 4
    assert perplexity["edit_change"] == pytest.approx(
        perplexity["edited"] / perplexity["replaced"] - 1
    )

    # The run's own program as the edit: nothing changes.
    own = small_run / "programs" / "L01H02.py"
    same = json.loads(headscript(*command[:4], f"L1H2={own}", *command[5:], "--json").out)
    assert same["edited"] == same["replaced"] == found["replaced"]
    assert same["perplexity"]["edit_change"] == 0
    assert same["perplexity"]["replaced"] == perplexity["replaced"]


def test_what_a_person_reads(small_run: Path, edit: Path, headscript: Command) -> None:
    command = ["generate", small_run, PROMPT, "--edit", f"L1H2={edit}", "--max-new-tokens", 9]
    found = json.loads(headscript(*command, "--json").out)
    answer = headscript(*command)
    assert answer.code == 0, answer.err
    perplexity = found["perplexity"]
    for part in (
        f"as it is:\n{PROMPT}{found['original']}\n",
        f"{found['heads']} heads replaced:\n{PROMPT}{found['replaced']}\n",
        f"L01H02 edited:\n{PROMPT}{found['edited']}\n",
        f"{found['heads']} of 12 heads ({100 * found['heads'] / 12:.3g} %)",
        "programs 'found', highest IoU first",
        "[red]mine.py",
        f"{perplexity['original']:.2f}, replaced {perplexity['replaced']:.2f}: "
        f"{100 * perplexity['increase']:+.1f} %",
        f"{100 * perplexity['edit_change']:+.1f} %",
        "on 2 texts, 22 tokens",
        "after the prompt",
        f"{100 * found['top_tokens'][0]['edited']:.1f} %",
    ):
        assert part in answer.out.replace("\n             ", "")
    assert "look ahead" not in answer.out


def test_on_a_terminal_texts_grow_side_by_side(
    small_run: Path, headscript: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    answer = headscript("generate", small_run, PROMPT, "--max-new-tokens", 5)
    assert answer.code == 0, answer.err
    assert "\x1b[" in answer.out
    lines = answer.out.splitlines()
    assert any("as it is" in line and "3 heads replaced" in line for line in lines)
    assert any(line.count(PROMPT) == 2 for line in lines)


def test_draws_follow_the_seed(small_run: Path, headscript: Command) -> None:
    def texts(*options: object) -> tuple[str, str]:
        command = ("generate", small_run, PROMPT, "--max-new-tokens", 20, *options, "--json")
        found = json.loads(headscript(*command).out)
        return found["original"], found["replaced"]

    assert texts("--sample", "--seed", 1) == texts("--temperature", 1, "--seed", 1)
    assert texts("--sample", "--seed", 1) != texts("--sample", "--seed", 2)
    assert texts() == texts("--seed", 2)


def test_programs_that_look_ahead_are_marked(
    small_run: Path, tmp_path: Path, headscript: Command, refused: Callable[..., str]
) -> None:
    (tmp_path / "ahead.py").write_text(AHEAD)
    command = ["generate", small_run, "w5 w6", "--edit", f"L0H0={tmp_path / 'ahead.py'}"]
    assert "not prefix-consistent" in refused(*command)
    answer = headscript(*command, "--allow-inconsistent", "--json")
    assert json.loads(answer.out)["prefix_consistent"] is False
    assert "look ahead" in headscript(*command, "--allow-inconsistent").out


def test_mistakes_are_one_sentence(
    small_run: Path, tmp_path: Path, edit: Path, refused: Callable[..., str]
) -> None:
    def told(*options: object, prompt: str = PROMPT) -> str:
        return refused("generate", small_run, prompt, *options, "--json")

    assert "between 0 and 1, and 1.5 does not" in told("--replace", 1.5)
    assert "between 0 and 1" in told("--replace=-0.1")
    assert "L00H01 is assigned two" in told("--edit", f"L0H1={edit}", "--edit", f"L00H01={edit}")
    assert "no head L07H00" in told("--edit", f"L7H0={edit}")
    assert "write it like L5H3=program.py" in told("--edit", "L0H1")
    assert "no program file" in told("--edit", f"L0H1={tmp_path / 'none.py'}")
    (tmp_path / "bad.py").write_text(EDIT.replace("text.previous(1)", "open('/etc/passwd')"))
    assert "bad.py, line 4" in told("--edit", f"L0H1={tmp_path / 'bad.py'}")
    assert "no programs 'better'; it has found" in told("--programs", "better")
    assert "no order 'size'" in told("--order", "size")
    assert "no measured costs" in told("--order", "cost")
    assert "prompt is empty" in told(prompt="")
    assert "with 60 new ones" in told(prompt=" ".join(["w5"] * 5))
    assert "There is no file" in told("--texts", tmp_path / "none.txt")
    other = save_model(tmp_path / "other", seed=7)
    assert "another hash" in told("--model", other)
    assert "no such folder" in refused("generate", tmp_path / "none", PROMPT)

import re
import shutil

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.language import VOCABULARY
from headscript.packing import pack_rows
from headscript.programs.program import Program
from headscript.programs.terms import parse_expression
from headscript.propose.llm.examples import worked_examples
from headscript.propose.llm.prompt import (
    first_prompt,
    offered_entries,
    refinement_prompt,
    standing,
    system_text,
)
from headscript.propose.llm.prompter import Prompter
from headscript.runs import Run
from headscript.tuning.fitting import weighted_terms

PREVIOUS = """def attend(text, near=20.0):
    return softmax(near * text.previous(1) + 0.0 * text.first)
"""


@pytest.mark.parametrize("causal", [True, False])
def test_the_worked_examples_pass_the_gate_and_can_be_fitted_fast(causal):
    examples = worked_examples(causal)
    assert len(examples) == 3
    for _, source in examples:
        program = Program.parse(source)
        assert program.explanation
        assert program.prefix_consistent
        assert program.log_linear is not None
        assert program.log_linear.causal == causal
        assert weighted_terms(program) is not None
        text = random_texts([15], causal=causal)[0]
        assert torch.allclose(program(text).sum(-1), torch.ones(15), atol=1e-4)
        told = system_text(causal)
        for line in source.splitlines():
            assert line in told


def test_the_vocabulary_comes_from_the_vocabulary():
    told = system_text(True)
    for entry in offered_entries(True):
        assert entry.meaning in told
        assert entry.name in told
    left_out = {entry.name for entry in VOCABULARY} - {e.name for e in offered_entries(True)}
    assert {"pos", "dependency_head", "last", "similarity", "following"} <= left_out
    assert not any(f"text.{name}(" in told or f"text.{name}:" in told for name in left_out)
    assert {"following", "earlier", "last"} <= {e.name for e in offered_entries(False)}


def test_the_hints_are_written_in_the_language():
    told = system_text(True)
    hints = told[told.index("# What tells heads apart") : told.index("# The vocabulary")]
    spelled = [part for part in re.findall(r"`([^`]+)`", hints) if "text." in part]
    assert len(spelled) >= 6
    for part in spelled:
        parse_expression(part.removeprefix("& "))


def test_a_prompt_is_the_same_for_the_same_input_and_says_what_is_asked():
    def prompt(number: int = 3):
        return first_prompt(Head(2, 1), "A SUMMARY", causal=True, num_layers=6, number=number)

    assert prompt() == prompt()
    system, user = prompt()
    assert (system.role, user.role) == ("system", "user")
    assert "A SUMMARY" in user.content
    assert "L02H01" in user.content
    assert "Write 3 programs" in user.content
    assert "Write 1 program " in prompt(1)[1].content


def test_the_prompts_of_a_run_need_its_fit_texts_alone(small_run, tmp_path):
    run = Run.open(shutil.copytree(small_run, tmp_path / "run"))
    for split in ("select", "test"):
        shutil.rmtree(run.recording_folder(split))
    prompter = Prompter.of_run(run, number=3)
    _, user = prompter.first(Head(1, 2))
    assert "L01H02" in user.content
    assert "Write 3 programs" in user.content
    seen = {surface for text in prompter.texts for surface in text.surfaces}
    said = set(re.findall(r"\bw\d+\b", user.content))
    assert said
    assert said <= {surface.strip() for surface in seen}
    shutil.rmtree(run.recording_folder("fit"))
    with pytest.raises(HeadscriptError, match="holds no recording"):
        Prompter.of_run(run)


def test_where_a_program_and_its_head_look_stands_in_the_prompt():
    texts = random_texts([12, 15, 9])
    patterns = [packed[0] for packed in random_patterns(texts, 1)]
    # On the second text, the head looks at the token before; there the program does best.
    before = torch.zeros(15, 15)
    before[0, 0] = 1
    before[torch.arange(1, 15), torch.arange(14)] = 1
    patterns[1] = pack_rows(before, True)
    program = Program.parse(PREVIOUS, "L02H01")
    found = standing(program, texts, patterns, worst=1, best=1)
    worst, best = found.sightings
    assert worst.startswith("Worst text")
    assert "the head looks at" in worst
    assert best.startswith("Best text, IoU 1.000")
    assert "the head looks at" not in best  # nothing is wrong there
    prompt = first_prompt(Head(2, 1), "S", causal=True, num_layers=6, number=2, current=found)
    assert found.iou in prompt[1].content
    assert PREVIOUS in prompt[1].content
    assert worst in prompt[1].content

    refined = refinement_prompt(
        prompt, "MY ANSWER", ["IoU 0.5", "Refused: no loops"], number=2, best=found
    )
    assert refined[:2] == prompt
    assert refined[2].content == "MY ANSWER"
    assert refined[2].role == "assistant"
    assert "1. IoU 0.5\n2. Refused: no loops" in refined[3].content
    assert best in refined[3].content


def test_a_refinement_without_a_program_that_runs_asks_for_the_language():
    prompt = first_prompt(Head(0, 0), "S", causal=True, num_layers=1, number=1)
    refined = refinement_prompt(prompt, "prose", ["No code: nothing"], number=1, best=None)
    assert "use the language" in refined[-1].content

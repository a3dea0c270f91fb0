"""A model with replaced heads is a transformers model like any other."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.networks import network_of, some_ids, tokenizer
from tests.small_run import save_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

import headscript
from headscript.assignment import assign
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.patched import Patch
from headscript.programs import Program
from headscript.replacement import replaced
from headscript.runs import Run

IDS = torch.tensor([some_ids(11)])
EDIT = '''
def attend(text, back=4.0):
    """One back."""
    return softmax(back * text.previous(1))
'''
ALL = 5 / 12  # of 12 heads, the run covers five


@pytest.fixture(scope="module")
def run(small_run: Path) -> Run:
    return headscript.load_run(small_run)


@torch.no_grad()
def logits_of(network: Any) -> torch.Tensor:
    found: torch.Tensor = network(IDS).logits
    return found


@pytest.fixture
def edit(tmp_path: Path) -> Path:
    (tmp_path / "edit.py").write_text(EDIT)
    return tmp_path / "edit.py"


def test_it_attends_as_within_replaced_until_it_is_undone(run: Run) -> None:
    network: Any = run.model(replace=0.25)
    assert type(network).__name__ == "LlamaForCausalLM"
    assert network.headscript.assignment == assign(run, 0.25)
    assert len(network.headscript.assignment) == 3
    model = load_model(run.config.model)
    plain = logits_of(model.network)
    with replaced(model, assign(run, 0.25)):
        assert torch.equal(logits_of(network), logits_of(model.network))
    assert not torch.equal(logits_of(network), plain)
    patch = network.headscript
    assert repr(patch) == "Patch(3 of 12 heads)"
    patch.undo()
    patch.undo()
    assert torch.equal(logits_of(network), plain)
    assert not hasattr(network, "headscript")
    assert network.config._attn_implementation == "sdpa"


def test_edits_devices_and_types(run: Run, edit: Path) -> None:
    network: Any = run.model(0, edits={Head(0, 0): edit}, dtype=torch.bfloat16, device="cpu")
    assert network.dtype == torch.bfloat16
    assert network.headscript.assignment == {Head(0, 0): Program.load(edit)}
    assert network.headscript.model.tokenizer.vocab_size == 64


def test_it_generates_and_runs_in_a_pipeline(run: Run) -> None:
    network: Any = run.model(replace=ALL)
    words = network.headscript.model.tokenizer
    settings = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    prompts = ["w5 w6 w7 w8", "w9 w5"]
    uncached = []
    for prompt in prompts:
        given = words(prompt, return_tensors="pt")
        ids = network.generate(
            given["input_ids"], attention_mask=given["attention_mask"], use_cache=False, **settings
        )
        uncached.append(words.decode(ids[0]))
    words.padding_side = "left"
    generator = pipeline("text-generation", model=network, tokenizer=words, batch_size=2)

    def texts() -> list[str]:  # it puts no space between prompt and continuation
        rows = generator(prompts, **settings)
        return [row[0]["generated_text"].replace(" ", "") for row in rows]

    found = texts()
    assert found == [text.replace(" ", "") for text in uncached]
    network.headscript.undo()
    assert texts() != found


def test_a_masked_model_fills_masks_in_a_pipeline() -> None:
    words = tokenizer()
    words.mask_token = "w63"
    model = Model.of(network_of("bert"), words)
    program = Program.parse(
        'def attend(text, c=2.0):\n    """Next."""\n'
        "    return softmax(c * text.following(1), text.allowed)\n"
    )
    filler: Any = pipeline("fill-mask", model=model.network, tokenizer=words)
    plain = filler("w5 w6 w63 w8 w9")
    patch = Patch(model, dict.fromkeys(model.heads, program))
    assert filler("w5 w6 w63 w8 w9") != plain
    patch.undo()
    assert filler("w5 w6 w63 w8 w9") == plain


def test_a_trainer_evaluates_it(run: Run, tmp_path: Path) -> None:
    network: Any = run.model(replace=ALL)
    rows = [{"input_ids": some_ids(9, seed=n), "labels": some_ids(9, seed=n)} for n in range(4)]
    trainer = Trainer(
        model=network,
        args=TrainingArguments(
            output_dir=str(tmp_path / "trainer"),
            use_cpu=True,
            report_to=[],
            per_device_eval_batch_size=2,
            disable_tqdm=True,
        ),
        eval_dataset=rows,
    )
    found = trainer.evaluate()["eval_loss"]
    with torch.no_grad():
        losses = [
            float(network(torch.tensor([r["input_ids"]]), labels=torch.tensor([r["labels"]])).loss)
            for r in rows
        ]
    assert math.isclose(found, sum(losses) / 4, rel_tol=1e-4)


# Saved -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A folder that a patched model was saved to, and its logits."""
    network: Any = run.model(replace=ALL)
    folder = tmp_path_factory.mktemp("patched") / "saved"
    network.save_pretrained(folder)
    return folder, logits_of(network)


@pytest.fixture
def own(saved: tuple[Path, torch.Tensor], tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(saved[0], tmp_path / "own"))


def test_saved_and_loaded_it_is_the_same(run: Run, saved: tuple[Path, torch.Tensor]) -> None:
    folder, logits = saved
    network: Any = headscript.load_patched(folder)
    assert torch.equal(logits_of(network), logits)
    assert network.headscript.assignment == assign(run, ALL)
    assert {file.name for file in (folder / "headscript").iterdir()} == {
        "assignment.json",
        *(f"{head}.py" for head in network.headscript.assignment),
    }


def test_transformers_alone_loads_the_untouched_model(
    run: Run, saved: tuple[Path, torch.Tensor]
) -> None:
    folder, logits = saved
    assert "headscript" not in (folder / "config.json").read_text()
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits_of(plain), logits_of(load_model(run.config.model).network))
    assert not torch.equal(logits_of(plain), logits)
    assert AutoTokenizer.from_pretrained(folder)("w5 w6")["input_ids"] == [5, 6]


def test_another_type_is_kept_and_a_later_save_leaves_nothing_of_an_earlier(
    run: Run, own: Path
) -> None:
    network: Any = run.model(replace=1 / 12, dtype=torch.bfloat16)
    network.save_pretrained(own)
    again: Any = headscript.load_patched(own)
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits_of(again), logits_of(network))
    assert len(list((own / "headscript").glob("*.py"))) == 1
    assert headscript.load_patched(own, dtype=torch.float32).dtype == torch.float32


def test_a_program_edited_by_hand_is_taken_as_it_is(own: Path) -> None:
    (own / "headscript" / "L01H01.py").write_text(EDIT)
    network: Any = headscript.load_patched(own)
    assert network.headscript.assignment[Head(1, 1)].constants == {"back": 4.0}


def _edited(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "headscript" / "assignment.json"
        content = file.read_text()
        assert old in content
        file.write_text(content.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "headscript" / "L01H01.py").write_text("import os\n"), "L01H01.py, line 1"),
        (lambda f: (f / "headscript" / "L01H01.py").write_bytes(b"\xff\xfe\x00"), "no text in UTF"),
        (lambda f: (f / "headscript" / "L01H01.py").unlink(), "no program file .*L01H01.py"),
        (lambda f: (f / "headscript" / "assignment.json").unlink(), "no model with replaced heads"),
        (lambda f: (f / "headscript" / "assignment.json").write_text("{"), "is damaged"),
        (lambda f: (f / "headscript" / "assignment.json").write_text("[]"), "is damaged"),
        (_edited('"format": 1', '"format": 2'), "another version of headscript, '0.1.0'"),
        (_edited('"vocabulary": 1', '"vocabulary": 0'), "another version of headscript"),
        (_edited('"L01H01"', '"../../L01H01"'), "is damaged"),
        (_edited('"L01H01"', '"L1H1"'), "is damaged"),
        (_edited('"float32"', '"nn"'), "is damaged"),
        (lambda f: save_model(f, seed=3), "weights or the configuration .* are not those"),
        (lambda f: (f / "model.safetensors").unlink(), "are not those"),
        (lambda f: (f / "config.json").unlink(), "config.json|is it a model folder"),
        (shutil.rmtree, "no model with replaced heads"),
    ],
)
def test_a_folder_that_was_spoilt(own: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(own)
    with pytest.raises(HeadscriptError, match=words) as told:
        headscript.load_patched(own)
    assert "\n" not in str(told.value)


def test_where_it_cannot_be_saved(run: Run, tmp_path: Path) -> None:
    network: Any = run.model()
    (tmp_path / "file").write_text("to keep")
    with pytest.raises(HeadscriptError, match="cannot be written"):
        network.save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "to keep"
    with pytest.raises(HeadscriptError, match="upload the folder"):
        network.save_pretrained(tmp_path / "new", push_to_hub=True)
    assert not (tmp_path / "new").exists()


# Refused -----------------------------------------------------------------------------------------


def test_what_is_refused(run: Run, tmp_path: Path, edit: Path) -> None:
    for given, words in (
        ({"replace": 1.5}, "between 0 and 1, and 1.5 does not"),
        ({"version": "none"}, "no programs 'none'; it has found"),
        ({"order": "size"}, "no order 'size'"),
        ({"order": "cost"}, "no measured costs"),
        ({"edits": {Head(7, 0): edit}}, "no head L07H00"),
        ({"edits": [(Head(0, 0), edit), (Head(0, 0), edit)]}, "two programs"),
        ({"edits": {Head(0, 0): tmp_path / "none.py"}}, "no program file"),
        ({"model": save_model(tmp_path / "other", seed=5)}, "another hash"),
    ):
        with pytest.raises(HeadscriptError, match=words):
            run.model(**given)


def test_a_patched_model_is_neither_patched_again_nor_copied(run: Run) -> None:
    network: Any = run.model()
    patch = network.headscript
    logits = logits_of(network)
    with pytest.raises(HeadscriptError, match="replaced already"):
        Patch(patch.model, assign(run, 0.25))
    with pytest.raises(HeadscriptError, match="replaced already"), replaced(patch.model, {}):
        pytest.fail("it was let in")
    with pytest.raises(HeadscriptError, match="cannot be copied"):
        copy.deepcopy(network)
    assert torch.equal(logits_of(network), logits)


def test_a_program_that_looks_ahead_needs_a_word_and_keeps_it(run: Run, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead.py"
    ahead.write_text('def attend(text):\n    """Last."""\n    return softmax(text.last * 2.0)\n')
    with pytest.raises(HeadscriptError, match="not prefix-consistent"):
        run.model(0, edits={Head(0, 0): ahead})
    network: Any = run.model(0, edits={Head(0, 0): ahead}, allow_inconsistent=True)
    network.save_pretrained(tmp_path / "saved")
    record = json.loads((tmp_path / "saved" / "headscript" / "assignment.json").read_text())
    assert record["allow_inconsistent"]
    assert torch.equal(logits_of(headscript.load_patched(tmp_path / "saved")), logits_of(network))

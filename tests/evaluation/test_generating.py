"""Texts with and without replaced heads are the model's own, and so is what is said of them."""

from __future__ import annotations

import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.small_run import save_texts

from headscript.assignment import assign, ranking
from headscript.errors import HeadscriptError
from headscript.evaluation.generating import Comparison, parse_edits
from headscript.events import Event
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.replacement import replaced
from headscript.runs import Run
from headscript.texts import load_texts

EDIT = '''
def attend(text, back=6.0):
    """One back."""
    return softmax(back * text.previous(1))
'''
PROMPT = "w5 w6 w7 w8 w9"
IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def run(small_run: Path) -> Run:
    return Run.open(small_run)


@pytest.fixture(scope="module")
def model(run: Run) -> Model:
    return load_model(run.config.model)


@pytest.fixture
def edit(tmp_path: Path) -> Path:
    (tmp_path / "edit.py").write_text(EDIT)
    return tmp_path / "edit.py"


def continued(model: Model, **settings: Any) -> str:
    """What `generate` goes on with."""
    network: Any = model.network
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, **settings}
    ids = network.generate(IDS, attention_mask=torch.ones_like(IDS), **options)[0]
    text = str(model.tokenizer.decode(ids, skip_special_tokens=True))
    return text.removeprefix(PROMPT)


def test_each_way_writes_what_the_model_generates(run: Run, model: Model, edit: Path) -> None:
    head = ranking(run, "found")[0]
    edits = [(head, edit)]
    comparison = Comparison(run, 0.25, edits=edits, model=model)
    grown: dict[str, list[str]] = {}
    written = comparison.write(
        PROMPT, max_new_tokens=12, on_text=lambda way, text: grown.setdefault(way, []).append(text)
    )
    assert written.prompt == PROMPT
    assert written.original == continued(model)
    with replaced(model, assign(run, 0.25)):
        assert written.replaced == continued(model)
    with replaced(model, assign(run, 0.25, edits=edits)):
        assert written.edited == continued(model)
    assert len({written.original, written.replaced, written.edited}) == 3
    for way, texts in grown.items():
        assert texts[-1] == getattr(written, way)
        assert all(later.startswith(text) for text, later in pairwise(texts))
    assert list(grown) == comparison.ways == ["original", "replaced", "edited"]
    assert model.network.config._attn_implementation == "sdpa"


def test_the_likeliest_next_tokens_have_their_probabilities(
    run: Run, model: Model, edit: Path
) -> None:
    edits = {Head(0, 3): edit}  # a head that the run does not cover
    comparison = Comparison(run, 0.25, edits=edits, model=model)
    assert comparison.heads == sorted(assign(run, 0.25))
    rows = comparison.write(PROMPT, max_new_tokens=1).top_tokens
    assert [row.original for row in rows] == sorted((row.original for row in rows), reverse=True)
    with torch.no_grad():
        plain = model.network(IDS).logits[0, -1].softmax(-1)
        with replaced(model, assign(run, 0.25, edits=edits)):
            edited = model.network(IDS).logits[0, -1].softmax(-1)
    shown = {row.token for row in rows}
    for row in rows:
        token = model.encode(row.token)[0]
        assert row.original == pytest.approx(float(plain[token]), abs=1e-6)
        assert row.edited == pytest.approx(float(edited[token]), abs=1e-6)
    for found in (plain, edited):
        likeliest = found.topk(5).indices.tolist()
        assert {f"w{n}" if n > 3 else model.tokenizer.decode([n]) for n in likeliest} <= shown


def test_perplexities_and_changes_are_those_of_the_texts(
    run: Run, model: Model, edit: Path, tmp_path: Path
) -> None:
    documents = load_texts(str(save_texts(tmp_path / "texts.txt", number=5, seed=4)))
    edits = {Head(1, 1): edit}
    events: list[Event] = []
    effect = Comparison(run, 0.25, edits=edits, model=model).effect(
        documents, max_texts=4, on_event=events.append
    )

    def perplexity() -> float:
        losses, tokens = 0.0, 0
        with torch.no_grad():
            for document in documents[:4]:
                ids = torch.tensor([model.encode(document.text)])
                n = ids.shape[1] - 1
                losses += n * float(model.network(ids, labels=ids).loss)
                tokens += n
        assert tokens == effect.tokens
        return math.exp(losses / tokens)

    assert effect.original == pytest.approx(perplexity(), rel=1e-4)
    own = assign(run, 0.25) | {Head(1, 1): run.programs()[Head(1, 1)]}
    with replaced(model, own):
        assert effect.replaced == pytest.approx(perplexity(), rel=1e-4)
    with replaced(model, assign(run, 0.25, edits=edits)):
        assert effect.edited == pytest.approx(perplexity(), rel=1e-4)
    assert effect.edited is not None
    assert effect.edit_change is not None
    assert effect.increase == pytest.approx(effect.replaced / effect.original - 1)
    assert effect.edited_increase == pytest.approx(effect.edited / effect.original - 1)
    assert effect.edit_change == pytest.approx(effect.edited / effect.replaced - 1)
    for value, interval in (
        (effect.increase, effect.increase_ci95),
        (effect.edit_change, effect.edit_change_ci95),
    ):
        assert interval is not None
        assert interval[0] < value < interval[1]
    assert (effect.texts, events[-1]) == (4, Event("measuring", 4, 4))


def test_without_heads_nothing_changes(run: Run, model: Model) -> None:
    comparison = Comparison(run, 0, model=model)
    written = comparison.write(PROMPT, max_new_tokens=20)
    assert written.replaced == written.original
    assert written.edited is None
    assert all(row.replaced == row.original and row.edited is None for row in written.top_tokens)
    effect = comparison.effect()
    assert effect.texts == len(run.texts("test"))
    assert (effect.increase, effect.increase_ci95, effect.edited) == (0, (0, 0), None)


def test_drawing_is_by_the_seed_and_the_same_for_all_ways(run: Run, model: Model) -> None:
    comparison = Comparison(run, 0, model=model)

    def drawn(seed: int, temperature: float = 1.0) -> str:
        written = comparison.write(PROMPT, seed=seed, temperature=temperature, max_new_tokens=20)
        assert written.replaced == written.original
        return written.original

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) == 5
    greedy = comparison.write(PROMPT, max_new_tokens=20).original
    assert drawn(1) != greedy
    assert drawn(1, 1e-4) == greedy


def test_a_text_ends_where_the_model_ends_it(run: Run, model: Model) -> None:
    comparison = Comparison(run, 0.25, model=model)
    long = comparison.write(PROMPT, max_new_tokens=30).original.split()
    config: Any = model.network.generation_config
    before = config.eos_token_id
    try:
        config.eos_token_id = [2, int(long[3].removeprefix("w"))]
        short = comparison.write(PROMPT, max_new_tokens=30).original.split()
    finally:
        config.eos_token_id = before
    assert short == long[: long.index(long[3]) + 1]


def test_prompts_that_do_not_do(run: Run, model: Model) -> None:
    comparison = Comparison(run, 0.25, model=model)
    for prompt in ("", "  \n"):
        with pytest.raises(HeadscriptError, match="prompt is empty"):
            comparison.write(prompt)
    long = " ".join(["w5"] * 60)
    with pytest.raises(HeadscriptError, match=r"60 tokens, and with 5 new ones .* the 64"):
        comparison.write(long, max_new_tokens=5)
    comparison.write(long, max_new_tokens=4)
    with pytest.raises(HeadscriptError, match="65 tokens is longer"):
        comparison.write(" ".join(["w5"] * 65), max_new_tokens=1)


def test_an_encoder_writes_nothing(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "run")
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"causal": true', '"causal": false'))
    with pytest.raises(HeadscriptError, match="is an encoder, which writes no text"):
        Comparison(Run.open(folder))


def test_edits_are_read_from_what_a_person_says() -> None:
    assert parse_edits(["L5H3=a=b.py", " l05h03 = c.py"]) == [
        (Head(5, 3), Path("a=b.py")),
        (Head(5, 3), Path("c.py")),
    ]
    for said, words in (
        ("L5H3", "write it like L5H3=program.py"),
        ("L5H3=", "write it like"),
        ("H3=a.py", "'H3' is not the name of a head"),
    ):
        with pytest.raises(HeadscriptError, match=words):
            parse_edits([said])

"""A finished study of two small random models on two kinds of text."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

MODELS = {"decoder": ("llama-2-groups", "L0H1,L1"), "encoder": ("bert", "L0")}
"""By name in the study: the family of the network, and the heads to explain."""
TEXTS = ("tales", "sums")


def words(draw: Random, number: int) -> str:
    """So many random words that the models' tokenizer knows."""
    return " ".join(f"w{draw.randint(4, 63)}" for _ in range(number))


def save_study(folder: Path, *, questions: bool) -> Path:
    """Models, texts, questions, and the file of a study of them; gives the file."""
    from tests.models.networks import network_of, tokenizer

    draw = Random(0)
    lines = ['title = "A *tiny* study"', "seed = 3"]
    lines.append(f"sentences = {json.dumps([words(draw, 6), words(draw, 8)])}")
    for seed, (name, (family, heads)) in enumerate(MODELS.items()):
        network_of(family, seed=seed).save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / name)
        lines += [
            "[[models]]",
            f'name = "{name}"',
            f'source = "{name}"',
            f'heads = "{heads}"',
            f"causal = {str(name == 'decoder').lower()}",
            "parameters = 30e3",
            "layers = 3",
            "heads_per_layer = 4",
        ]
    for name in TEXTS:
        file = folder / f"{name}.txt"
        file.write_text("\n\n".join(words(draw, 12) for _ in range(10)))
        lines += [
            "[[texts]]",
            f'name = "{name}"',
            f'source = "{file.name}"',
            "max_texts = 10",
            "max_tokens = 12",
            "mean_tokens = 12",
        ]
    lines += ["[explain]", "max_terms = 3", "fit_cells = 2000"]
    lines += ["[replace]", 'texts = ["tales"]', "fractions = [0.0, 0.1, 0.25]"]
    lines += ["baseline_fractions = [0.25]", "cost_tokens = 20"]
    lines += ["[tune]", 'texts = ["tales"]', "steps = 3", "step_tokens = 24", "stages = [0.25]"]
    if questions:
        lines += ["[ask]", 'texts = ["tales"]', 'tasks = ["piqa", "sciq"]', "limit = 5"]
        lines += ["fractions = [0.0, 0.25]", f"data = {json.dumps(str(_questions(folder, draw)))}"]
    file = folder / "study.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _questions(folder: Path, draw: Random) -> Path:
    """Local files of two tasks, in the words of the models."""
    piqa = [
        {"goal": words(draw, 3), "sol1": words(draw, 2), "sol2": words(draw, 4), "label": n % 2}
        for n in range(6)
    ]
    sciq = [
        {name: words(draw, 3) for name in ("support", "question", "correct_answer")}
        | {f"distractor{number}": words(draw, 2) for number in (1, 2, 3)}
        for _ in range(5)
    ]
    (folder / "qa").mkdir()
    for name, rows in (("piqa", piqa), ("sciq", sciq)):
        (folder / "qa" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "qa"


@pytest.fixture(scope="session")
def tiny_study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study that takes seconds; it asks questions where the harness is here."""
    asks = find_spec("lm_eval") is not None
    return save_study(tmp_path_factory.mktemp("study"), questions=asks)


@pytest.fixture(scope="session")
def tiny_study(tiny_study_file: Path) -> Path:
    """The folder of that study, finished; for reading only."""
    pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
    pytest.importorskip("vl_convert", reason="needs the extra 'report'")
    from headscript.engines import EngineSettings
    from headscript.study.running import study

    folder = tiny_study_file.parent / "out"
    study(tiny_study_file, folder, engine=EngineSettings("local", 1))
    return folder

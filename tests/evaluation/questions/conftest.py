"""Questions in the words of the small run, a copy of that run, and the command that asks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.cli.commands import Command, called

from headscript.evaluation.tasks import FIELDS
from headscript.models import Model, load_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Local files of all six tasks, 8 questions each, in the words of the small run's model."""
    draw, folder = Random(0), tmp_path_factory.mktemp("qa")

    def words(most: int) -> str:
        return " ".join(f"w{draw.randint(4, 63)}" for _ in range(draw.randint(1, most)))

    def arc() -> dict[str, Any]:
        texts = [words(5) for _ in range(draw.randint(3, 5))]
        labels = list("ABCDE"[: len(texts)])
        choices = {"text": texts, "label": labels}
        return {"question": words(9), "choices": choices, "answerKey": draw.choice(labels)}

    rows: dict[str, Callable[[], dict[str, Any]]] = {
        "hellaswag": lambda: {
            "query": words(20),
            "choices": [words(9) for _ in range(4)],
            "label": draw.randrange(4),
        },
        "piqa": lambda: {
            "goal": words(9),
            "sol1": words(9),
            "sol2": words(9),
            "label": draw.randrange(2),
        },
        "sciq": lambda: (
            {name: words(5) for name in FIELDS["sciq"]}
            # Some prompts are longer than the 64 tokens that the model takes.
            | {"support": " " + words(12) * draw.choice((1, 8))}
        ),
        "arc_easy": arc,
        "social_iqa": lambda: (
            {name: words(9) for name in FIELDS["social_iqa"]} | {"label": draw.choice("123")}
        ),
        "copa": lambda: {
            "premise": words(9) + ".",
            "choice1": words(5),
            "choice2": words(5),
            "question": draw.choice(("cause", "effect")),
            "label": draw.randrange(2),
        },
    }
    for name, row in rows.items():
        lines = [json.dumps(row()) for _ in range(8)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy of the small run, to be written."""
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture(scope="module")
def model(small_run: Path) -> Model:
    return load_model(small_run.parent / "model")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`headscript evaluate`, in this process."""
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("NO_COLOR", "1")
    return partial(called, monkeypatch, capfd, "evaluate")

"""Questions as the harness holds them, and its own model to answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from headscript.models import Model


def instances(task: Any, limit: int | None = None) -> list[Instance]:
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    found: list[Instance] = task.instances
    return found


def plain(model: Model, batch_size: int = 4) -> Any:
    """The harness's own model type around the same network."""
    # Without a token to begin or end a text it could not read any.
    tokens = (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id)
    prefix = {"prefix_token_id": 1} if tokens == (None, None) else {}
    return HFLM(
        pretrained=model.network,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        max_length=model.max_tokens,
        **prefix,
    )


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


def assert_same_answers(found: list[Any], expected: list[Any]) -> None:
    likelihoods = [value for value, _ in found]
    assert likelihoods == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]

"""Trained models with their own patterns, and generation with programs in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.replacement.passes import TOLERANCE, generate, logits_of
from tests.replacement.programs import programs_for
from torch import Tensor

from headscript.heads import Head
from headscript.language import Text
from headscript.models import Model, load_model, observed
from headscript.replacement import replaced

STORY = "Once upon a time, there was a little girl named Lily. She had a red ball. One day, Lily"


def check_pretrained(model: Model) -> None:
    ids = torch.tensor([model.encode(STORY)])
    plain = logits_of(model.network, ids, torch.ones_like(ids))
    seen: dict[int, Tensor] = {}
    with torch.no_grad(), observed(model.network, None, seen.__setitem__):
        model.network(ids)

    def own(head: Head) -> Callable[[Text], Tensor]:
        return lambda text: seen[head.layer][0, head.head]

    with replaced(model, {}):
        assert torch.equal(logits_of(model.network, ids, torch.ones_like(ids)), plain)
    with replaced(model, {head: own(head) for head in model.heads}):
        found = logits_of(model.network, ids, torch.ones_like(ids))
    assert float((found - plain).abs().max()) < TOLERANCE

    short = model.encode("One day, a dog")
    batch = torch.zeros(2, ids.shape[1], dtype=torch.long)
    batch[0], batch[1, -len(short) :] = ids, torch.tensor(short)
    mask = torch.ones_like(batch)
    mask[1, : -len(short)] = 0
    with replaced(model, programs_for(model, every=5)):
        together = generate(model.network, batch, mask)
        uncached = generate(model.network, batch, mask, use_cache=False)
        alone = generate(model.network, torch.tensor([short]), torch.ones(1, len(short)))
    assert torch.equal(together, uncached)
    assert torch.equal(together[1, -12:], alone[0, -12:])
    assert torch.equal(logits_of(model.network, ids, torch.ones_like(ids)), plain)


def test_stories260k(shared: Path) -> None:
    check_pretrained(load_model(shared / "models" / "stories260k"))


@pytest.mark.real
def test_smollm2() -> None:
    check_pretrained(load_model("smollm2-135m"))

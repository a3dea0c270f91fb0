"""Compiled patterns of log-linear programs are those that plain sums and softmax give."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from headscript.kernels import available
from headscript.packing import num_cells, pack_rows

pytestmark = pytest.mark.skipif(
    available("numba") is not None, reason=f"numba: {available('numba')}"
)


def loglinear() -> Any:
    from headscript.kernels import loglinear

    return loglinear


class Drawn:
    """Random features and addends of a text, with their patterns by plain torch in float64."""

    def __init__(self, tokens: int, *, causal: bool = True, programs: int = 9, seed: int = 0):
        draw = torch.Generator().manual_seed(seed)
        self.tokens, self.causal, self.programs = tokens, causal, programs
        padded = -(-tokens // 16) * 16
        self.query = torch.zeros(5, padded)
        self.key = torch.zeros(6, padded)
        self.relation = torch.zeros(4, padded, padded)
        for feature in (self.query, self.key, self.relation):
            whole = torch.randn(feature.shape, generator=draw)
            whole[torch.rand(feature.shape, generator=draw) < 0.6] = 0
            inside = (slice(None),) + (slice(tokens),) * (feature.ndim - 1)
            feature[inside] = whole[inside]
        counts = torch.randint(1, 8, (programs,), generator=draw)
        self.starts = [0, *counts.cumsum(0).tolist()]
        number = self.starts[-1]
        self.queries = torch.randint(0, 5, (number,), generator=draw)
        self.keys = torch.randint(0, 6, (number,), generator=draw)
        self.relations = torch.randint(-1, 4, (number,), generator=draw)
        self.weights = 3 * torch.randn(number, generator=draw)

    def expected(self) -> torch.Tensor:
        """(programs, cells)."""
        found = torch.zeros(self.programs, self.tokens, self.tokens, dtype=torch.float64)
        n = self.tokens
        for program in range(self.programs):
            for a in range(self.starts[program], self.starts[program + 1]):
                value = self.weights[a].double() * torch.outer(
                    self.query[self.queries[a], :n].double(), self.key[self.keys[a], :n].double()
                )
                if self.relations[a] >= 0:
                    value = value * self.relation[self.relations[a], :n, :n].double()
                found[program] += value
        if self.causal:
            later = torch.ones(n, n, dtype=torch.bool).triu(1)
            found = found.masked_fill(later, -torch.inf)
        return pack_rows(found.softmax(-1), self.causal)

    def filled(self, pool: ThreadPoolExecutor | None = None) -> tuple[torch.Tensor, list[bool]]:
        """The same by compiled code, in the rows of a larger matrix from the last on."""
        module = loglinear()
        sums = module.Sums(
            np.array(self.starts, np.int64),
            *(x.numpy().astype(np.int32) for x in (self.queries, self.keys, self.relations)),
            self.weights.numpy(),
        )
        out = torch.full((self.programs + 2, num_cells(self.tokens, self.causal)), -7.0)
        places = np.arange(self.programs, dtype=np.int64)[::-1] + 1
        broken = module.fill(
            sums, self.query, self.key, self.relation, self.tokens, self.causal, places.copy(), out,
            pool, 3,
        )()  # fmt: skip
        assert (out[[0, -1]] == -7).all()  # the rows of others
        return out[1:-1].flip(0), broken.tolist()


@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 33, 64, 100])
@pytest.mark.parametrize("causal", [True, False])
def test_any_length(tokens: int, causal: bool) -> None:
    drawn = Drawn(tokens, causal=causal, seed=tokens)
    found, broken = drawn.filled()
    assert not any(broken)
    torch.testing.assert_close(found.double(), drawn.expected(), atol=2e-6, rtol=1e-4)


def test_threads_change_nothing() -> None:
    drawn = Drawn(50, programs=40)
    alone, _ = drawn.filled()
    with ThreadPoolExecutor(3) as pool:
        shared, _ = drawn.filled(pool)
    assert torch.equal(alone, shared)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_breaks_its_programs_alone(value: float) -> None:
    drawn = Drawn(40)
    drawn.key[2, 7] = value
    drawn.query += 0.1  # so that it counts wherever it is used
    drawn.relation += 0.1
    used = [
        bool((drawn.keys[drawn.starts[p] : drawn.starts[p + 1]] == 2).any())
        for p in range(drawn.programs)
    ]
    found, broken = drawn.filled()
    assert any(used)
    assert not all(used)
    assert [b for b, u in zip(broken, used, strict=True) if not u] == [False] * used.count(False)
    if value != value:
        assert broken == used
    expected = drawn.expected().isnan().any(1).tolist()
    assert broken == expected
    whole = [p for p, b in enumerate(broken) if not b]
    torch.testing.assert_close(found[whole].double(), drawn.expected()[whole], atol=2e-6, rtol=1e-4)


def test_a_score_of_minus_infinity_takes_a_key_out() -> None:
    drawn = Drawn(20, programs=1)
    drawn.starts, drawn.programs = [0, 1], 1
    drawn.queries = drawn.keys = torch.zeros(1, dtype=torch.long)
    drawn.relations, drawn.weights = torch.tensor([-1]), torch.ones(1)
    drawn.query[0] = 1
    drawn.key[0, 3] = -torch.inf
    found, broken = drawn.filled()
    assert broken == [False]
    torch.testing.assert_close(found.double(), drawn.expected(), atol=2e-6, rtol=1e-4)
    assert (drawn.expected() == 0).sum() == (found == 0).sum() == 17


def test_scores_far_apart_and_far_from_zero() -> None:
    drawn = Drawn(30)
    drawn.weights *= 400
    found, broken = drawn.filled()
    assert not any(broken)
    torch.testing.assert_close(found.double(), drawn.expected(), atol=2e-4, rtol=1e-2)
    assert (found >= 0).all()

"""What vectors compute, and that the fits' and the patterns' code agree on their length."""

from typing import Any

import numpy as np
import pytest

from headscript import lanes
from headscript.kernels import available, steps

pytestmark = pytest.mark.skipif(
    available("numba") is not None, reason=f"numba: {available('numba')}"
)


def exponentials(values: np.ndarray[Any, Any], fastmath: Any) -> np.ndarray[Any, Any]:
    """exp of float32 in compiled code."""
    from numba import njit

    from headscript.kernels import vectors
    from headscript.kernels.compiled import written

    @written()
    def replace(builder: Any, values: Any, at: Any) -> None:
        found = vectors.exp(builder, vectors.load(builder, values.data, at))
        vectors.store(builder, found, values.data, at)

    @njit(fastmath=fastmath)  # type: ignore[untyped-decorator]
    def run(values: Any) -> None:
        for at in range(0, len(values), 16):
            replace(values, at)

    found = np.zeros(-(-len(values) // 16) * 16, np.float32)
    found[: len(values)] = values
    run(found)
    return found[: len(values)]


@pytest.mark.parametrize("fastmath", [False, {"reassoc", "nsz", "contract"}], ids=["exact", "fast"])
def test_exp_is_right_to_the_last_place_also_where_sums_may_be_reordered(fastmath: Any) -> None:
    values = np.concatenate([-np.geomspace(1e-9, 87, 100_000), -np.linspace(0, 87, 100_000)])
    values = values.astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    off = np.abs(exponentials(values, fastmath) - exact) / np.spacing(exact.astype(np.float32))
    assert off.max() < 1.3
    special = np.array([0, -88, -1e9, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(exponentials(special, fastmath), [1, 0, 0, 0, np.nan])


def test_all_agree_on_the_length_of_a_vector() -> None:
    from headscript.kernels import vectors

    assert vectors.LANES == lanes.LANES == steps.WIDTH

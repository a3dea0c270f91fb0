"""All backends against sums in float64."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscript.kernels import BACKENDS, ERROR, available, compare

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # the CUDA kernel, without a GPU
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """The name of each that there is."""
    trouble = available(request.param)
    if request.param == "triton" and INTERPRETED:
        from headscript.kernels import cuda

        # It is slow, so all that there must be several of is short.
        for name, value in {"_RUN": 8, "_RUNS": 4, "_SLICE": 32, "_AT_ONCE": 128}.items():
            monkeypatch.setattr(cuda, name, value)
    elif trouble:
        pytest.skip(f"{request.param}: {trouble}")
    return request.param


def device_of(backend: str) -> str:
    return "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"


def patterns(rows: int, cells: int, *, seed: int, kind: str, dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    values = torch.rand(rows, cells, generator=draw)
    if kind == "peaked":  # as attention is: most cells next to nothing
        values = (12 * values - 12).exp()
    elif kind == "sparse":
        values = values.where(values > 0.9, torch.zeros(()))
    elif kind == "large":
        values *= 1000
    return values.to(dtype)


def in_float64(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Distances row by row, and the sums of the masses of all pairs."""
    first, second = first.double(), second.double()
    distance = torch.zeros(len(first), len(second), dtype=torch.float64)
    for place, row in enumerate(first):
        distance[place] = (row - second).abs().sum(1)
    return distance, first.sum(1)[:, None] + second.sum(1)


def check(first: Tensor, second: Tensor, backend: str) -> None:
    device = device_of(backend)
    found = compare(first.to(device), second.to(device), backend=backend)
    assert {values.dtype for values in found} == {torch.float64}
    assert {values.device.type for values in found} == {device}
    distance, mass = in_float64(first, second)
    assert found.distance.shape == distance.shape
    assert ((found.distance.cpu() - distance).abs() <= ERROR * mass).all()
    for mass, rows in zip(found[1:], (first, second), strict=True):
        exact = rows.sum(1, dtype=torch.float64)
        assert ((mass.cpu() - exact).abs() <= ERROR * exact).all()


@given(
    programs=st.integers(0, 30),
    heads=st.integers(0, 30),
    cells=st.one_of(
        st.integers(0, 70), st.sampled_from([255, 256, 700, 2080, 2561][: 3 if INTERPRETED else 5])
    ),
    kind=st.sampled_from(["even", "peaked", "sparse", "large"]),
    dtypes=st.tuples(st.sampled_from(list(DTYPES)), st.sampled_from(list(DTYPES))),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=10 if INTERPRETED else 40)
def agrees(backend, programs, heads, cells, kind, dtypes, seed):
    first, second = (
        patterns(rows, cells, seed=seed + more, kind=kind, dtype=DTYPES[dtype])
        for more, (rows, dtype) in enumerate(zip((programs, heads), dtypes, strict=True))
    )
    check(first, second, backend)


def test_distances_and_masses_are_those_of_float64(backend):
    agrees(backend=backend)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize(
    ("programs", "heads", "cells", "dtype"),
    [
        (203, 101, 2560, "float32"),
        (5, 7, 25_600, "float32"),
        (5, 7, 25_001, "float32"),
        (5, 7, 25_001, "bfloat16"),
    ],
)
def test_so_are_those_of_many_blocks(backend, programs, heads, cells, dtype):
    if trouble := available(backend):
        pytest.skip(f"{backend}: {trouble}")
    first, second = (
        patterns(rows, cells, seed=rows, kind="peaked", dtype=DTYPES[dtype])
        for rows in (programs, heads)
    )
    check(first, second, backend)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_what_is_measured_is_far_below_the_stated_error(backend):
    if trouble := available(backend):
        pytest.skip(f"{backend}: {trouble}")
    first, second = (
        patterns(40, 32_896, seed=seed, kind="peaked", dtype=torch.float32) for seed in (0, 1)
    )
    distance, mass = in_float64(first, second)
    found = compare(first, second, backend=backend)
    assert float(((found.distance - distance).abs() / mass).max()) < ERROR / 20


def test_a_pattern_is_nothing_from_itself_and_two_are_as_far_both_ways(backend):
    first, second = (
        patterns(rows, 201, seed=rows, kind="even", dtype=torch.float32).to(device_of(backend))
        for rows in (9, 14)
    )
    assert not compare(first, first, backend=backend).distance.diagonal().any()
    there, back = (
        compare(*pair, backend=backend).distance for pair in ((first, second), (second, first))
    )
    assert torch.equal(there, back.T)


def test_no_distance_depends_on_other_rows_or_their_order(backend):
    first, second = (
        patterns(rows, 400, seed=rows, kind="peaked", dtype=torch.float32).to(device_of(backend))
        for rows in (21, 50)
    )
    whole = compare(first, second, backend=backend)
    draw = torch.Generator().manual_seed(0)
    rows, columns = torch.randperm(21, generator=draw), torch.randperm(50, generator=draw)
    mixed = compare(first[rows], second[columns], backend=backend)
    assert torch.equal(mixed.distance, whole.distance[rows][:, columns])
    assert torch.equal(mixed.first, whole.first[rows])
    alone = compare(first[5:6], second[7:8], backend=backend)
    assert torch.equal(alone.distance, whole.distance[5:6, 7:8])


def test_how_rows_lie_in_memory_changes_nothing():
    if trouble := available("numba"):
        pytest.skip(trouble)
    first, second = (
        patterns(rows, 30_000, seed=rows, kind="peaked", dtype=torch.float32) for rows in (4, 7)
    )
    scattered = first.T.contiguous().T
    assert not scattered.is_contiguous()
    found = [compare(rows, second, backend="numba").distance for rows in (first, scattered)]
    assert torch.equal(*found)


def test_the_number_of_threads_changes_nothing():
    if trouble := available("numba"):
        pytest.skip(trouble)
    first, second = (
        patterns(rows, 2080, seed=rows, kind="peaked", dtype=torch.float32) for rows in (200, 150)
    )
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(compare(first, second, backend="numba").distance)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("cells", [40, 48])
def test_what_is_not_finite_is_infinitely_far_and_spoils_nothing_else(backend, value, cells):
    first, second = (
        patterns(rows, cells, seed=rows, kind="even", dtype=torch.float32) for rows in (6, 8)
    )
    right = compare(first, second, backend=backend).distance
    first[2, 3] = second[7, cells - 1] = value
    found = compare(first, second, backend=backend)
    far = torch.zeros(6, 8, dtype=torch.bool)
    far[2], far[:, 7] = True, True
    assert torch.equal(found.distance.isinf(), far)
    assert torch.equal(found.distance[~far], right[~far])
    assert found.first.isfinite().tolist() == [place != 2 for place in range(6)]
    assert found.second.isfinite().tolist() == [place != 7 for place in range(8)]


@pytest.mark.parametrize(
    "view",
    [
        lambda whole: whole[:, 3:35],
        lambda whole: whole[1::2, :32],
        lambda whole: whole.T[:32].T,
        lambda whole: whole[:1, :32].expand(5, 32),
        lambda whole: whole.flatten()[1 : 1 + 4 * 32].view(4, 32),
        lambda whole: whole[:, :64:2].clone().requires_grad_(),
    ],
    ids=[
        "columns",
        "every other row",
        "turned",
        "one row repeated",
        "not aligned",
        "with gradient",
    ],
)
def test_views_are_compared_as_their_copies(backend, view):
    first = view(patterns(8, 80, seed=0, kind="even", dtype=torch.float32))
    second = patterns(5, 32, seed=1, kind="even", dtype=torch.float32)
    before = first.detach().clone()
    check(first.detach(), second, backend)
    assert not compare(first, second, backend=backend).distance.requires_grad
    assert torch.equal(first.detach(), before)

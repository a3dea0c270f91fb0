"""Code for older processors, with narrower vectors and smaller tiles, computes the same."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.kernels import available
from headscript.rows import Rows
from headscript.tuning.loglinear import Problem, evaluate

SCRIPT = """
import sys
import torch
from headscript.kernels import gauss_newton, gauss_newton_loops
features, *given = torch.load(sys.argv[1])
places = range(len(features))
found = gauss_newton.evaluate(features, places, *given, surprise=0.1, curvature=True)
torch.save(found, sys.argv[2])
assembly = "".join(gauss_newton._EVALUATE.inspect_asm().values())
print(gauss_newton_loops.TILE, "zmm" in assembly, "ymm" in assembly)
"""


@pytest.mark.skipif(available("numba") is not None, reason=f"numba: {available('numba')}")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="vectors of x86 processors")
def test_older_processors_fit_the_same(tmp_path: Path) -> None:
    rows = Rows(random_texts([30, 41, 7]))
    lanes, draw = rows.lanes, torch.Generator().manual_seed(0)
    features = lanes.spread(torch.randn(7, rows.num_cells, generator=draw) * rows.valid)
    actual = lanes.spread(rows.gather(random_patterns(rows.texts, 1))[:, 0])
    weights = torch.randn(7, generator=draw)
    given, out = tmp_path / "given.pt", tmp_path / "found.pt"
    torch.save([features, weights, actual, lanes.starts, lanes.widths], given)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(given), str(out)],
        env=os.environ
        | {
            "NUMBA_CPU_NAME": "x86-64",
            "NUMBA_CPU_FEATURES": "+sse2",
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2 False False\n", "")
    loss, pattern, gradient, hessian = torch.load(out)
    exact = Problem(lanes, features.double(), actual.double(), 0.1)
    expected = evaluate(exact, weights.double(), range(7))
    assert loss == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(pattern.double(), expected[1], atol=3e-6, rtol=1e-4)
    torch.testing.assert_close(gradient.double(), expected[2], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(hessian.double(), expected[3], atol=1e-3, rtol=1e-4)

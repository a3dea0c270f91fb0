"""What all tests share: no hub, one thread a worker, and the data kept beside the repository."""

import os
from pathlib import Path

# Before torch and transformers are imported, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers that each use all cores slow one another down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes to make or to run says how busy the machine is.
settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of five heads, its model and texts beside it; for reading only."""
    from tests.small_run import make_run

    return make_run(tmp_path_factory.mktemp("small")).directory


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and texts beside the repository; skips the test where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared with its texts and models, which is not here")
    return SHARED

"""What every test may rely on: one thread, the same random numbers, and a reason when it is skipped.

Two speeds. The default suite is for every commit; ``pytest --slow`` adds the long checks, and
``--hypothesis-profile long`` searches the properties more deeply.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# Small tensors lose more to hand-over between threads than they gain, and the sums become repeatable.
torch.set_num_threads(1)
# A benchmark brings opt-einsum; a product that is only quick with it must be seen to be slow here.
torch.backends.opt_einsum.enabled = False

# The example data base would make a run depend on the runs before it.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")

ROOT = Path(__file__).parent.parent


def real_data() -> Path | None:
    named = os.environ.get("ISOTRAIN_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "slow: run with --slow"
    if not torch.cuda.is_available():
        reasons["gpu"] = "no CUDA device on this machine"
    if real_data() is None:
        reasons["data"] = "no real data: set $ISOTRAIN_DATA to a folder that holds it"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def same_numbers_every_time() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def data_dir() -> Path:
    """The folder of the real data sets; for tests marked ``data``, which are skipped without it."""
    folder = real_data()
    assert folder is not None, "a test that asks for data_dir must be marked with pytest.mark.data"
    return folder

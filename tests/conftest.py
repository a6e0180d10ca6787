"""Fixtures for all tests. Heavy packages are not imported here: a test that needs none of them starts at once."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# One thread for the libraries of tests and of the programs that they start: several test processes run side by side,
# and results are those of every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a busy machine is not a failure. Derandomised: the same code gives the same result.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """What is imported by now lives as long as the tests: no collection of garbage need look at it again.

    Each stage of a bundle ends with one, which took half a second in a process that has imported every test.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Keep torch on one thread, for equal results on every machine, where a test has imported it at all."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tracked_metadata() -> None:
    """Have MONAI keep metadata again: a bundle that an earlier test ran has switched that off for its process."""
    if data := sys.modules.get("monai.data"):
        data.set_track_meta(True)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real images named by ``CXRAUG_DATA``; the test is skipped where it is absent."""
    value = os.environ.get("CXRAUG_DATA", "")
    if not value:
        pytest.skip("set CXRAUG_DATA to the folder of real images to run this test")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"CXRAUG_DATA names {value}, which is not a folder")
    return folder

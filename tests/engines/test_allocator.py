from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest

from monai_cxraug.engines import allocator
from monai_cxraug.engines.allocator import keep_memory


class Library:
    """A C library that takes thresholds up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.options = limit, dict[int, int]()

    def mallopt(self, option: int, value: int) -> int:
        if option == -3 and value > self.limit:
            return 0
        self.options[option] = value
        return 1


@pytest.mark.parametrize(("limit", "mapped"), [(2**31, 2**31 - 1), (2**25, 2**25)])
def test_new_and_old_glibc_keep_blocks_as_large_as_they_can(
    monkeypatch: pytest.MonkeyPatch, limit: int, mapped: int
) -> None:
    library = Library(limit)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: library)
    assert keep_memory()
    assert library.options == {-3: mapped, -1: 2**31 - 1}  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def fail(name: None) -> None:
    raise OSError


@pytest.mark.parametrize("library", [lambda name: object(), fail])
def test_a_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch, library: Callable[..., object]) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", library)
    assert keep_memory() is False


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked"))
    assert keep_memory() is False


#: in a process of its own, whose memory nobody else moves
FAULTS = """
import resource, sys
from monai_cxraug.engines.allocator import keep_memory
if sys.argv[1] == "kept" and not keep_memory():
    print("unknown")
    raise SystemExit
bytearray(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    run = subprocess.run([sys.executable, "-c", FAULTS, "kept"], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 2048  # one block of 8 MiB has 2048 pages

"""Threads for compiled loops, which need Python's lock only to be started."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Final

import torch

#: pixels below which another thread costs more than it brings.
_PIXELS_A_THREAD: Final = 2**15


def in_threads(run: Callable[[int, int], int], count: int, pixels: int) -> list[int]:
    """Do pieces of work in as many threads as torch has, where there is enough of it.

    Args:
        run: does images ``first`` to ``last`` without Python's lock.
        count: number of images.
        pixels: of all images.

    Returns:
        What each piece answered.
    """
    threads = max(1, min(torch.get_num_threads(), count, pixels // _PIXELS_A_THREAD))
    if threads == 1:
        return [run(0, count)]
    cuts = [count * k // threads for k in range(threads + 1)]
    return list(_pool(os.getpid(), threads).map(run, cuts[:-1], cuts[1:]))


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked one has none of its parent's."""
    return ThreadPoolExecutor(threads, thread_name_prefix="cxraug-filter")

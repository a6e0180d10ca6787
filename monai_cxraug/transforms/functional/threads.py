"""Threads for compiled loops, which need Python's lock only to be started."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Final

import torch

#: pixels below which another thread costs more than it brings.
_PIXELS_A_THREAD: Final = 2**15
_PIECES_A_THREAD: Final = 8


def in_threads(run: Callable[[int, int], int], count: int, pixels: int) -> list[int]:
    """Do pieces of work in as many threads as torch has, where there is enough of it.

    Args:
        run: does images ``first`` to ``last`` without Python's lock.
        count: number of images.
        pixels: of all images.

    Returns:
        What each piece answered, in any order.
    """
    threads = max(1, min(torch.get_num_threads(), count, pixels // _PIXELS_A_THREAD))
    if threads == 1:
        return [run(0, count)]
    pieces = min(count, _PIECES_A_THREAD * threads)
    cuts = [count * k // pieces for k in range(pieces + 1)]
    todo = deque(pairwise(cuts))

    def work() -> list[int]:
        answers = []
        with suppress(IndexError):  # nothing left
            while True:
                answers.append(run(*todo.popleft()))
        return answers

    # this thread works too: waking another takes as long as a piece or two, of which it then does fewer
    others = [_pool(os.getpid(), threads - 1).submit(work) for _ in range(threads - 1)]
    return [*work(), *(answer for other in others for answer in other.result())]


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked one has none of its parent's."""
    return ThreadPoolExecutor(threads, thread_name_prefix="cxraug-filter")

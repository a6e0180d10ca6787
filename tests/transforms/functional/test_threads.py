"""Pieces of work: each once, in as many threads as torch has, wherever an error comes up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from monai_cxraug.transforms.functional.threads import in_threads


@pytest.fixture(params=[1, 2, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 3, 32, 1000])
def test_every_image_once(threads: int, count: int) -> None:
    seen: list[int] = []
    answers = in_threads(lambda first, last: seen.extend(range(first, last)) or last - first, count, 10**9)
    assert sorted(seen) == list(range(count))
    assert sum(answers) == count


def test_the_calling_thread_and_others_share_the_work(threads: int) -> None:
    names: set[int] = set()

    def run(first: int, last: int) -> int:
        names.add(threading.get_ident())
        time.sleep(0.01)  # gives the others the time to wake up
        return 0

    in_threads(run, 64, 10**9)
    assert threading.get_ident() in names
    assert len(names) == threads


def test_little_work_stays_in_the_calling_thread() -> None:
    names: set[int] = set()
    in_threads(lambda first, last: names.add(threading.get_ident()) or 0, 64, 1000)
    assert names == {threading.get_ident()}


def test_an_error_in_any_thread_comes_out(threads: int) -> None:
    def run(first: int, last: int) -> int:
        if first <= 20 < last:
            raise ValueError("piece")
        return 0

    with pytest.raises(ValueError, match="piece"):
        in_threads(run, 32, 10**9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    in_threads(lambda first, last: 0, 32, 10**9)
    child = os.fork()
    if child == 0:
        os._exit(len(in_threads(lambda first, last: 1, 32, 10**9)) != 16)
    torch.set_num_threads(before)
    assert os.waitpid(child, 0)[1] == 0

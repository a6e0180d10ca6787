"""What a command says: progress and remarks on standard error, products on standard output, all of it silenced at will.

``--quiet`` is an environment variable, so that worker processes of a cluster on this machine inherit it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

QUIET: Final = "CXRAUG_QUIET"

#: told (done, total) as work goes on.
Progress = Callable[[int, int], None]


def is_quiet() -> bool:
    """Whether nothing but errors and warnings is to be said."""
    return bool(os.environ.get(QUIET))


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Say nothing but errors and warnings within, in this process and those that it starts."""
    before = os.environ.get(QUIET)
    if wanted:
        os.environ[QUIET] = "1"
    try:
        yield
    finally:
        if wanted and before is None:
            del os.environ[QUIET]


def announce(text: str) -> None:
    """Say how work goes, on standard error."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)


def deliver(text: object) -> None:
    """Say what came of it, on standard output, for people and scripts."""
    if not is_quiet():
        print(text, flush=True)


def shown(text: object) -> str:
    """A text as a terminal may be given it: what could move its cursor or change its colours is written out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


def progress_bar(label: str) -> Progress:
    """Return a function of (done, total) that keeps one tqdm line; a new total starts a new line."""
    from tqdm import tqdm

    bars: dict[int, tqdm] = {}

    def show(done: int, total: int) -> None:
        if total not in bars:
            bars[total] = tqdm(
                total=total,
                desc=label,
                unit="image",
                file=sys.stderr,
                mininterval=0.5,
                leave=False,
                disable=is_quiet(),
            )
        bars[total].update(done - bars[total].n)
        if done >= total:
            bars.pop(total).close()

    return show

"""Other troubles than kills: a disk that is full or read-only, and checkpoints that the disk has damaged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

_STEPS: Final = frozenset({"open", "os.rename", "os.mkdir", "os.link"})


class Volume:
    """A file system of its own in memory, that can be made too small or read-only.

    Args:
        place: where to mount it; made when missing.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    @classmethod
    def is_possible(cls, place: Path) -> bool:
        """Whether this process may mount file systems."""
        try:
            with cls(place):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        self._mount("-t", "tmpfs", "-o", "size=1g", "tmpfs")
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self.change("rw,size=1g")
        subprocess.run(["umount", "-l", str(self.place)], check=True, capture_output=True)  # nosec B607: root's own mount
        self.place.rmdir()

    def change(self, options: str) -> None:
        """Mount it anew with other options, such as ``"size=40k"`` or ``"ro"``."""
        self._mount("-o", f"remount,{options}")

    @property
    def is_full(self) -> bool:
        """Whether there is no room left to speak of."""
        free = os.statvfs(self.place)
        return free.f_bavail * free.f_frsize < 8192

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.place)], check=True, capture_output=True)  # nosec B607: as above


def failing(action: Callable[[], int], folder: Path, step: int, number: int) -> Callable[[], int]:
    """Let every step in a folder fail from the N-th on, as on a full or read-only disk, where none may be mounted.

    Args:
        action: what runs in a process of its own.
        folder: of the steps.
        step: the first one that fails.
        number: of the error, such as ``errno.ENOSPC``.
    """
    seen = 0

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _STEPS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        seen += 1
        if seen >= step:
            raise OSError(number, os.strerror(number), str(arguments[0]))

    def act() -> int:
        sys.addaudithook(refuse)
        return action()

    return act


# --- damage ---


def cut(content: bytes, draw: random.Random) -> bytes:
    """Keep the beginning."""
    return content[: draw.randrange(1, max(2, len(content)))]


def flip(content: bytes, draw: random.Random) -> bytes:
    """Change one bit, anywhere."""
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def empty(content: bytes, draw: random.Random) -> bytes:
    """Keep nothing, as after a power cut on some file systems."""
    return b""


def fill(content: bytes, draw: random.Random) -> bytes:
    """Keep the length alone."""
    return draw.randbytes(len(content))


DAMAGES: Final = (cut, flip, empty, fill)


def damage(path: Path, draw: random.Random) -> str:
    """Damage a file in one of the ways, whatever names it has; returns the way's name."""
    way = draw.choice(DAMAGES)
    content = path.read_bytes()
    path.write_bytes(way(content, draw) if content else b"")
    return way.__name__

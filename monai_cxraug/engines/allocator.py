"""What the C library does with memory that is given back, which decides the speed of training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Keep freed blocks for the next step instead of handing them back to the system.

    A training step asks for the same large blocks again and again. By default glibc maps each anew, and the system
    fills every page with zeros first: up to a sixth of a step. This holds for the whole process, which then keeps the
    most memory it ever used.

    Returns:
        Whether the C library could be told; only glibc can.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(option(_MMAP_THRESHOLD, _LARGEST) and option(_TRIM_THRESHOLD, _LARGEST))

"""What the C library does with memory that is given back, which decides the speed of training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1
_LARGEST_BEFORE_2_35 = 2**25  # older glibc refuses more for mapped blocks


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
    mapped = option(_MMAP_THRESHOLD, _LARGEST) or option(_MMAP_THRESHOLD, _LARGEST_BEFORE_2_35)
    return bool(option(_TRIM_THRESHOLD, _LARGEST) and mapped)

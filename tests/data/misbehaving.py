"""A reader whose files are orders: to be a picture, to crash, to hang. Decoding processes find it by its name."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from monai_cxraug.data.readers.policy import DicomPolicy, DroppedImage
from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.errors import InputError

#: file that every call adds a line to, so that a test can count calls in other processes.
LOG = "MISBEHAVING_LOG"


def picture(number: int) -> np.ndarray:
    """The picture that the order ``picture <number>`` makes: uint8 ``[8, 8]``."""
    return np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)


def read(data: bytes, name: object, policy: DicomPolicy) -> Radiograph:
    """Do what the file's first word says."""
    order, _, rest = data.decode().partition(" ")
    if LOG in os.environ:
        with open(os.environ[LOG], "a") as log:
            log.write(f"{os.path.basename(str(name))}\n")
    if order == "picture":
        return Radiograph(picture(int(rest)), np.linspace(0, 1, 256, dtype=np.float32), 8, "full range")
    return _ORDERS[order](rest)


def _stop(status: str) -> Radiograph:
    os._exit(int(status))


def _signal(number: str) -> Radiograph:
    os.kill(os.getpid(), getattr(signal, number))
    raise AssertionError


def _sleep(seconds: str) -> Radiograph:
    print("what decoders print must not mix with answers", flush=True)
    os.write(1, b"nor what they write below Python")
    time.sleep(float(seconds))
    raise AssertionError


def _allocate(gib: str) -> Radiograph:
    hoard = [np.empty(2**27, dtype=np.uint8) for _ in range(int(gib) * 8)]
    raise AssertionError(len(hoard))


def _crash_second(path: str) -> Radiograph:
    """Crash once, as when another file did the harm; then be picture 7."""
    if os.path.exists(path):
        return Radiograph(picture(7), np.linspace(0, 1, 256, dtype=np.float32), 8, "full range")
    with open(path, "w"):
        os._exit(1)


def _raise(text: str) -> Radiograph:
    raise KeyError(text)


def _recurse(text: str) -> Radiograph:
    return _recurse(text)


def _refuse(text: str) -> Radiograph:
    raise InputError("DOE^JOHN.dcm", "must be a radiograph", text, "look at it")


def _drop(text: str) -> Radiograph:
    raise DroppedImage("DOE^JOHN.dcm", "must be a frontal view", text, "set lateral=keep")


_ORDERS = {
    "exit": _stop,
    "signal": _signal,
    "sleep": _sleep,
    "allocate": _allocate,
    "crash-once": _crash_second,
    "raise": _raise,
    "recurse": _recurse,
    "refuse": _refuse,
    "drop": _drop,
}

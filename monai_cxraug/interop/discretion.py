"""Libraries quote values of the file at hand in their remarks: a name, a date of birth. No log is to hold them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKERS = ("pydicom", "highdicom", "dicomweb_client", "pynetdicom")


@contextmanager
def discreet() -> Iterator[None]:
    """Keep the remarks of DICOM libraries to themselves while files of patients are handled."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

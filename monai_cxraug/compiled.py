"""Compiled inner loops: C files beside the modules that call them, where a compiler was at hand when we were built.

They change speed only: whoever calls them has another way that gives the same bits. ``CXRAUG_KERNELS=off`` in the
environment takes that way everywhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from monai_cxraug.errors import ConfigError

SUFFIX: Final = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_SWITCH = "CXRAUG_KERNELS"


class Compiled:
    """The library that the build compiled from a C file, which lies beside it: ``x.c`` and ``_x.so``.

    Args:
        source: the C file; it names the source that it was compiled from (see any of them).
        declare: sets argument and result types of the functions.
    """

    def __init__(self, source: Path, declare: Callable[[Any], None]) -> None:
        self.source, self._declare = source, declare
        self.library = source.with_name(f"_{source.stem}{SUFFIX}")

    @property
    def loaded(self) -> bool:
        """Whether the compiled loops are there and wanted."""
        return self.absence == ""

    @property
    def absence(self) -> str:
        """Why the other way is taken; the empty text where the compiled loops are used.

        Raises:
            ConfigError: the environment variable is neither ``on`` nor ``off``.
        """
        switch = os.environ.get(_SWITCH, "on")
        if switch not in ("on", "off"):
            raise ConfigError(_SWITCH, "must be on or off", repr(switch), "unset it for the default, on")
        return f"{_SWITCH}=off" if switch == "off" else self._found[1]

    @property
    def functions(self) -> Any:
        """The functions, by name; ask :attr:`loaded` first."""
        functions, reason = self._found
        if functions is None:
            raise RuntimeError(reason)
        return functions

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """The library, or None and the reason; never one that was compiled from another source."""
        try:
            stamp = hashlib.sha256(self.source.read_bytes()).hexdigest()
            if f"cxraug-kernels-source:{stamp}".encode() not in self.library.read_bytes():
                return None, f"{self.library.name} was compiled from another source; install the package again"
            functions = ctypes.CDLL(str(self.library))
        except FileNotFoundError:
            return None, "not compiled: no C compiler was found when the package was installed"
        except OSError as error:
            return None, f"{self.library.name} cannot be loaded ({error})"
        self._declare(functions)
        return functions, ""

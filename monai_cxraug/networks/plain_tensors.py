"""Files of tensors that others made: read without running anything in them, and no larger in memory than on disk."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from monai_cxraug.errors import InputError, StateError

#: weights that a constructor may make and throw away again, such as the last layer of another number of classes.
_SPARE: Final = 2**20
_FACTORIES: Final = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})


def read_plain(path: Path, rule: str, mend: str, device: str = "cpu") -> Any:
    """Read what ``torch.save`` wrote: tensors, numbers, texts, lists and mappings, and nothing that runs.

    Args:
        path: the file.
        rule: what it must be, for an error.
        mend: what to do otherwise.
        device: where the tensors go; ``"meta"`` leaves their values out.

    Raises:
        InputError: it is missing, damaged or no such file; it holds code; or it is packed, for a few bytes may then
            fill the memory (torch packs nothing).
    """
    try:
        if not path.is_file():
            raise InputError(path, rule, "no file", mend)
        if zipfile.is_zipfile(path):
            _refuse_packed(path, rule, mend)
        with warnings.catch_warnings():  # torch remarks on formats that it then refuses
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch and pickle raise nearly anything on broken files
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(path, rule, reason, mend) from None


def _refuse_packed(path: Path, rule: str, mend: str) -> None:
    with zipfile.ZipFile(path) as archive:
        claimed = sum(info.file_size for info in archive.infolist())
    if claimed > path.stat().st_size:
        found = f"{claimed} bytes packed into {path.stat().st_size}"
        raise InputError(path, rule, found, mend)


class NoMoreWeights(TorchFunctionMode):
    """Refuses, while a network is built, to make far more numbers than its file holds: one in it can ask for them.

    Args:
        held: numbers that the file's tensors hold.
        path: the file.

    Raises:
        StateError: at the first tensor too many, before it is made.
    """

    def __init__(self, held: int, path: Path) -> None:
        super().__init__()
        self.held, self.path, self.made = held, path, 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what is about to be made."""
        if function in _FACTORIES:
            self.made += _size(args, kwargs or {})
            if self.made > self.held + _SPARE:
                rule, mend = "must hold the weights of the network that its settings describe", "fetch it again"
                raise StateError(self.path, rule, f"{self.held} numbers for one of more than {self.made}", mend)
        return function(*args, **(kwargs or {}))


def _size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Numbers in a tensor of ``torch.zeros(2, 3)``, ``torch.zeros((2, 3))`` or ``torch.zeros(size=(2, 3))``."""
    size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
    return math.prod(size) if all(isinstance(side, int) and side >= 0 for side in size) else 0

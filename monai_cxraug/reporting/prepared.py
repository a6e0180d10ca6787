"""What a report reads of prepared images: the rows of a manifest and chosen pictures of its pack."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError, StateError


@dataclass(frozen=True)
class Prepared:
    """A folder with ``manifest.csv`` and ``pack.npy``, row k of one being picture k of the other."""

    folder: Path

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Rows of the manifest, cells as text.

        Raises:
            InputError: the manifest is missing or unreadable.
        """
        path = self.folder / "manifest.csv"
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                return list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(path, "must be a readable manifest", str(error), "prepare the data again") from None

    def matching(self, conditions: Mapping[str, Sequence[str]]) -> list[int]:
        """Rows whose columns have one of the values given for each."""
        return [k for k, row in enumerate(self.rows) if all(row.get(key) in some for key, some in conditions.items())]

    def positives(self, finding: str, among: Sequence[int], source: str) -> list[int]:
        """Rows among those given that carry the finding and come from a source."""
        return [k for k in among if is_present(self.rows[k].get(finding)) and self.rows[k].get("source") == source]

    def pictures(self, chosen: Sequence[int]) -> NDArray[np.uint8]:
        """Pictures as 8 bit, ``[M, H, W]`` or ``[M, H, W, 3]``; 16 bit keep their high byte.

        Raises:
            InputError: the pack is missing or unreadable.
            StateError: the pack does not fit the manifest or is of another type.
        """
        path = self.folder / "pack.npy"
        try:
            pack = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(path, "must be a readable pack", str(error), "prepare the data again") from None
        if len(pack) != len(self.rows) or pack.ndim not in (3, 4) or pack.dtype not in (np.uint8, np.uint16):
            found = f"{pack.dtype} {pack.shape} for {len(self.rows)} rows"
            raise StateError(path, "must be uint8 or uint16 [N, H, W] or [N, H, W, 3], a picture for each row", found)
        taken: NDArray[np.uint8 | np.uint16] = pack[list(chosen)]
        return (taken >> 8 if taken.dtype == np.uint16 else taken).astype(np.uint8)


def is_present(cell: str | None) -> bool:
    """Whether a finding's cell says present; integers and ``1.0`` alike."""
    return cell in ("1", "1.0")

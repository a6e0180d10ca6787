"""An order of draws in which images come in pairs of one patient, for a network that learns to tell patients apart."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.errors import ConfigError

#: last word of the seeds, so that this order shares no numbers with another one.
_PAIRS: Final = 6


class PatientPairs:
    """Two images of a patient after each other, a patient once a pass; no batch holds a patient twice.

    So all other images of a batch are of other patients. Patients with a single image are never drawn. A pass is a
    whole number of batches: the patients of a last, incomplete one are left out, others in each pass.

    Args:
        rows: the images.
        batch_size: images a batch, an even number.

    Raises:
        ConfigError: the batch size is odd or below 4, or there are fewer patients with two images than a batch needs.
    """

    def __init__(self, rows: PackRows, batch_size: int) -> None:
        if batch_size < 4 or batch_size % 2:
            mend = "give an even number: each patient has two images in it"
            raise ConfigError("batch_size", "must be an even number of at least 4", batch_size, mend)
        owners = rows.manifest["patient_id"].astype(str)[rows.rows]
        names, member = np.unique(owners, return_inverse=True)
        groups = [np.flatnonzero(member == k) for k, name in enumerate(names) if name]
        #: positions of the images of each patient that has several.
        self.groups: list[NDArray[np.int64]] = [group for group in groups if len(group) > 1]
        self._patients = len(self.groups) - len(self.groups) % (batch_size // 2)
        if not self._patients:
            rule = f"a batch of {batch_size} needs {batch_size // 2} patients with two images"
            mend = "give a smaller batch_size, or more patients"
            raise ConfigError("batch_size", rule, f"{len(self.groups)} in {rows.manifest.path}", mend)

    def __len__(self) -> int:
        return 2 * self._patients

    def rows(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Pairs of images, two different ones of each patient."""
        rng = np.random.default_rng([seed, epoch, _PAIRS])
        chosen = rng.permutation(len(self.groups))[: self._patients]
        return np.concatenate([rng.choice(self.groups[patient], 2, replace=False) for patient in chosen])

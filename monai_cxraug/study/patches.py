"""Where the pictures of a study come from: images spread over findings and views, and a part of each."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import Image

#: what an image without any finding is counted as.
NO_FINDING: Final = "none"
#: a part whose grey levels vary less (standard deviation) shows nothing to compare; another one is drawn,
_FLAT: Final = 0.02
#: so many times at most.
_TRIES: Final = 20


@dataclass(frozen=True)
class Patch:
    """A picture, and where it is from.

    Args:
        picture: float32 ``[size, size]`` in [0, 1].
        image: in the manifest.
        patient_id: whose it is.
        finding: the rarest one that it shows, :data:`NO_FINDING` without any.
        view: of the manifest.
        left: of the part, pixels of the pack.
        top: of the part, pixels of the pack.
    """

    picture: Image
    image: str
    patient_id: str
    finding: str
    view: str
    left: int = 0
    top: int = 0


class Patches:
    """Draws pictures: strata of finding and view in turn, in each of them patients before second images of one.

    Args:
        rows: images to draw from.
        size: side of the pictures in pixels.
        whole: take whole images, averaged to the size; else parts in full resolution.
        rng: what draws.
        avoided: patients that are left out, such as those that a network was trained on.

    Raises:
        InputError: no image is left.
    """

    def __init__(
        self, rows: PackRows, size: int, whole: bool, rng: np.random.Generator, avoided: Collection[str] = ()
    ) -> None:
        rows.pack.require_size(size)
        self.rows, self.size, self.whole, self.rng = rows, size, whole, rng
        patients = rows.manifest["patient_id"].astype(str)
        if avoided:
            rows.keep(~np.isin(patients, sorted(avoided)), "of a patient that no network was trained on")
        self.findings = name_strata(rows.label_matrix(), rows.findings)
        self._turn = self._in_turn()

    def draw(self) -> Patch:
        """Draw the next picture; after the last image the first comes again."""
        position = next(self._turn)
        row, manifest = int(self.rows.rows[position]), self.rows.manifest
        picture, left, top = self._cut(row)
        return Patch(
            picture,
            str(manifest["image"][row]),
            str(manifest["patient_id"][row]),
            self.findings[position],
            str(manifest["view"][row]),
            left,
            top,
        )

    def _cut(self, row: int) -> tuple[Image, int, int]:
        if self.whole or self.rows.pack.size == self.size:
            return self.rows.pack.image(row, self.size), 0, 0
        image = self.rows.pack.image(row)
        for _ in range(_TRIES):
            left, top = (int(place) for place in self.rng.integers(0, self.rows.pack.size - self.size + 1, 2))
            part = image[top : top + self.size, left : left + self.size]
            if part.std() >= _FLAT:
                break
        return part, left, top

    def _in_turn(self) -> Iterator[int]:
        views = self.rows.manifest["view"][self.rows.rows]
        patients = self.rows.manifest["patient_id"][self.rows.rows]
        strata: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position in self.rng.permutation(len(self.rows)).tolist():
            strata[self.findings[position], str(views[position])].append(position)
        queues = [deque(_patients_first(strata[name], patients)) for name in sorted(strata)]
        while True:
            for queue in queues:
                yield queue[0]
                queue.rotate(-1)


def name_strata(labels: NDArray[np.float32], findings: tuple[str, ...]) -> list[str]:
    """Name each image by the rarest finding it shows, so that rare ones are not hidden behind common ones.

    Args:
        labels: ``[N, K]``: 1 present, 0 absent, NaN unknown.
        findings: ``K`` names.

    Returns:
        ``N`` names; :data:`NO_FINDING` where nothing is present.
    """
    present = labels == 1
    by_rarity = np.argsort(present.sum(axis=0), kind="stable")
    ordered = present[:, by_rarity]
    first = ordered.argmax(axis=1) if len(findings) else np.zeros(len(labels), dtype=int)
    shown = ordered.any(axis=1)
    return [findings[by_rarity[k]] if some else NO_FINDING for k, some in zip(first, shown, strict=True)]


def _patients_first(positions: list[int], patients: NDArray[np.object_]) -> list[int]:
    """First one image of each patient, then the second of those who have one, and so on."""
    seen: Counter[str] = Counter()
    rounds = []
    for position in positions:
        patient = str(patients[position])
        rounds.append(seen[patient] if patient else 0)
        seen[patient] += 1
    return [position for _, position in sorted(zip(rounds, positions, strict=True), key=lambda pair: pair[0])]

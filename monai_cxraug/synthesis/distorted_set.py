"""The distorted set: images of a manifest as a network distorts them, with manifest, pack and provenance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.artifacts import locked, read_json, write_json
from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.mixing import held_out_patients, refuse_seen
from monai_cxraug.data.pack import quantise, write_pack
from monai_cxraug.errors import CxrAugError, StateError
from monai_cxraug.synthesis.distorters import Distorter

SCHEMA: Final = "cxraug.distorted_set/1"
#: columns of the manifest: the network's name, and the image that it distorted.
DISTORTION, ORIGINAL = "distortion", "distorted_from"
_BLOCK: Final = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DistortedSet:
    """Writes ``manifest.csv``, ``manifest.json``, ``pack.npy``, ``pack.json`` and ``provenance.json``.

    Labels and patients are those of the originals; the column ``source`` is ``filtered``, so that no evaluation takes
    them for real ones. ``manifest.json`` comes last: without it a set is not one.

    Args:
        images: what is distorted.
        distorter: the network.
        output_dir: folder to write.
        seed: of the corruption; image k of the set depends on itself, the seed and k alone.
        progress: called with (done, n).
    """

    images: PackDataset
    distorter: Distorter
    output_dir: str | Path
    seed: int = 0
    progress: Progress | None = None

    def run(self) -> Path:
        """Distort and write; return the path of ``manifest.csv``.

        Raises:
            LeakageError: the network saw a patient of the val or test split.
            InputError: the images do not fit the network.
            StateError: the folder holds other data.
        """
        rows, out = self.images.real, Path(self.output_dir)
        refuse_seen(self.distorter.patients_seen, held_out_patients(rows.manifest.path), self.distorter.model.path)
        _require_free(out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            pictures = self._distort(rows)
            (out / "manifest.json").unlink(missing_ok=True)
            table = self._table(rows)
            write_pack(out, pictures, [str(name) for name in table["image"]])
            write_json(out / "provenance.json", SCHEMA, self._provenance(rows))
            return table.write(out, {"manifest": rows.manifest.hash(), "network": self.distorter.hash})

    def _distort(self, rows: PackRows) -> NDArray[Any]:
        depth = rows.pack.array.dtype.itemsize * 8
        pictures = np.empty((len(rows), rows.size, rows.size), dtype=rows.pack.array.dtype)
        for start in range(0, len(rows), _BLOCK):
            positions = range(start, min(start + _BLOCK, len(rows)))
            images = torch.from_numpy(np.stack([rows.picture(position) for position in positions]))
            made: Tensor = self.distorter(images[:, None], self.seed, start)
            pictures[start : start + len(made)] = quantise(made[:, 0].numpy(), depth)
            if self.progress:
                self.progress(positions.stop, len(rows))
        return pictures

    def _table(self, rows: PackRows) -> Manifest:
        source, n = rows.manifest, len(rows)
        columns = {name: values[rows.rows] for name, values in source.columns.items()}
        columns |= {ORIGINAL: columns["image"], DISTORTION: np.full(n, self.distorter.name, dtype=object)}
        columns |= {"source": np.full(n, "filtered", dtype=object)}
        columns["image"] = columns[ORIGINAL] + "+" + self.distorter.name
        columns.pop("content", None)  # hashes of other pictures
        info = {**source.info, "distortion": self.distorter.name}
        return Manifest(columns, source.findings, source.labels[rows.rows], info, source.path)

    def _provenance(self, rows: PackRows) -> dict[str, Any]:
        model = self.distorter.model
        return {
            "network": {"name": self.distorter.name, "sha256": self.distorter.hash, "settings": model.settings},
            "corruption": dict(model.about["corruption"]),
            "seed": self.seed,
            "images": len(rows),
            "manifest": rows.manifest.hash(),
            "patients_seen": sorted(self.distorter.patients_seen),
        }


def _require_free(out: Path) -> None:
    if (out / "manifest.json").exists():
        with suppress(CxrAugError):
            read_json(out / "provenance.json", SCHEMA)
            return
        raise StateError(out, "must hold nothing, or a distorted set", "other data", "choose a new folder")

"""The distorted set: images of a manifest as a network distorts them, with a table and provenance."""

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

from monai_cxraug.artifacts import atomic_path, locked, read_json, write_csv, write_json
from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.mixing import held_out_patients, refuse_seen
from monai_cxraug.data.pack import channels_first, channels_last, quantise, to_unit, write_pack
from monai_cxraug.errors import CxrAugError, StateError
from monai_cxraug.synthesis.distorters import Distorter

SCHEMA: Final = "cxraug.distorted_set/1"
TABLE, PROVENANCE = "distorted.csv", "provenance.json"
_COLUMNS: Final = ("image", "original", "patient_id", "split", "distortion")
_BLOCK: Final = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DistortedSet:
    """Writes ``pack.npy`` and ``pack.json``, ``distorted.csv``, which tells what each row is, and ``provenance.json``.

    There is no manifest, so that neither training nor evaluation takes these images for radiographs.
    ``provenance.json`` comes last: without it a set is not one.

    Args:
        images: what is distorted.
        distorter: the network.
        output_dir: folder to write.
        seed: of the corruption; image k of the set depends on itself, the seed and k alone.
        png: write each picture as ``png/<image>.png`` too, with 8 bits.
        progress: called with (done, n).
    """

    images: PackDataset
    distorter: Distorter
    output_dir: str | Path
    seed: int = 0
    png: bool = False
    progress: Progress | None = None

    def run(self) -> Path:
        """Distort and write; return the path of ``distorted.csv``.

        Raises:
            LeakageError: the network saw a patient of the val or test split.
            InputError: the images do not fit the network.
            ConfigError: they have other channels than its own.
            StateError: the folder holds other data.
        """
        rows, out = self.images.real, Path(self.output_dir)
        rows.pack.require_channels(self.distorter.model.settings["channels"])
        refuse_seen(self.distorter.patients_seen, held_out_patients(rows.manifest.path), self.distorter.model.path)
        _require_free(out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            pictures, table = self._distort(rows), self._table(rows)
            (out / PROVENANCE).unlink(missing_ok=True)
            write_pack(out, pictures, [row[0] for row in table])
            if self.png:
                _write_pngs(out / "png", pictures, [row[0] for row in table])
            write_csv(out / TABLE, _COLUMNS, table)
            write_json(out / PROVENANCE, SCHEMA, self._provenance(rows))
        return out / TABLE

    def _distort(self, rows: PackRows) -> NDArray[Any]:
        depth = rows.pack.array.dtype.itemsize * 8
        shape = len(rows), rows.size, rows.size, *rows.pack.array.shape[3:]
        pictures = np.empty(shape, dtype=rows.pack.array.dtype)
        for start in range(0, len(rows), _BLOCK):
            positions = range(start, min(start + _BLOCK, len(rows)))
            images = channels_first(np.stack([rows.picture(position) for position in positions]))
            made: Tensor = self.distorter(torch.from_numpy(np.ascontiguousarray(images)), self.seed, start)
            pictures[start : start + len(made)] = quantise(channels_last(made.numpy()), depth)
            if self.progress:
                self.progress(positions.stop, len(rows))
        return pictures

    def _table(self, rows: PackRows) -> list[list[str]]:
        names = ("image", "patient_id", "split")
        columns = [rows.manifest[name][rows.rows].astype(str).tolist() for name in names]
        distortion = self.distorter.name
        return [
            [f"{image}+{distortion}", image, patient, split, distortion]
            for image, patient, split in zip(*columns, strict=True)
        ]

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
    if any((out / name).exists() for name in ("manifest.json", PROVENANCE, "pack.json")):
        with suppress(CxrAugError):
            read_json(out / PROVENANCE, SCHEMA)
            return
        raise StateError(out, "must hold nothing, or a distorted set", "other data", "choose a new folder")


def _write_pngs(folder: Path, pictures: NDArray[Any], names: list[str]) -> None:
    from PIL import Image

    for picture, name in zip(pictures, names, strict=True):
        with atomic_path(folder / f"{name.replace('/', '_')}.png") as temporary:
            Image.fromarray(quantise(to_unit(picture), 8)).save(temporary)

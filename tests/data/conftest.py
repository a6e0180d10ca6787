"""Small prepared sets, and what every refusal must look like."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import CxrAugError

FINDINGS = ("Edema", "Fibrosis", "Mass")
SIDE = 8

Refuses = Callable[..., AbstractContextManager[None]]
MakeSet = Callable[..., Path]


@pytest.fixture
def refuses() -> Refuses:
    """A refusal: of exactly this kind, on one line, with place, rule, finding and mend, and with the words given."""

    @contextmanager
    def check(kind: type[CxrAugError], *words: object) -> Iterator[None]:
        with pytest.raises(CxrAugError) as caught:
            yield
        error = caught.value
        assert type(error) is kind
        assert error.where
        assert error.rule
        assert error.found
        assert error.mend
        assert "\n" not in str(error)
        for word in words:
            assert str(word) in str(error)

    return check


def default_labels(n: int) -> np.ndarray:
    """Edema in every third image, Fibrosis in every fourth, Mass unknown in every fifth and else absent."""
    rows = np.arange(n)
    mass = np.where(rows % 5 == 0, np.nan, 0.0)
    return np.column_stack([rows % 3 == 0, rows % 4 == 0, mass]).astype(np.float32)


@pytest.fixture
def make_set() -> MakeSet:
    """Write a manifest and a pack of random pictures; two images a patient; returns the manifest's path.

    The first half of the patients is in train, a quarter each in val and test.
    """

    def make(folder: Path, n: int = 16, prefix: str = "P", side: int = SIDE, **columns: list[str]) -> Path:
        patients = [f"{prefix}{row // 2:03d}" for row in range(n)]
        splits = ["train" if row < n // 2 else "val" if row < n * 3 // 4 else "test" for row in range(n)]
        own = {
            "image": [f"{prefix}{row:03d}.png" for row in range(n)],
            "patient_id": patients,
            "split": splits,
            "source": ["real"] * n,
            **columns,
        }
        rows = [{name: values[row] for name, values in own.items()} for row in range(n)]
        manifest = Manifest(make_columns(rows), FINDINGS, default_labels(n), {"name": "made for a test"})
        pictures = np.random.default_rng(n).integers(0, 256, (n, side, side), dtype=np.uint8)
        write_pack(folder, pictures, own["image"])
        return manifest.write(folder)

    return make


@pytest.fixture
def make_colour_set(make_set: MakeSet) -> MakeSet:
    """Write what ``make_set`` writes, its random pictures in red, green and blue; returns the manifest's path."""

    def make(folder: Path, n: int = 16, prefix: str = "P", side: int = SIDE, **columns: list[str]) -> Path:
        path = make_set(folder, n, prefix, side, **columns)
        pictures = np.random.default_rng(n).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
        write_pack(folder, pictures, [f"{prefix}{row:03d}.png" for row in range(n)])
        return path

    return make


@pytest.fixture
def make_synthetic() -> MakeSet:
    """Write a synthetic set of one finding whose generator declares the patients it saw; returns its folder."""

    def make(folder: Path, n: int, seen: object, finding: str = "Edema", findings: tuple[str, ...] = FINDINGS) -> Path:
        rows = [{"image": f"s{row}", "split": "train", "source": "synthetic"} for row in range(n)]
        labels = np.full((n, len(findings)), np.nan, dtype=np.float32)
        labels[:, findings.index(finding)] = 1
        pictures = np.random.default_rng(99).integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
        write_pack(folder, pictures, [row["image"] for row in rows])
        write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": seen, "finding": finding})
        Manifest(make_columns(rows), findings, labels).write(folder)
        return folder

    return make


#: image, findings, patient, age, split of a small set in NIH's layout.
NIH_ROWS = (
    ("00000001_000.png", "Cardiomegaly|Edema", "1", "57", "train"),
    ("00000001_001.png", "No Finding", "1", "58", "train"),
    ("00000002_000.png", "Hernia", "2", "80", "train"),
    ("00000003_000.png", "Edema", "3", "074Y", "val"),
    ("00000004_000.png", "No Finding", "4", "82", "test"),
    ("00000004_001.png", "Pleural_Thickening", "4", "009M", "test"),
)
#: NIH's own header; its brackets hold commas.
NIH_COLUMNS = (
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position"),
    *("OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"),
)


def nih_picture(index: int) -> np.ndarray:
    """An asymmetric picture: uint8 ``[12, 12]``."""
    return (np.add.outer(np.arange(12) * 13, np.arange(12) * 3) + index).astype(np.uint8)


@pytest.fixture
def nih_folder(tmp_path: Path) -> Path:
    """Six images in the layout of ChestX-ray14, patient-wise lists, and ``resample.csv`` for all but the first."""
    folder = tmp_path / "nih"
    (folder / "images").mkdir(parents=True)
    for index, (name, *_) in enumerate(NIH_ROWS):
        Image.fromarray(nih_picture(index)).save(folder / "images" / name)
    with (folder / "Data_Entry_2017_v2020.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(NIH_COLUMNS)
        for index, (name, findings, patient, age, _) in enumerate(NIH_ROWS):
            writer.writerow([name, findings, index, patient, age, "M", "PA", 2500, 2048, 0.17, 0.17])
    for split in ("train", "val", "test"):
        names = [row[0] for row in NIH_ROWS if row[-1] == split]
        (folder / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))
    table = "".join(f"{row[0]},area,train_val\n" for row in NIH_ROWS[1:])
    (folder / "resample.csv").write_text(f"file,resample,split_nih\n{table}")
    return folder

"""Phantoms in the layouts of real data sets: shares, signs that can be seen, and the same bytes for the same seed."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pydicom import dcmread

from monai_cxraug.data.sources.phantom.layouts import LAYOUTS, write_layout
from monai_cxraug.data.sources.phantom.skin import render_lesion, write_skin_layout
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.labels import CHEXPERT_FINDINGS


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_seed_makes_the_bytes(layout: str, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_layout(layout, tmp_path / name, 24, 16, seed, lambda *done: calls.append(done))
    assert calls == [(done, 24) for done in range(1, 25)] * 3
    assert content(tmp_path / "one") == content(tmp_path / "again")
    assert content(tmp_path / "one") != content(tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "again", "other"}  # no draft is left


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_holds_something_is_left_alone(layout: str, tmp_path: Path, refuses) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with refuses(InputError, tmp_path, "new or empty folder"):
        write_layout(layout, tmp_path, 24, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_layout(tmp_path: Path, refuses) -> None:
    with refuses(ConfigError, "layout", "'chexprt'", "did you mean 'chexpert'?"):
        write_layout("chexprt", tmp_path / "x", 24, 16)


# --- CheXpert ---


def test_chexpert_tables(layouts) -> None:
    folder = layouts("chexpert")
    train, valid = ([*csv.DictReader((folder / f"{name}.csv").open())] for name in ("train", "valid"))
    assert {row[name] for row in train for name in CHEXPERT_FINDINGS} == {"1.0", "0.0", "-1.0", ""}
    assert {row[name] for row in valid for name in CHEXPERT_FINDINGS} == {"1.0", "0.0"}
    patients = [{row["Path"].split("/")[2] for row in rows} for rows in (train, valid)]
    assert patients[0].isdisjoint(patients[1])
    assert all((folder / row["Path"].split("/", 1)[1]).is_file() for row in (*train, *valid))
    assert len(list(folder.rglob("*.jpg"))) == len(train) + len(valid)
    for row in train:
        healthy = not any(row[name] == "1.0" for name in CHEXPERT_FINDINGS[1:13])
        assert row["No Finding"] in ("", "1.0")
        assert healthy or row["No Finding"] == ""


def test_fractures_can_be_seen(tmp_path: Path) -> None:
    from monai_cxraug.data.sources.phantom import render, sample_population
    from monai_cxraug.data.sources.phantom.chexpert import _break_rib

    picture = render(sample_population(1, 0)[0], 128, 0)
    broken = _break_rib(picture, np.random.default_rng(0))
    changed = np.abs(broken - picture) > 0.05
    assert 0.0005 < changed.mean() < 0.01
    rows, columns = np.nonzero(changed)
    assert max(np.ptp(rows), np.ptp(columns)) < 20  # one place
    assert abs(columns.mean() - 64) > 30  # on the side


# --- skin ---


def test_skin_folders(layouts) -> None:
    names = [file.relative_to(layouts("skin")).as_posix() for file in layouts("skin").rglob("*.jpg")]
    assert Counter(name.rsplit("/", 1)[0] for name in names) == {
        "train/benign": 29, "test/benign": 7, "train/malignant": 19, "test/malignant": 5,
    }  # fmt: skip
    assert {Image.open(layouts("skin") / name).mode for name in names} == {"RGB"}


def signs(kind: str, number: int) -> tuple[float, float, float]:
    """Area, raggedness and spread of hues of a lesion, measured on the picture without its hairs."""
    shown = render_lesion(kind, 96, np.random.default_rng([number, kind == "benign"])).filter(
        ImageFilter.MedianFilter(7)
    )
    picture = np.asarray(shown, dtype=float)
    skin = np.median(np.concatenate([picture[:6].reshape(-1, 3), picture[-6:].reshape(-1, 3)]), axis=0)
    inside = np.abs(picture - skin).sum(axis=2) > 60
    border = np.abs(np.diff(inside, axis=0)).sum() + np.abs(np.diff(inside, axis=1)).sum()
    hue = picture[inside] / picture[inside].sum(axis=1, keepdims=True)
    return float(inside.mean()), float(border**2 / max(inside.sum(), 1)), float(hue.std(axis=0).sum())


def test_signs_tell_the_classes_apart_and_none_alone_does() -> None:
    benign, malignant = (np.array([signs(kind, number) for number in range(60)]) for kind in ("benign", "malignant"))
    wins = (malignant[:, None, :] > benign[None, :, :]).mean(axis=(0, 1))  # AUROC of each sign
    assert (wins > 0.6).all(), wins
    assert (wins < 0.97).all(), wins


@pytest.mark.parametrize("settings", [{"images": 9}, {"size": 8}, {"malignant": 0.0}, {"malignant": 1.0}])
def test_skin_numbers_out_of_range(tmp_path: Path, refuses, settings) -> None:
    with refuses(ConfigError, next(iter(settings))):
        write_skin_layout(tmp_path / "x", **{"images": 20, "size": 32, "seed": 0, **settings})
    assert not (tmp_path / "x").exists()


# --- a hospital's export ---


def test_the_export_has_every_oddity(layouts) -> None:
    folder = layouts("dicom")
    files = [file for file in folder.rglob("IM*") if file.stat().st_size and file.suffix != ".dcm"]
    said = [dcmread(file) for file in files]
    assert {header.get("ViewPosition") for header in said} == {"PA", "AP", "LL"}
    assert "FOR PROCESSING" in {header.get("PresentationIntentType") for header in said}
    assert "YES" in {header.BurnedInAnnotation for header in said}
    assert {header.BodyPartExamined for header in said} == {"CHEST", "HAND"}
    assert 2 in {int(header.get("NumberOfFrames", 1)) for header in said}
    wrong = {"MONOCHROME1": "IDENTITY", "MONOCHROME2": "INVERSE"}
    assert any(header.get("PresentationLUTShape") == wrong[header.PhotometricInterpretation] for header in said)
    lateral = next(header for header in said if header.ViewPosition == "LL")
    assert lateral.pixel_array.shape == (32, 32)
    assert sum(not file.stat().st_size for file in folder.rglob("IM*")) == 1


def test_the_dicomdir_is_one(layouts) -> None:
    from pydicom.fileset import FileSet

    media = FileSet(layouts("dicom") / "DICOMDIR")
    assert len(media) == 92
    assert all(Path(one.path).is_file() for one in media)

"""Preparing: everything is there, counted right, reused when nothing changed, and never half-written."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from monai_cxraug.data import prepare as preparing
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack
from monai_cxraug.data.prepare import Request, prepare, prepare_images
from monai_cxraug.data.sources.phantom import write_native
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError

PRODUCTS = {
    "manifest.csv", "manifest.json", "pack.npy", "pack.json", "quarantine.csv", "summary.json", "contact_sheet.png",
}  # fmt: skip


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def request(nih_folder: Path, size: int = 6) -> Request:
    return Request("nih", str(nih_folder), size=size)


def test_everything_is_made(nih_folder: Path, tmp_path: Path) -> None:
    (nih_folder / "images" / "00000002_000.png").write_bytes(b"broken")
    (nih_folder / "images" / "00000003_000.png").unlink()
    path = prepare(request(nih_folder), tmp_path / "out")
    assert path == tmp_path / "out" / "manifest.csv"
    assert {file.name for file in path.parent.iterdir()} == PRODUCTS
    manifest = read_manifest(path)
    packed = Pack(path.parent, manifest)
    names = ["00000001_000.png", "00000001_001.png", "00000004_000.png", "00000004_001.png"]
    assert list(manifest["image"]) == names
    for row, name in enumerate(names):
        stored = np.asarray(Image.open(nih_folder / "images" / name)).reshape(6, 2, 6, 2).mean((1, 3)) / 255
        assert_allclose(packed.image(row), stored, atol=0.51 / 255)
    assert list(manifest["resample"]) == ["", "area", "area", "area"]  # the first row lacks it
    with (path.parent / "quarantine.csv").open(newline="") as stream:
        lines = {row["file"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(lines) == {"00000002_000.png", "00000003_000.png"}
    assert "DICOM, PNG or JPEG" in lines["00000002_000.png"]
    assert "not among the images" in lines["00000003_000.png"]


def test_the_summary_counts_the_manifest(nih_folder: Path, tmp_path: Path) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    manifest, summary = read_manifest(path), json.loads((path.parent / "summary.json").read_text())
    assert summary["images"] == len(manifest) == 6
    assert summary["patients"] == 4
    assert summary["splits"] == {
        "train": {"images": 3, "patients": 2},
        "val": {"images": 1, "patients": 1},
        "test": {"images": 2, "patients": 1},
    }
    for finding, counts in summary["findings"].items():
        for split, values in counts.items():
            assert values == {
                "positives": int((manifest.label(finding)[manifest.rows(split)] == 1).sum()),
                "unknown": 0,
            }
    assert summary["findings"]["Edema"]["train"]["positives"] == summary["findings"]["Edema"]["val"]["positives"] == 1
    assert (summary["quarantined"], summary["missing"]) == (0, 0)
    assert summary["sexes"] == {"M": 6}


def test_the_contact_sheet_shows_the_pictures(nih_folder: Path, tmp_path: Path) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    sheet = np.asarray(Image.open(path.parent / "contact_sheet.png"), dtype=float)
    assert sheet.shape == (96, 960)
    pack = np.load(path.parent / "pack.npy")
    for row in range(6):
        tile = sheet[:, row * 96 : (row + 1) * 96].reshape(6, 16, 6, 16).mean((1, 3))
        assert np.corrcoef(tile.ravel(), pack[row].ravel())[0, 1] > 0.98
        assert np.corrcoef(tile.T.ravel(), pack[row].ravel())[0, 1] < 0.9
    assert (sheet[:, 576:] == 0).all()


def test_a_second_call_touches_nothing(nih_folder: Path, tmp_path: Path, monkeypatch) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)
    monkeypatch.setattr(preparing, "build_pack", None)
    assert prepare(request(nih_folder), tmp_path / "out") == path
    assert state(path.parent) == before


def test_the_same_request_elsewhere_gives_the_same_bytes(nih_folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare(request(nih_folder), tmp_path / name)
    for name in PRODUCTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def change_table(folder: Path) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("Hernia", "Mass"))


def touch_picture(folder: Path) -> None:
    os.utime(folder / "images" / "00000002_000.png", ns=(1, 1))


def lose_picture(folder: Path) -> None:
    (folder / "images" / "00000002_000.png").unlink()


def list_a_missing_one(folder: Path) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1].replace("00000004_001", "00000009_000")]) + "\n")


@pytest.mark.parametrize("change", [change_table, touch_picture, lose_picture, list_a_missing_one])
def test_a_change_is_noticed(nih_folder: Path, tmp_path: Path, change) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)
    change(nih_folder)
    prepare(request(nih_folder), tmp_path / "out")
    assert state(path.parent)["pack.npy"][0] != before["pack.npy"][0]


def test_another_size_is_made_anew(nih_folder: Path, tmp_path: Path) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    prepare(request(nih_folder, size=4), tmp_path / "out")
    assert np.load(path.parent / "pack.npy").shape == (6, 4, 4)
    Pack(path.parent, read_manifest(path))


def test_an_interrupted_change_is_not_taken_for_the_old_answer(nih_folder: Path, tmp_path: Path, monkeypatch) -> None:
    prepare(request(nih_folder), tmp_path / "out")

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_write_quarantine", stop)  # the pack has its name, the manifest is the old one
        with pytest.raises(KeyboardInterrupt):
            prepare(request(nih_folder, size=4), tmp_path / "out")
    path = prepare(request(nih_folder), tmp_path / "out")
    assert np.load(path.parent / "pack.npy").shape == (6, 6, 6)


def break_lists(folder: Path) -> None:
    (folder / "val_list.txt").write_text("00000001_001.png\n")
    (folder / "train_list.txt").write_text("00000001_000.png\n")


def lose_lists(folder: Path) -> None:
    for file in folder.glob("*_list.txt"):
        file.unlink()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (shutil.rmtree, InputError, ("must exist",)),
        (lambda folder: (folder / "Data_Entry_2017_v2020.csv").unlink(), InputError, ("Data_Entry_2017_v2020.csv",)),
        (lose_lists, InputError, ("--lists",)),
        (break_lists, LeakageError, ("patient '1'", "train and val")),
        (lambda folder: shutil.rmtree(folder / "images"), InputError, ("at least one listed image",)),
    ],
)
def test_a_refusal_writes_nothing(nih_folder: Path, tmp_path: Path, refuses, change, kind, words) -> None:
    change(nih_folder)
    with refuses(kind, nih_folder, *words):
        prepare(request(nih_folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_readable_image_no_folder_is_left(nih_folder: Path, tmp_path: Path, refuses) -> None:
    for file in (nih_folder / "images").iterdir():
        file.write_bytes(b"broken")
    with refuses(InputError, "at least one image must be readable"):
        prepare(request(nih_folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refusal_leaves_what_was_there(nih_folder: Path, tmp_path: Path, refuses) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)
    for file in (nih_folder / "images").iterdir():
        file.write_bytes(b"broken")
    with refuses(InputError, "at least one image must be readable"):
        prepare(request(nih_folder), tmp_path / "out")
    assert state(path.parent) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "nhi", "images": "x"}, ("source", "'nhi'", "did you mean 'nih'?")),
        ({"source": "nih"}, ("--images", "give --images PATH")),
        ({"source": "phantom", "size": 2}, ("size", "4")),
        ({"source": "phantom", "size": 64.0}, ("size",)),
        ({"source": "phantom", "count": 19}, ("count", "20")),
        ({"source": "phantom", "seed": -1}, ("seed",)),
    ],
)
def test_requests_that_cannot_be(refuses, settings, words) -> None:
    with refuses(ConfigError, *words):
        Request(**settings)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "native"
    write_native(folder, 24, 16, 0)
    return folder


def test_phantoms_keep_16_bits_and_split_by_patient(phantoms: Path, tmp_path: Path) -> None:
    path = prepare(Request("phantom", str(phantoms), size=16), tmp_path / "out")
    manifest = read_manifest(path)
    assert np.load(path.parent / "pack.npy").dtype == np.uint16
    assert len(manifest) == 24
    assert set(manifest["split"]) == {"train", "val", "test"}
    assert {text.split(" ")[0] for text in manifest["greyscale"]} == {"window", "full"}


def test_phantoms_are_generated_once(tmp_path: Path, monkeypatch) -> None:
    calls: list[tuple[int, int]] = []
    path = prepare(Request("phantom", size=8, count=20), tmp_path / "out", lambda *done: calls.append(done))
    assert calls[-1] == (20, 20)
    pictures = state(path.parent / "phantom" / "images")
    monkeypatch.setattr("monai_cxraug.data.sources.phantom.writers.write_native", None)
    prepare(Request("phantom", size=4, count=20), tmp_path / "out")
    assert state(path.parent / "phantom" / "images") == pictures


def test_unlabelled_images(phantoms: Path, tmp_path: Path, refuses) -> None:
    path = prepare_images(str(phantoms / "images"), None, 16, tmp_path / "out")
    manifest = read_manifest(path)
    assert manifest.findings == ()
    assert manifest.labels.shape == (24, 0)
    assert len(Pack(path.parent, manifest).image(0)) == 16
    assert prepare_images(None, str(path), 16, tmp_path / "other") == path
    assert not (tmp_path / "other").exists()
    with refuses(ConfigError, "images", "--images PATH or --manifest"):
        prepare_images(None, None, 16, tmp_path / "other")


def test_an_unknown_finding_writes_nothing(nih_folder: Path, tmp_path: Path, refuses) -> None:
    table = nih_folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("Hernia", "Herna"))
    with refuses(LabelError, "Data_Entry", "'Herna'", "did you mean 'Hernia'?"):
        prepare(request(nih_folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()

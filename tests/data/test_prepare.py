"""Preparing: everything is there, counted right, reused when nothing changed, and never half-written."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from monai_cxraug.artifacts import locked, read_json
from monai_cxraug.data import packing
from monai_cxraug.data import prepare as preparing
from monai_cxraug.data.decoding import Answer, Recipe, Task
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import Pack, picture_hash
from monai_cxraug.data.prepare import prepare, prepare_images
from monai_cxraug.data.request import Request, list_source
from monai_cxraug.data.sources.phantom import write_native
from monai_cxraug.data.summary import SCHEMA, describe
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError, StateError

PRODUCTS = {
    "manifest.csv", "manifest.json", "pack.npy", "pack.json", "files.csv", "quarantine.csv", "dropped.csv",
    "duplicates.csv", "summary.json", "contact_sheet.png",
}  # fmt: skip


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded, growing; those only compared by their bytes are not among them."""
    names: list[str] = []
    decode_all = packing.decode_all

    def watch(tasks: Sequence[Task], recipe: Recipe, workers: int | None) -> Iterator[Answer]:
        for answer in decode_all(tasks, recipe, workers):
            if answer.outcome is not None:
                names.append(next(task.file.path.name for task in tasks if task.number == answer.number))
            yield answer

    monkeypatch.setattr(packing, "decode_all", watch)
    return names


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
    assert "another kind of file" in lines["00000002_000.png"]
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
            labels = manifest.label(finding)[manifest.rows(split)]
            positives = int((labels == 1).sum())
            assert values == {"positives": positives, "negatives": len(labels) - positives, "unknown": 0}
    assert summary["findings"]["Edema"]["train"]["positives"] == summary["findings"]["Edema"]["val"]["positives"] == 1
    assert (summary["quarantined"], summary["missing"]) == (0, 0)
    assert summary["sexes"] == {"M": 6}


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
    assert state(path.parent)["manifest.json"][0] != before["manifest.json"][0]


def test_another_size_is_made_anew(nih_folder: Path, tmp_path: Path) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    prepare(request(nih_folder, size=4), tmp_path / "out")
    assert np.load(path.parent / "pack.npy").shape == (6, 4, 4)
    Pack(path.parent, read_manifest(path))


def test_only_what_changed_is_decoded(nih_folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    prepare(request(nih_folder), tmp_path / "out")
    assert len(decoded) == 6
    decoded.clear()
    change_table(nih_folder)
    touch_picture(nih_folder)
    shutil.copy(nih_folder / "images" / "00000001_000.png", nih_folder / "images" / "00000003_000.png")
    prepare(request(nih_folder), tmp_path / "out")
    assert decoded == ["00000003_000.png"]
    prepare(request(nih_folder), tmp_path / "fresh")
    for name in PRODUCTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


class InterruptionError(BaseException):
    """Stands for a kill: no handler of errors sees it."""


@pytest.mark.parametrize("step", [0, 5, 9])
def test_a_change_cut_off_while_files_take_their_names(
    nih_folder: Path, tmp_path: Path, monkeypatch, decoded: list[str], step: int
) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    replace, steps = Path.replace, iter(range(100))

    def stop(self: Path, target: Path) -> Path:
        if Path(target).parent == path.parent and next(steps) == step:
            raise InterruptionError
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(InterruptionError):
            prepare(request(nih_folder, size=4), tmp_path / "out")
    with pytest.raises(InputError):  # neither the old set nor the new one, and nothing in between
        read_manifest(path)
    decoded.clear()
    prepare(request(nih_folder, size=4), tmp_path / "out")
    assert decoded == []
    prepare(request(nih_folder, size=4), tmp_path / "fresh")
    assert {file.name for file in path.parent.iterdir()} == PRODUCTS
    for name in PRODUCTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


@pytest.mark.parametrize(
    "step", ["build_pack", "_write_products", "find_duplicates", "write_contact_sheet", "_take_names"]
)
def test_the_old_set_is_usable_until_the_new_one_is_complete(
    nih_folder: Path, tmp_path: Path, monkeypatch, step: str
) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)

    def stop(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, step, stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(request(nih_folder, size=4), tmp_path / "out")
    assert state(path.parent) == before
    assert Pack(path.parent, read_manifest(path)).size == 6
    assert prepare(request(nih_folder, size=4), tmp_path / "out") == path
    assert Pack(path.parent, read_manifest(path)).size == 4
    assert {file.name for file in path.parent.iterdir()} == PRODUCTS


def test_a_full_disk_is_one_line_and_the_old_set_stays(nih_folder: Path, tmp_path: Path, monkeypatch, refuses) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)

    def fail(*arguments: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("write_csv", "write_contact_sheet", "build_pack"):
        with monkeypatch.context() as patch:
            patch.setattr(preparing, name, fail)
            with refuses(InputError, path.parent, "No space left on device", "goes on where it stopped"):
                prepare(request(nih_folder, size=4), tmp_path / "out")
        assert state(path.parent) == before
    prepare(request(nih_folder, size=4), tmp_path / "out")
    assert np.load(path.parent / "pack.npy").shape == (6, 4, 4)


def test_a_folder_that_cannot_be_written(nih_folder: Path, tmp_path: Path, refuses, monkeypatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    with refuses(InputError, tmp_path / "file", "folder that can be written"):
        prepare(request(nih_folder), tmp_path / "file")
    path = prepare(request(nih_folder), tmp_path / "out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(preparing, "locked", None)
    assert prepare(request(nih_folder), tmp_path / "out") == path  # finished data may lie where nobody can write


def test_a_second_process_is_refused(nih_folder: Path, tmp_path: Path, refuses) -> None:
    path = prepare(request(nih_folder), tmp_path / "out")
    before = state(path.parent)
    with locked(tmp_path / "out" / ".prepare.lock"):
        with refuses(StateError, tmp_path / "out", "one process", str(os.getpid())):
            prepare(request(nih_folder, size=4), tmp_path / "out")
        assert {name: entry for name, entry in state(path.parent).items() if name in PRODUCTS} == before
    prepare(request(nih_folder, size=4), tmp_path / "out")


def test_what_was_left_out_is_listed_with_its_reason(nih_folder: Path, tmp_path: Path, monkeypatch) -> None:
    (nih_folder / "out.png").symlink_to(Path(__file__))
    listing = list_source(request(nih_folder), tmp_path)
    listing = replace(listing, dropped={"lateral.png": "must be a frontal view; found LL"})
    monkeypatch.setattr(preparing, "list_source", lambda *arguments: listing)
    path = prepare(request(nih_folder), tmp_path / "out")
    quarantined, dropped = (rows_of(path.parent / name) for name in ("quarantine.csv", "dropped.csv"))
    assert quarantined == [{"file": "out.png", "reason": "a symbolic link that leads out of the folder"}]
    assert dropped == [{"file": "lateral.png", "reason": "must be a frontal view; found LL"}]
    summary = json.loads((path.parent / "summary.json").read_text())
    assert (summary["quarantined"], summary["dropped"]) == (1, 1)


def test_the_same_picture_in_two_splits_is_reported(nih_folder: Path, tmp_path: Path) -> None:
    shutil.copy(nih_folder / "images" / "00000001_000.png", nih_folder / "images" / "00000004_000.png")
    path = prepare(request(nih_folder), tmp_path / "out")
    assert rows_of(path.parent / "duplicates.csv") == [
        {
            **{"image": "00000004_000.png", "other": "00000001_000.png", "same": "file"},
            **{"patient_id": "4", "other_patient_id": "1", "split": "test", "other_split": "train"},
        }
    ]
    manifest = read_manifest(path)
    assert manifest["content"][0] == manifest["content"][4] == picture_hash(np.load(path.parent / "pack.npy")[0])
    assert "WARNING: 1 pictures are in two of train, val and test" in describe(
        read_json(path.parent / "summary.json", SCHEMA)
    )


def test_provenance_comes_and_goes_with_the_set(nih_folder: Path, tmp_path: Path, monkeypatch) -> None:
    listing = list_source(request(nih_folder), tmp_path)
    with monkeypatch.context() as patch:
        made = replace(listing, provenance={"patients_seen": ["9"]})
        patch.setattr(preparing, "list_source", lambda *arguments: made)
        prepare(request(nih_folder), tmp_path / "out")
    assert read_json(tmp_path / "out" / "provenance.json", PROVENANCE_SCHEMA)["patients_seen"] == ["9"]
    prepare(request(nih_folder), tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == PRODUCTS


def break_lists(folder: Path) -> None:
    (folder / "val_list.txt").write_text("00000001_001.png\n")
    (folder / "train_list.txt").write_text("00000001_000.png\n")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (shutil.rmtree, InputError, ("must exist",)),
        (lambda folder: (folder / "Data_Entry_2017_v2020.csv").unlink(), InputError, ("Data_Entry_2017_v2020.csv",)),
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


# --- colour


@pytest.fixture
def skin(tmp_path: Path) -> Path:
    """Pictures of two classes: 20 in colour as PNG, and one in grey as JPEG; a broken one."""
    rng, folder = np.random.default_rng(0), tmp_path / "skin"
    for kind in ("benign", "malignant"):
        (folder / kind).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 256, (16, 12, 3), np.uint8)).save(folder / kind / f"{kind}{number}.png")
    Image.fromarray(rng.integers(0, 256, (16, 12), np.uint8)).save(folder / "benign" / "grey.jpg")
    (folder / "benign" / "broken.png").write_bytes(b"\x89PNG broken")
    return folder


def test_colour_is_kept_where_asked_for(skin: Path, tmp_path: Path) -> None:
    options = {"negative": "benign", "colour": True}
    path = prepare(Request("folder", str(skin), size=8, options=options), tmp_path / "out")
    manifest = read_manifest(path)
    packed = Pack(path.parent, manifest)
    assert (packed.array.shape, packed.array.dtype, packed.channels) == ((21, 8, 8, 3), np.uint8, 3)
    for row, name in enumerate(manifest["image"]):
        picture = np.asarray(Image.open(skin / name).convert("RGB"))
        halves = picture.reshape(8, 2, 6, 2, 3).mean((1, 3)) / 255
        image = packed.image(row)
        assert_allclose(image[:, 1:7], halves, atol=0.51 / 255)
        assert not image[:, [0, 7]].any()
        if name.endswith(".jpg"):
            assert (image[..., 0] == image[..., 2]).all()
    summary = read_json(path.with_name("summary.json"), SCHEMA)
    assert summary["channels"] == 3
    assert summary["greyscale"] == {"colour": 20, "full": 1}
    assert "8 px, 8 bits, pad, colour" in describe(summary)
    assert [row["file"] for row in rows_of(path.with_name("quarantine.csv"))] == ["benign/broken.png"]
    assert set(manifest["content"]) == {picture_hash(picture) for picture in packed.array}


def test_grey_and_colour_do_not_share_pictures(skin: Path, tmp_path: Path, decoded: list[str]) -> None:
    for file in skin.rglob("*.png"):  # as JPEG, which has 8 bits in either case
        if file.name != "broken.png":
            Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    grey, colour = (Request("folder", str(skin), size=8, options={"colour": colour}) for colour in (False, True))
    for asked, channels in ((grey, 1), (colour, 3), (grey, 1)):
        path = prepare(asked, tmp_path / "out")
        assert Pack(path.parent, read_manifest(path)).channels == channels
        assert len(decoded) == 21
        decoded.clear()
    before = state(tmp_path / "out")
    prepare(grey, tmp_path / "out")
    assert state(tmp_path / "out") == before
    assert not decoded


def test_grey_is_as_it_was(skin: Path, tmp_path: Path) -> None:
    path = prepare(Request("folder", str(skin), size=8), tmp_path / "out")
    assert "channels" not in json.loads(path.with_name("pack.json").read_text())
    packed, manifest = Pack(path.parent, read_manifest(path)), read_manifest(path)
    for row, name in enumerate(manifest["image"]):
        luma = np.asarray(Image.open(skin / name).convert("L")).reshape(8, 2, 6, 2).mean((1, 3)) / 255
        assert_allclose(packed.image(row)[:, 1:7], luma, atol=1e-4)


def test_unlabelled_pictures_in_colour(skin: Path, tmp_path: Path) -> None:
    path = prepare(Request("images", str(skin), size=8, options={"colour": True}), tmp_path / "out")
    assert Pack(path.parent, read_manifest(path)).channels == 3

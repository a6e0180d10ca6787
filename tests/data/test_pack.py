"""The pack: row k is the manifest's row k, as stored numbers or in the unit range, and of no other manifest."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.artifacts import read_json
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import (
    SCHEMA,
    Pack,
    channels_first,
    channels_last,
    picture_hash,
    quantise,
    to_unit,
    write_pack,
)
from monai_cxraug.errors import ConfigError, InputError, StateError


def test_images_in_the_unit_range(tmp_path: Path, make_set) -> None:
    manifest = read_manifest(make_set(tmp_path))
    packed, stored = Pack(tmp_path, manifest), np.load(tmp_path / "pack.npy")
    assert packed.size == 8
    for row in range(len(manifest)):
        image = packed.image(row)
        assert image.dtype == np.float32
        assert_allclose(image, stored[row] / 255, atol=1e-7)
        assert_allclose(packed.image(row, 4), stored[row].reshape(4, 2, 4, 2).mean((1, 3)) / 255, atol=1e-6)
    write_pack(tmp_path, stored.astype(np.uint16) * 257, list(manifest["image"]))
    assert_allclose(Pack(tmp_path, manifest).image(3), stored[3] / 255, atol=1e-7)


def test_colour_pictures_keep_their_channels(tmp_path: Path, make_colour_set) -> None:
    manifest = read_manifest(make_colour_set(tmp_path))
    packed, stored = Pack(tmp_path, manifest), np.load(tmp_path / "pack.npy")
    assert (packed.size, packed.channels) == (8, 3)
    assert read_json(tmp_path / "pack.json", SCHEMA)["channels"] == 3
    for row in range(len(manifest)):
        image = packed.image(row)
        assert image.dtype == np.float32
        assert_allclose(image, stored[row] / 255, atol=1e-7)
        assert_allclose(packed.image(row, 4), stored[row].reshape(4, 2, 4, 2, 3).mean((1, 3)) / 255, atol=1e-6)
    assert_array_equal(packed.batch([3, 0, 3]), stored[[3, 0, 3]])


def test_channels_go_first_and_last_again() -> None:
    for shape, planes in (((4, 5, 6), (4, 1, 5, 6)), ((4, 5, 6, 3), (4, 3, 5, 6))):
        pictures = np.random.default_rng(0).random(shape)
        assert channels_first(pictures).shape == planes
        assert_array_equal(channels_last(channels_first(pictures)), pictures)
    assert_array_equal(channels_first(pictures)[:, 2], pictures[..., 2])


def test_images_are_not_enlarged(tmp_path: Path, make_set, refuses) -> None:
    packed = Pack(tmp_path, read_manifest(make_set(tmp_path)))
    for ask in (lambda: packed.image(0, 9), lambda: packed.require_size(16)):
        with refuses(ConfigError, "pack.npy", "8 px", "--size"):
            ask()


def test_pictures_of_other_channels_are_refused(tmp_path: Path, make_set, make_colour_set, refuses) -> None:
    for make, own, other, mend in ((make_set, 1, 3, "with --colour"), (make_colour_set, 3, 1, "without --colour")):
        packed = Pack(tmp_path, read_manifest(make(tmp_path)))
        packed.require_channels(own)
        with refuses(ConfigError, "pack.npy", f"must have {other} channel", own, mend):
            packed.require_channels(other)


def test_a_pack_of_other_images_is_refused(tmp_path: Path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path / "one"))
    make_set(tmp_path / "two", prefix="Q")
    for other in (tmp_path / "two", tmp_path / "one"):
        with refuses(StateError, other / "pack.npy", "row k", "cxraug prepare"):
            Pack(other, manifest if other.name == "two" else manifest.select(np.arange(16)[::-1]))
    stored = np.load(tmp_path / "one" / "pack.npy")
    np.save(tmp_path / "one" / "pack.npy", stored[:-1])
    with refuses(StateError, "row k"):
        Pack(tmp_path / "one", manifest)


def test_a_pack_that_is_none_is_refused(tmp_path: Path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path))
    file = tmp_path / "pack.npy"
    np.save(file, np.zeros((16, 8, 8), dtype=np.float32))
    with refuses(InputError, file, "uint8 or uint16", "float32"):
        Pack(tmp_path, manifest)
    for channels in (1, 2, 4):
        np.save(file, np.zeros((16, 8, 8, channels), dtype=np.uint8))
        with refuses(InputError, file, "[N, H, W, 3]", f"8, {channels})"):
            Pack(tmp_path, manifest)
    file.write_bytes(b"\x93NUMPY rubbish")
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    file.write_bytes(pickle.dumps(np.zeros((16, 8, 8), dtype=np.uint8)))
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    file.unlink()
    with refuses(InputError, file, "cxraug prepare"):
        Pack(tmp_path, manifest)
    (tmp_path / "pack.json").unlink()
    with refuses(InputError, "pack.json", "must exist"):
        Pack(tmp_path, manifest)


@pytest.mark.parametrize("depth", [8, 16])
def test_quantising_rounds_and_clips(depth: int) -> None:
    top = 2**depth - 1
    levels = np.arange(0, top + 1, max(1, top // 500))
    assert_array_equal(quantise((levels / top).astype(np.float32), depth), levels)
    assert_array_equal(quantise(np.float32([-1, 0.4 / top, 0.6 / top, 2]), depth), [0, 0, 1, top])


@pytest.mark.parametrize("depth", [8, 16])
def test_the_unit_range_and_back(depth: int) -> None:
    stored = np.arange(0, 2**depth, 7 if depth == 16 else 1).astype(f"uint{depth}").reshape(1, 1, -1)
    unit = to_unit(stored)
    assert unit.dtype == np.float32
    assert unit.shape == stored.shape
    assert_array_equal(unit, stored.astype(np.float32) / np.float32(2**depth - 1))
    assert_array_equal(quantise(unit, depth), stored)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_batch_is_its_rows(tmp_path: Path, make_set, depth: int) -> None:
    manifest = read_manifest(make_set(tmp_path))
    stored = np.load(tmp_path / "pack.npy").astype(f"uint{depth}") * (257 if depth == 16 else 1)
    write_pack(tmp_path, stored, list(manifest["image"]))
    packed = Pack(tmp_path, manifest)
    rows = [3, 0, 15, 3]
    batch = packed.batch(rows)
    assert batch.dtype == f"uint{depth}"
    assert_array_equal(batch, stored[rows])
    assert_array_equal(to_unit(batch), [packed.image(row) for row in rows])
    out = np.zeros((4, 8, 8), dtype=batch.dtype)
    assert packed.batch(np.array(rows, dtype=np.int32), out) is out
    assert_array_equal(out, stored[rows])
    assert packed.batch([]).shape == (0, 8, 8)
    batch += 1  # a copy: the pack stays as it is
    assert_array_equal(packed.batch(rows), stored[rows])


@pytest.mark.parametrize("row", [-1, 16, 2**40])
def test_a_batch_of_a_row_that_is_not_there_is_refused(tmp_path: Path, make_set, row: int) -> None:
    packed = Pack(tmp_path, read_manifest(make_set(tmp_path)))
    with pytest.raises(IndexError, match="from 0 to 15"):
        packed.batch([0, row])


def test_equal_pictures_have_equal_hashes() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
    assert picture_hash(picture) == hashlib.sha256(picture.tobytes()).hexdigest()[:16]
    assert picture_hash(picture.T) == picture_hash(np.ascontiguousarray(picture.T)) != picture_hash(picture)
    assert picture_hash(picture.astype(np.uint16)) != picture_hash(picture)

"""Nearest training images: exact, in pieces, planted copies found; the picture shows what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.distance import cdist

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.synthesis import nearest
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.nearest import NearestTraining, find_nearest


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 30))
def test_the_nearest_are_those_of_the_whole_table(seed: int, k: int, piece: int) -> None:
    rng = np.random.default_rng(seed)
    queries, references = rng.normal(size=(5, 3)), rng.normal(size=(rng.integers(1, 40), 3))
    found = find_nearest(queries, (references[i : i + piece] for i in range(0, len(references), piece)), k)
    table = cdist(queries, references)
    np.testing.assert_array_equal(found.rows, np.argsort(table, axis=1)[:, :k])
    np.testing.assert_allclose(found.distances, np.sort(table, axis=1)[:, :k], atol=1e-7)


def test_of_equally_near_ones_the_earlier_comes_first() -> None:
    found = find_nearest([[0.0]], [[[1.0], [-1.0]], [[1.0], [0.5]]], 3)
    assert found.rows.tolist() == [[3, 0, 1]]


@pytest.fixture
def training(tmp_path: Path) -> PackRows:
    """40 training images of 32 px; the first row of each carries its number."""
    rows = [{"image": f"{k}.png", "patient_id": f"P{k}", "split": "train", "source": "real"} for k in range(40)]
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8)
    write_pack(tmp_path / "train", pictures, [row["image"] for row in rows])
    path = Manifest(make_columns(rows), ("Edema",), np.ones((40, 1), dtype=np.float32)).write(tmp_path / "train")
    return PackRows(path)


def new_images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 32, 32), dtype=np.float32)


def test_copies_are_seen(training: PackRows, tmp_path: Path) -> None:
    copies = training.pack.array[5:25] / np.float32(255)
    values = NearestTraining(training).measure(copies, new_images(60, 1), tmp_path / "n.png")
    assert values["nearest_pixels"] == pytest.approx(0, abs=1e-6)
    assert values["nearest_pixels_close"] == 1
    assert values["nearest_pixels_real"] == pytest.approx(np.sqrt(1 / 6), rel=0.1)  # of two uniform numbers


def test_new_images_are_as_far_as_held_out_ones(training: PackRows, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(nearest, "_BLOCK", 7)
    samples, held_out = new_images(300, 2), new_images(300, 3)
    values = NearestTraining(training).measure(samples, held_out, tmp_path / "n.png")
    table = cdist(samples[:256].reshape(256, -1), training.pack.array.reshape(40, -1) / 255) / 32
    assert values["nearest_pixels"] == pytest.approx(np.median(table.min(axis=1)), rel=1e-5)
    assert values["nearest_pixels"] == pytest.approx(values["nearest_pixels_real"], rel=0.02)
    assert 0.005 < values["nearest_pixels_close"] < 0.12


def test_in_features_too(training: PackRows, make_classifier, tmp_path: Path) -> None:
    features = ClassifierFeatures(make_classifier([]))
    samples, held_out = new_images(18, 2), new_images(8, 3)
    values = NearestTraining(training, features).measure(samples, held_out, tmp_path / "n.png")
    table = cdist(features(samples), features(training.pack.array))
    assert values["nearest_features"] == pytest.approx(np.median(table.min(axis=1)), rel=1e-3)
    assert set(values) == {f"nearest_{s}{e}" for s in ("pixels", "features") for e in ("", "_real", "_close")}


def test_the_picture_shows_samples_and_what_is_nearest(training: PackRows, tmp_path: Path) -> None:
    stored = np.asarray(training.pack.array)
    samples = np.roll(stored, 0, axis=0)[3:20] / np.float32(255)
    NearestTraining(training).measure(samples, new_images(8, 3), tmp_path / "n.png")
    sheet = np.asarray(Image.open(tmp_path / "n.png"))
    tiles = {image[::1].tobytes(): k for k, image in enumerate(stored)}
    found = []  # numbers of the training images at each place of each line
    for column in range(2):
        for line in range(8):
            top = 24 + line * (96 + 16 + 4)
            left = 20 + column * (96 + 20 + 3 * 96 + 2 * 4 + 40)
            edges = [left, left + 116, left + 216, left + 316]
            found.append([tiles.get(sheet[top : top + 96 : 3, x : x + 96 : 3].tobytes()) for x in edges])
    table = cdist(samples[:16].reshape(16, -1), stored.reshape(40, -1) / 255)
    expected = [[k + 3, *np.argsort(table[k])[:3]] for k in range(16)]
    assert found == expected


def test_fewer_training_images_than_places(training: PackRows, tmp_path: Path) -> None:
    training.keep(np.arange(40) < 2, "kept")
    values = NearestTraining(training).measure(new_images(1, 2), new_images(4, 3), tmp_path / "n.png")
    assert np.isfinite(list(values.values())).all()
    assert Image.open(tmp_path / "n.png").size[0] > 2 * (96 + 20 + 2 * 96)

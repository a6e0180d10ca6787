"""Batches on a device: the pictures and labels of the draws, whether they are kept there or brought there."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.device_batches import DeviceBatches
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.errors import ConfigError


def batches(path: Path, share: float, count: int = 5, **options: object) -> list[dict[str, torch.Tensor]]:
    rows = PackRows(path, "train", **options)  # type: ignore[arg-type]
    loader = DeviceBatches(rows, SeededBatches(len(rows), 3, seed=1), "cpu", share)
    assert (loader.images is None) == (share == 0)
    return list(itertools.islice(loader, count))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_batch_holds_the_samples_of_its_draws(tmp_path: Path, make_set, share: float) -> None:
    path = make_set(tmp_path, n=24)
    rows = PackRows(path, "train")
    draws = itertools.islice(SeededBatches(len(rows), 3, seed=1), 5)
    for batch, wanted in zip(batches(path, share), draws, strict=True):
        samples = [rows.sample(draw.index) for draw in wanted]
        assert batch["image"].dtype == torch.uint8
        torch.testing.assert_close(batch["image"] / 255, torch.stack([sample["image"] for sample in samples]))
        expected = torch.stack([sample["label"] for sample in samples])
        torch.testing.assert_close(batch["label"], expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("size", [8, 4])
def test_batches_in_colour(tmp_path: Path, make_colour_set, share: float, size: int) -> None:
    path = make_colour_set(tmp_path, n=24)
    rows = PackRows(path, "train", size=size)
    draws = itertools.islice(SeededBatches(len(rows), 3, seed=1), 5)
    for batch, wanted in zip(batches(path, share, size=size), draws, strict=True):
        expected = torch.stack([rows.sample(draw.index)["image"] for draw in wanted])
        assert batch["image"].shape == (3, 3, size, size)
        unit = batch["image"] / 255 if size == 8 else batch["image"]
        torch.testing.assert_close(unit, expected)
    assert DeviceBatches(rows, SeededBatches(len(rows), 3), "cpu").nbytes == 12 * 3 * size**2 * (1 if size == 8 else 4)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_other_sizes_and_depths_come_as_numbers(tmp_path: Path, make_set, share: float) -> None:
    path = make_set(tmp_path, n=24, side=8)
    rows = PackRows(path, "train", size=4)
    (batch,) = batches(path, share, 1, size=4)
    first = next(iter(SeededBatches(len(rows), 3, seed=1)))
    assert_array_equal(batch["image"], torch.stack([rows.sample(draw.index)["image"] for draw in first]))
    deep = np.random.default_rng(0).integers(0, 65536, (24, 8, 8), dtype=np.uint16)
    write_pack(tmp_path, deep, list(rows.manifest["image"]))
    (batch,) = batches(path, share, 1)
    stored = deep[[rows.rows[draw.index] for draw in first]][:, None]
    assert_array_equal(batch["image"], stored.astype(np.float32) / 65535)


def test_what_does_not_fit_is_brought(tmp_path: Path, make_set, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = PackRows(make_set(tmp_path, n=24, side=8), "train")
    sampler = SeededBatches(len(rows), 3)
    for free, kept in ((2 * rows.size**2 * len(rows), True), (2 * rows.size**2 * len(rows) - 2, False)):
        monkeypatch.setattr("monai_cxraug.data.device_batches._free_memory", lambda device, free=free: free)
        assert (DeviceBatches(rows, sampler, "cpu").images is not None) is kept


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_resuming_skips_batches(tmp_path: Path, make_set, share: float) -> None:
    rows = PackRows(make_set(tmp_path, n=24), "train")
    whole = DeviceBatches(rows, SeededBatches(len(rows), 3), "cpu", share)
    later = SeededBatches(len(rows), 3)
    later.skip = 4
    expected = list(itertools.islice(whole, 7))[4:]
    for batch, other in zip(DeviceBatches(rows, later, "cpu", share), expected, strict=False):
        assert_array_equal(batch["image"], other["image"])


def test_the_thread_that_reads_ahead_ends_with_its_reader_and_hands_on_errors(tmp_path: Path, make_set) -> None:
    rows = PackRows(make_set(tmp_path, n=24), "train")
    reader = iter(DeviceBatches(rows, SeededBatches(len(rows), 3), "cpu", 0))
    next(reader)
    assert any(thread.name == "batches" for thread in threading.enumerate())
    reader.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "batches":
            thread.join(5)
            assert not thread.is_alive()
    too_many = SeededBatches(len(rows), lambda seen: 3 if seen < 6 else 999)
    reader = iter(DeviceBatches(rows, too_many, "cpu", 0))
    next(reader), next(reader)
    with pytest.raises(ConfigError, match="999"):
        next(reader)


def test_it_ends_with_its_sampler(tmp_path: Path, make_set) -> None:
    rows = PackRows(make_set(tmp_path, n=24), "train")
    for share in (0.0, 0.5):
        assert len(list(DeviceBatches(rows, SeededBatches(len(rows), 3, steps=4), "cpu", share))) == 4


def test_a_share_beyond_all_is_refused(tmp_path: Path, make_set) -> None:
    rows = PackRows(make_set(tmp_path), "train")
    with pytest.raises(ConfigError, match="share"):
        DeviceBatches(rows, SeededBatches(len(rows), 3), "cpu", 1.5)


def test_label_rows_count_vectors(tmp_path: Path, make_set) -> None:
    rows = PackRows(make_set(tmp_path, n=24), "train")
    counts = rows.label_rows()
    assert sum(counts.values()) == len(rows)
    for text, count in counts.items():
        values = [{"1": 1.0, "0": 0.0, "?": np.nan}[letter] for letter in text]
        same = [np.array_equal(rows.labels[row], values, equal_nan=True) for row in rows.rows]
        assert sum(same) == count

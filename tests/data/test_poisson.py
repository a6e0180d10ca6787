"""Batches by chance: every patient as often as any other, one image each, sizes binomial, nothing hangs on the past."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.device_batches import DeviceBatches
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.poisson import PoissonPatients
from monai_cxraug.errors import ConfigError, InputError

COUNTS = [1, 5, 2, 1, 3, 8]
OWNERS = [f"P{k}" for k, count in enumerate(COUNTS) for _ in range(count)]


class Secret:
    def __init__(self, number: int) -> None:
        self.number = number

    def rng(self, *words: int) -> np.random.Generator:
        return np.random.default_rng([self.number, *words])


def make_rows(folder: Path, owners: list[str]) -> PackRows:
    table = [
        {"image": f"{k}.png", "patient_id": owner, "split": "train", "source": "real"} for k, owner in enumerate(owners)
    ]
    write_pack(folder, np.zeros((len(table), 8, 8), np.uint8), [row["image"] for row in table])
    return PackRows(Manifest(make_columns(table), ("Mass",), np.zeros((len(table), 1), np.float32)).write(folder))


@pytest.fixture
def rows(tmp_path: Path) -> PackRows:
    return make_rows(tmp_path, OWNERS)


def test_patients_are_alike_however_many_images_they_have(rows: PackRows) -> None:
    n, met, sizes = 3000, np.zeros(len(OWNERS)), []
    for batch in islice(PoissonPatients(rows, 2, Secret(1)), n):
        indices = [draw.index for draw in batch]
        owners = [OWNERS[index] for index in indices]
        assert len(set(owners)) == len(owners)
        met[indices] += 1
        sizes.append(len(batch))
    per_patient = [met[[owner == f"P{k}" for owner in OWNERS]].sum() for k in range(6)]
    spread = np.sqrt(n * (1 / 3) * (2 / 3))
    assert np.abs(np.array(per_patient) - n / 3).max() < 4 * spread
    assert (met > 0).all()
    expected = n * np.array([(2 / 3) ** (6 - k) * (1 / 3) ** k * [1, 6, 15, 20, 15, 6, 1][k] for k in range(7)])
    found = np.bincount(sizes, minlength=7)
    assert (np.abs(found - expected) < 4 * np.sqrt(expected) + 2).all()
    assert found[0] > 0


def test_a_batch_hangs_on_its_number_and_the_secret_alone(rows: PackRows) -> None:
    def draw(secret: int, skip: int, count: int) -> list[list[int]]:
        sampler = PoissonPatients(rows, lambda seen: 2 if seen < 6 else 3, Secret(secret))
        sampler.skip = skip
        return [[one.index for one in batch] for batch in islice(sampler, count)]

    assert draw(1, 0, 12)[5:] == draw(1, 5, 7)
    assert draw(1, 0, 12) != draw(2, 0, 12)


def test_the_secret_may_come_later(rows: PackRows) -> None:
    secret = Secret(1)
    sampler = PoissonPatients(rows, 2, secret)
    secret.number = 2
    expected = PoissonPatients(rows, 2, Secret(2))
    assert list(islice(sampler, 9)) == list(islice(expected, 9))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_loader_gives_empty_batches_too(rows: PackRows, share: float) -> None:
    loader = DeviceBatches(rows, PoissonPatients(rows, 1, Secret(3)), "cpu", share)
    shapes = {tuple(batch["image"].shape) for batch in islice(loader, 40)}
    assert (0, 1, 8, 8) in shapes
    assert (1, 1, 8, 8) in shapes


def test_what_is_refused(rows: PackRows, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"from 1 to the number of patients \(6\); found 7"):
        PoissonPatients(rows, 7, Secret(0))
    with pytest.raises(InputError, match="every image needs a patient for a guarantee to patients; found 2 without"):
        PoissonPatients(make_rows(tmp_path / "b", [*OWNERS, "", ""]), 2, Secret(0))

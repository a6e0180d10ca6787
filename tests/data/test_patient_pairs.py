"""Pairs of one patient: no batch holds a patient twice, every patient has a turn, and nothing hangs on the past."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.patient_pairs import PatientPairs
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.errors import ConfigError

#: images of each patient; the last images have no patient.
COUNTS = [1, 2, 3, 1, 5, 2, 4, 2]
OWNERS = [f"P{k}" for k, count in enumerate(COUNTS) for _ in range(count)] + ["", "", ""]


@pytest.fixture
def rows(tmp_path: Path) -> PackRows:
    table = [
        {"image": f"{k}.png", "patient_id": owner, "split": "train", "source": "real"} for k, owner in enumerate(OWNERS)
    ]
    write_pack(tmp_path, np.zeros((len(table), 8, 8), np.uint8), [row["image"] for row in table])
    return PackRows(Manifest(make_columns(table), ("Mass",), np.zeros((len(table), 1), np.float32)).write(tmp_path))


def test_batches_hold_pairs_of_different_patients(rows: PackRows) -> None:
    order, met = PatientPairs(rows, 4), set()
    assert len(order) == 12
    for batch in SeededBatches(order, 4, seed=3, steps=300):
        indices = [draw.index for draw in batch]
        owners = [OWNERS[index] for index in indices]
        assert owners[0] == owners[1] != owners[2] == owners[3]
        assert len(set(indices)) == 4
        met.update(indices)
    assert met == {k for k, owner in enumerate(OWNERS) if owner not in ("", "P0", "P3")}


def test_a_pass_hangs_on_seed_and_number_alone(rows: PackRows) -> None:
    order = PatientPairs(rows, 4)
    passes = [order.rows(1, epoch).tolist() for epoch in (0, 1, 0)]
    assert passes[0] == passes[2] != passes[1]
    assert order.rows(2, 0).tolist() != passes[0]


def test_positions_are_those_of_the_kept_rows(rows: PackRows) -> None:
    kept = np.array([owner not in ("P1", "P2") for owner in OWNERS])
    rows.keep(kept, "kept")
    owners = np.array(OWNERS)[rows.rows]
    pairs = owners[PatientPairs(rows, 4).rows(0, 0)].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


@pytest.mark.parametrize(("size", "words"), [(3, "even number"), (2, "at least 4"), (14, "7 patients with two images")])
def test_a_batch_that_cannot_be(rows: PackRows, size: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PatientPairs(rows, size)

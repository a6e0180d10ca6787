"""Subgroups of the judged images, and how measures move to other images."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.experiments.shift import shift_rows
from monai_cxraug.experiments.subgroups import age_band, group_images, subgroup_rows
from monai_cxraug.predictions import Predictions

N = 200
RNG = np.random.default_rng(4)
LABELS = (RNG.random((N, 1)) < 0.4).astype(np.float32)
ROWS = [
    {
        "image": f"i{k}", "patient_id": f"p{k // 2}", "split": "test", "source": "real", "sex": "FM"[k % 2],
        "age": str(int(RNG.integers(1, 99))), "view": "PA",
    }
    for k in range(N)
]  # fmt: skip


def _table(seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    probs = 1 / (1 + np.exp(-(2 * LABELS - 1 + rng.normal(0, 1.5, (N, 1)))))
    return Predictions([row["image"] for row in ROWS], [row["patient_id"] for row in ROWS], ("Edema",), LABELS, probs)


MANIFEST = Manifest(make_columns(ROWS), ("Edema",), LABELS, {"name": "x"})


def test_columns_that_tell_nobody_apart_are_left_out() -> None:
    groups = group_images(MANIFEST, [row["image"] for row in ROWS])
    assert set(groups) == {"sex", "age"}
    assert set(groups["age"]) <= {"under 18", "18 to 39", "40 to 59", "60 to 79", "80 and over"}
    assert group_images(MANIFEST, ["somewhere else"]) == {}


def test_areas_equal_scikit_learns_in_every_group() -> None:
    tables = [_table(1), _table(2)]
    groups = group_images(MANIFEST, tables[0].images)
    rows = subgroup_rows(tables, ["Edema"], groups)
    assert sum(row["n"] for row in rows if row["column"] == "sex") == N
    for row in rows:
        member = groups[row["column"]] == row["group"]
        areas = [roc_auc_score(LABELS[member, 0], table.probs[member, 0]) for table in tables]
        assert row["auroc"] == pytest.approx(np.mean(areas), abs=1e-12)
        assert row["positives"] == LABELS[member].sum()
        assert row["interval"] is None or row["interval"][0] < row["auroc"] < row["interval"][1]


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0", "under 18"),
        ("17.9", "under 18"),
        ("18", "18 to 39"),
        ("80", "80 and over"),
        ("148", ""),
        ("", ""),
        ("x", ""),
    ],
)
def test_age_bands(text: str, band: str) -> None:
    assert age_band(text) == band


def test_shift_sets_the_same_arm_side_by_side() -> None:
    row = {"arm": "gan", "fraction": 1.0, "ratio": 2.0, "finding": "Edema", "seed": "all", "n": 100, "positives": 10}
    before = [{**row, "auroc": 0.8, "slope": 1.0}, {**row, "arm": "plain"}, {**row, "seed": 0, "auroc": 0.1}]
    here = [{**row, "positives": 30, "auroc": 0.7, "slope": 0.5}, {**row, "finding": "Mass"}, {**row, "arm": "new"}]
    found = {one["measure"]: (one["before"], one["here"]) for one in shift_rows(here, before, ["Edema"])}
    assert found["prevalence"] == (0.1, 0.3)
    assert found["auroc"] == (0.8, 0.7)
    assert found["slope"] == (1.0, 0.5)
    assert found["brier"] == (None, None)
    assert {one["arm"] for one in shift_rows(here, before, ["Edema"])} == {"gan"}

"""Splits of a listing: official ones kept, missing ones cut by patient; folds over train and val."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_cxraug.data.files import FileRef
from monai_cxraug.data.sources.arrangement import add_folds, arrange_splits
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.splits import split_patients
from monai_cxraug.errors import ConfigError
from monai_cxraug.labels import CHEXPERT_FINDINGS, NIH_FINDINGS


def listing(splits: list[str], per_patient: int = 2, findings: int = 2, source: str = "real") -> Listing:
    rng = np.random.default_rng(0)
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k // per_patient}", "split": split, "source": source, "other": str(k)}
        for k, split in enumerate(splits)
    ]
    labels = (rng.random((len(splits), findings)) < 0.2).astype(np.float32)
    return Listing(rows, [FileRef(Path("x"))] * len(rows), ("A", "B")[:findings], labels, 8, {"name": "n"})


def splits_of(result: Listing) -> list[str]:
    return [row["split"] for row in result.rows]


def homes(result: Listing, column: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in result.rows:
        found[row["patient_id"]].add(row[column])
    return found


def test_the_sources_own_splits_are_kept() -> None:
    before = listing(["train"] * 20 + ["val"] * 4 + ["test"] * 4 + [""] * 2)
    after = arrange_splits(before, None, 0)
    assert after.rows == before.rows
    assert after.info["splits"] == "the source's own"


def test_val_is_cut_from_train_where_there_is_none() -> None:
    before = listing(["train"] * 200 + ["test"] * 20 + [""] * 6)
    after = arrange_splits(before, None, 0)
    assert splits_of(after)[200:] == splits_of(before)[200:]
    assert Counter(splits_of(after)[:200]) == {"train": 180, "val": 20}
    assert all(len(found) == 1 for patient, found in homes(after, "split").items())
    assert [row["other"] for row in after.rows] == [row["other"] for row in before.rows]
    assert "val is 0.1" in after.info["splits"]


def test_a_share_asked_for_cuts_train_and_val_anew() -> None:
    before = listing(["train"] * 160 + ["val"] * 40 + ["test"] * 20)
    after = arrange_splits(before, 0.25, 0)
    assert Counter(splits_of(after)) == {"train": 150, "val": 50, "test": 20}
    assert splits_of(after)[200:] == ["test"] * 20
    assert {"train", "val"} == set(splits_of(after)[160:200])
    assert Counter(splits_of(arrange_splits(before, 0.0, 0))) == {"train": 200, "test": 20}


def test_without_splits_all_is_dealt() -> None:
    after = arrange_splits(listing([""] * 400), None, 3)
    assert Counter(splits_of(after)) == {"train": 288, "val": 32, "test": 80}
    assert all(len(found) == 1 for found in homes(after, "split").values())
    assert splits_of(after) == splits_of(arrange_splits(listing([""] * 400), None, 3))
    assert splits_of(after) != splits_of(arrange_splits(listing([""] * 400), None, 4))
    for finding in range(2):
        positive = after.labels[:, finding] == 1
        counts = Counter(np.array(splits_of(after))[positive])
        assert counts["test"] / positive.sum() == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("before", [listing([""] * 10, findings=0), listing(["train"] * 10, source="external")])
def test_what_is_not_split(before: Listing) -> None:
    assert arrange_splits(before, None, 0) is before


def test_only_test_images_stay_so() -> None:
    assert set(splits_of(arrange_splits(listing(["test"] * 10), None, 0))) == {"test"}


def test_images_without_a_patient_are_patients_of_their_own() -> None:
    before = listing([""] * 100)
    before = Listing(
        [{**row, "patient_id": ""} for row in before.rows], before.files, before.findings, before.labels, 8
    )
    assert Counter(splits_of(arrange_splits(before, None, 0))) == {"train": 72, "val": 8, "test": 20}


def test_folds_cover_train_and_val_by_patient() -> None:
    before = listing(["train"] * 150 + ["val"] * 30 + ["test"] * 20)
    after = add_folds(before, 5, 0)
    folds = [row["fold"] for row in after.rows]
    assert Counter(folds[:180]) == dict.fromkeys("01234", 36)
    assert set(folds[180:]) == {""}
    assert all(len(found) == 1 for found in homes(after, "fold").values())
    assert splits_of(after) == splits_of(before)
    for finding in range(2):
        positive = [fold for fold, value in zip(folds[:180], after.labels[:180, finding], strict=True) if value == 1]
        counts = [Counter(positive)[fold] for fold in "01234"]
        assert max(counts) - min(counts) <= 3
    assert add_folds(before, 0, 0) is before


def test_folds_that_cannot_be(refuses) -> None:
    with refuses(ConfigError, "folds", "none"):
        add_folds(listing(["test"] * 10), 2, 0)
    with refuses(ConfigError, "folds", "at most 5"):
        add_folds(listing(["train"] * 10), 6, 0)


NAMES = [("A", "B", "C", "D"), ("b", "é", "가", "A"), NIH_FINDINGS[:4], NIH_FINDINGS[9:13], CHEXPERT_FINDINGS[2:6]]


@given(st.data(), st.sampled_from(NAMES), st.integers(10, 60), st.integers(0, 2**31))
@settings(max_examples=60)
def test_the_order_of_a_tables_columns_means_nothing(
    data: st.DataObject, names: tuple[str, ...], images: int, seed: int
) -> None:
    """Equally rare findings are common, and which of them is dealt first moves patients."""
    rng = np.random.default_rng(seed)
    rows = [{"image": f"{k}.png", "patient_id": f"P{k // 2}", "split": "", "source": "real"} for k in range(images)]
    labels = np.float32(rng.choice([0, 1, np.nan], (images, len(names)), p=[0.8, 0.15, 0.05]))
    files = [FileRef(Path("x"))] * images
    order = data.draw(st.permutations(range(len(names))))
    permuted = Listing(rows, files, tuple(names[k] for k in order), labels[:, order], 8)
    done = [add_folds(arrange_splits(one, None, 3), 3, 3) for one in (Listing(rows, files, names, labels, 8), permuted)]
    assert done[0].rows == done[1].rows
    assert done[1].findings == permuted.findings


@pytest.mark.parametrize("names", [NIH_FINDINGS, NIH_FINDINGS[::-1], CHEXPERT_FINDINGS])
def test_a_known_vocabulary_is_dealt_in_its_own_order(names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((200, len(names))) < 0.1).astype(np.float32)
    rows = [{"image": f"{k}.png", "patient_id": f"P{k // 2}", "split": "", "source": "real"} for k in range(200)]
    after = arrange_splits(Listing(rows, [FileRef(Path("x"))] * 200, names, labels, 8), 0.0, 1)
    own = NIH_FINDINGS if set(names) == set(NIH_FINDINGS) else CHEXPERT_FINDINGS
    in_order = labels[:, [names.index(name) for name in own]]
    shares = {"train": 0.8, "test": 0.2}
    assert splits_of(after) == split_patients([row["patient_id"] for row in rows], in_order, shares, 1)

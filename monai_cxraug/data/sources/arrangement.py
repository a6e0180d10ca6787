"""Splits and folds of a listing: official ones kept, missing ones cut by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.columns import Labels
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.splits import fold_patients, split_patients
from monai_cxraug.errors import ConfigError
from monai_cxraug.labels import CHEXPERT_FINDINGS, NIH_FINDINGS

#: share of the images that become test where the source has no split at all.
TEST_SHARE = 0.2
#: share of the images of train that become val where the source has none, or one too small to judge by.
VALIDATION_SHARE = 0.1


def arrange_splits(listing: Listing, validation: float | None, seed: int) -> Listing:
    """Complete the splits of a source.

    What the source calls test stays test. Without any split, images are dealt to train, val and test by patient and
    finding. Without val, or when a share is asked for, val is cut by patient from train (and the old val).

    Args:
        listing: images whose ``split`` says what the source says. Without findings, or synthetic, it is left alone.
        validation: share of train and val that becomes val, in [0, 1); None keeps the source's val, and cuts
            :data:`VALIDATION_SHARE` where there is none.
        seed: of the order in which patients are dealt.

    Returns:
        The listing; ``info["splits"]`` says what was done.
    """
    if not listing.findings or any(row.get("source") != "real" for row in listing.rows):
        return listing
    splits = [row.get("split", "") for row in listing.rows]
    notes = [str(listing.info["splits"])] if "splits" in listing.info else []
    if not any(splits):
        splits = _deal(listing, np.arange(len(splits)), {"train": 1 - TEST_SHARE, "test": TEST_SHARE}, seed)
        notes.append(f"test is {TEST_SHARE:g} of the images, dealt by patient and finding, seed {seed}")
    pool = np.flatnonzero(np.isin(splits, ("train", "val")))
    if len(pool) and (validation is not None or "val" not in splits):
        share = VALIDATION_SHARE if validation is None else validation
        for row, split in zip(pool, _deal(listing, pool, {"train": 1 - share, "val": share}, seed), strict=True):
            splits[row] = split
        notes.append(f"val is {share:g} of the training images, dealt by patient and finding, seed {seed}")
    rows = [{**row, "split": split} for row, split in zip(listing.rows, splits, strict=True)]
    return replace(listing, rows=rows, info={**listing.info, "splits": "; ".join(notes or ["the source's own"])})


def add_folds(listing: Listing, folds: int, seed: int) -> Listing:
    """Add the column ``fold``: patient-wise folds over train and val, multilabel-stratified; empty for other images.

    Args:
        listing: the images.
        folds: how many, at least 2; 0 adds none.
        seed: of the order in which patients are dealt.

    Returns:
        The listing.

    Raises:
        ConfigError: there are fewer patients in train and val than folds.
    """
    if not folds:
        return listing
    pool = np.flatnonzero([row.get("split") in ("train", "val") for row in listing.rows])
    if not len(pool):
        raise ConfigError("folds", "need images of train or val", "none", "leave --folds out")
    dealt = fold_patients(_patients(listing, pool), _labels(listing, pool), folds, seed)
    names = dict(zip(pool.tolist(), dealt, strict=True))
    rows = [{**row, "fold": names.get(number, "")} for number, row in enumerate(listing.rows)]
    return replace(listing, rows=rows, info={**listing.info, "folds": folds})


def _deal(listing: Listing, rows: NDArray[np.int64], shares: dict[str, float], seed: int) -> list[str]:
    return split_patients(_patients(listing, rows), _labels(listing, rows), shares, seed)


def _labels(listing: Listing, rows: NDArray[np.int64]) -> Labels:
    """Labels of the rows in an order that the names decide: equally rare findings are dealt in the order of columns."""
    names = set(listing.findings)
    order = next((known for known in (NIH_FINDINGS, CHEXPERT_FINDINGS) if names <= set(known)), sorted(names))
    columns = [listing.findings.index(name) for name in order if name in names]
    return listing.labels[np.ix_(rows, np.array(columns, dtype=np.int64))]


def _patients(listing: Listing, rows: NDArray[np.int64]) -> Sequence[str]:
    """Patient of each row; an image whose patient is unknown counts as a patient of its own."""
    chosen = [listing.rows[row] for row in rows]
    return [row.get("patient_id") or f"image {row['image']}" for row in chosen]

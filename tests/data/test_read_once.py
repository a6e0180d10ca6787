"""A manifest that lies unchanged is read once; one that changed is read again; parts of its rows need no reading."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data import manifest as module
from monai_cxraug.data.columns import read_table
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each table is really read."""
    counted: Counter[Path] = Counter()

    def count(path: Path):  # type: ignore[no-untyped-def]
        counted[path] += 1
        return read_table(path)

    monkeypatch.setattr(module, "read_table", count)
    return counted


def settle(path: Path, seconds: float = 60.0) -> None:
    """Make both files look as if they had lain there for a while."""
    for file in (path, path.with_name("manifest.json")):
        then = file.stat().st_mtime - seconds
        os.utime(file, (then, then))


def test_an_unchanged_manifest_is_read_once(make_set, tmp_path: Path, reads: Counter[Path]) -> None:  # type: ignore[no-untyped-def]
    path = make_set(tmp_path)
    settle(path)
    first, again = read_manifest(path), read_manifest(path.parent)
    assert reads[path] == 1
    assert first.hash() == again.hash()


def test_one_that_was_just_written_is_read_every_time(make_set, tmp_path: Path, reads: Counter[Path]) -> None:  # type: ignore[no-untyped-def]
    path = make_set(tmp_path)
    read_manifest(path)
    read_manifest(path)
    assert reads[path] == 2


def test_a_change_in_either_file_is_seen(make_set, tmp_path: Path, reads: Counter[Path]) -> None:  # type: ignore[no-untyped-def]
    path = make_set(tmp_path)
    settle(path)
    before = read_manifest(path)
    text = path.read_text()
    path.write_text(text.replace(",train,", ",,", 1))
    settle(path)
    assert read_manifest(path).hash() != before.hash()
    info = path.with_name("manifest.json")
    info.write_text(info.read_text().replace('"findings"', '"licence": "own",\n "findings"'))
    settle(path, 120.0)
    assert read_manifest(path).info["licence"] == "own"
    assert reads[path] == 3


def test_what_a_caller_changes_stays_its_own(make_set, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = make_set(tmp_path)
    settle(path)
    mine, expected = read_manifest(path), read_manifest(path).hash()
    mine.labels[:] = 1
    mine.info["name"] = "mine"  # type: ignore[index]
    mine.columns["more"] = mine.columns["image"]  # type: ignore[index]
    other = read_manifest(path)
    assert other.hash() == expected
    assert other.info.get("name") != "mine"
    with pytest.raises(ValueError, match="read-only"):
        other.columns["image"][0] = "x"


@pytest.mark.parametrize(
    "choice", [{"fraction": 0.5}, {"fraction": 0.3, "fraction_seed": 4}, {"limit": {"Edema": 2}}, {}]
)
def test_a_part_is_what_the_constructor_would_choose(make_set, tmp_path: Path, reads: Counter[Path], choice) -> None:  # type: ignore[no-untyped-def]
    path = make_set(tmp_path)
    rows = PackRows(path, "train")
    everyone = rows.rows.copy()
    part = rows.part(**choice)
    assert reads[path] == 1
    np.testing.assert_array_equal(part.rows, PackRows(path, "train", **choice).rows)
    np.testing.assert_array_equal(rows.rows, everyone)
    smaller = part.part(0.5)  # of the part's patients, not of all
    assert smaller.patients() <= part.patients()
    assert len(smaller.patients()) == max(1, round(0.5 * len(part.patients())))

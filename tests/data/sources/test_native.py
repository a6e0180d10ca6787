"""The phantom's own layout: labels by name, patients in one split, a clear word about a broken table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.sources.native import Phantom
from monai_cxraug.data.sources.phantom import write_native
from monai_cxraug.errors import InputError, LabelError


def list_native(folder: Path, seed: int = 0) -> Listing:
    return Phantom(images=str(folder), seed=seed).list(Path())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native") / "set"
    write_native(folder, 40, 16, 0)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """The table, to be broken; listing reads no picture."""
    (tmp_path / "labels.csv").write_bytes((written / "labels.csv").read_bytes())
    return tmp_path


def test_rows_files_and_labels(written: Path) -> None:
    listing = list_native(written)
    assert len(listing.rows) == 40
    assert all(file.path.is_file() for file in listing.files)
    lines = [line.split(",") for line in (written / "labels.csv").read_text().splitlines()]
    for row, (line, labels) in enumerate(zip(lines[1:], listing.labels, strict=True)):
        given = dict(zip(lines[0], line, strict=True))
        assert str(listing.files[row].path) == str(written / given["image"])
        assert [given[name] for name in listing.findings] == [str(int(value)) for value in labels]
        assert listing.rows[row]["patient_id"] == given["patient_id"]
    check_manifest(listing.manifest([{}] * 40))
    assert {row["split"] for row in listing.rows} == {"train", "val", "test"}


def test_the_seed_moves_the_split_only(written: Path) -> None:
    one, again, other = list_native(written, 1), list_native(written, 1), list_native(written, 2)
    assert one.rows == again.rows
    assert [row["split"] for row in one.rows] != [row["split"] for row in other.rows]
    assert_array_equal(one.labels, other.labels)


def test_the_order_of_columns_means_nothing(folder: Path) -> None:
    before = list_native(folder)
    lines = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()]
    (folder / "labels.csv").write_text("".join(",".join(line[::-1]) + "\n" for line in lines))
    after = list_native(folder)
    assert after.rows == before.rows
    assert after.findings == before.findings
    assert_array_equal(after.labels, before.labels)


@pytest.mark.parametrize(
    ("line", "change", "kind", "words"),
    [
        (
            0,
            lambda text: text.replace("patient_id", "patient"),
            InputError,
            ("'patient_id'", "did you mean 'patient'?"),
        ),
        (3, lambda text: text[:-1] + "2", LabelError, ("line 4 column 'Hernia'", "'2'")),
        (3, lambda text: text[:-2], InputError, ("line 4", "needs 20 fields", "found 19")),
        (3, lambda text: text[: len(text) // 2], InputError, ("line 4", "needs 20 fields")),
    ],
)
def test_a_broken_table_is_refused(folder: Path, refuses, line, change, kind, words) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    lines[line] = change(lines[line])
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    with refuses(kind, "labels.csv", *words):
        list_native(folder)


def test_missing_parts(folder: Path, refuses) -> None:
    with refuses(InputError, folder / "none", "must exist"):
        list_native(folder / "none")
    header = (folder / "labels.csv").read_text().splitlines()[0]
    (folder / "labels.csv").write_text(header + "\n")
    with refuses(InputError, folder, "at least one listed image"):
        list_native(folder)
    (folder / "labels.csv").unlink()
    with refuses(InputError, "labels.csv", "must exist"):
        list_native(folder)


def test_labels_are_known(written: Path) -> None:
    assert not np.isnan(list_native(written).labels).any()

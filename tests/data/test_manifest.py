"""The manifest: labels by name, unknown as NaN, and the rules that every table must keep."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Let ``change`` edit the table's lines, each a list of fields."""
    with path.open(newline="") as stream:
        lines = list(csv.reader(stream))
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(change(lines))


def set_cell(path: Path, line: int, column: str, value: str) -> None:
    def change(lines: list[list[str]]) -> list[list[str]]:
        lines[line - 1][lines[0].index(column)] = value
        return lines

    rewrite(path, change)


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_round_trip(tmp_path, make_set) -> None:
    manifest = read_manifest(make_set(tmp_path, resample=["area"] * 16))
    again = read_manifest(manifest.write(tmp_path / "again", {"source": "abc"}))
    assert again.findings == manifest.findings
    assert again.info == manifest.info == {"name": "made for a test"}
    assert_array_equal(again.labels, manifest.labels)
    assert {name: list(values) for name, values in again.columns.items()} == {
        name: list(values) for name, values in manifest.columns.items()
    }
    assert again.hash() == manifest.hash()
    document = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert document["inputs"] == {"source": "abc"}
    assert document["content"] == manifest.hash()
    assert document["rows"] == 16
    assert (tmp_path / "again" / "manifest.csv").read_bytes() == (tmp_path / "manifest.csv").read_bytes()


def test_the_folder_stands_for_its_manifest(tmp_path, make_set) -> None:
    path = make_set(tmp_path)
    assert read_manifest(tmp_path).path == path


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6))
@settings(max_examples=40)
def test_any_text_survives(tmp_path_factory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"image": f"{k}.png", "source": "real", "note": text} for k, text in enumerate(texts)]
    labels = np.full((len(rows), 1), np.nan, dtype=np.float32)
    manifest = read_manifest(Manifest(make_columns(rows), ("Edema",), labels).write(folder))
    assert list(manifest["note"]) == texts


def test_values_mean_present_absent_unknown(tmp_path, make_set) -> None:
    path = make_set(tmp_path)
    for line, value in ((2, "1"), (3, "0"), (4, ""), (5, "1.0"), (6, "0.0")):
        set_cell(path, line, "Edema", value)
    assert_array_equal(read_manifest(path).label("Edema")[:5], [1, 0, np.nan, 1, 0])


def permute(path: Path) -> None:
    """Reverse the columns of the table, and the findings of the JSON beside it."""
    rewrite(path, lambda lines: [line[::-1] for line in lines])
    document = json.loads(path.with_name("manifest.json").read_text())
    document["findings"].reverse()
    path.with_name("manifest.json").write_text(json.dumps(document))


def test_the_order_of_columns_means_nothing(tmp_path, make_set) -> None:
    path = make_set(tmp_path)
    before, order = read_manifest(path), ("Mass", "Edema")
    samples = [PackDataset(path, "train", findings=order)[k] for k in range(8)]
    permute(path)
    after = read_manifest(path)
    assert after.findings == before.findings[::-1]
    assert after.hash() == before.hash()
    for finding in before.findings:
        assert_array_equal(after.label(finding), before.label(finding))
    assert_array_equal(after.label_matrix(order), before.label_matrix(order))
    for sample, again in zip(
        samples, map(PackDataset(path, "train", findings=order).__getitem__, range(8)), strict=True
    ):
        assert_array_equal(again["image"], sample["image"])
        assert_array_equal(again["label"], sample["label"])
        assert (again["name"], again["patient_id"]) == (sample["name"], sample["patient_id"])


def test_the_hash_sees_every_change(tmp_path, make_set) -> None:
    path = make_set(tmp_path)
    hashes = {read_manifest(path).hash()}
    for column, value in (("Edema", ""), ("Fibrosis", "0"), ("sex", "F"), ("image", "other.png")):
        set_cell(path, 2, column, value)
        hashes.add(read_manifest(path).hash())
    assert len(hashes) == 5


def test_the_hash_knows_where_a_text_ends() -> None:
    def hash_of(*notes: str) -> str:
        rows = [{"image": f"{row}.png", "note": note} for row, note in enumerate(notes)]
        return Manifest(make_columns(rows), (), np.zeros((len(rows), 0), dtype=np.float32)).hash()

    assert len({hash_of("ab", "c"), hash_of("a", "bc"), hash_of("abc", ""), hash_of("abc")}) == 4


def test_rows_of_a_split_and_of_values(tmp_path, make_set) -> None:
    kinds = ["area", "linear"] * 8
    manifest = read_manifest(make_set(tmp_path, resample=kinds))
    assert_array_equal(manifest.rows(), np.arange(16))
    assert_array_equal(manifest.rows("val"), [8, 9, 10, 11])
    assert_array_equal(manifest.rows("train", {"resample": "linear"}), [1, 3, 5, 7])
    assert_array_equal(manifest.rows("train", {"resample": ["linear", "area"]}), np.arange(8))
    assert_array_equal(manifest.rows(None, {"patient_id": ["P000", "P004"], "resample": "area"}), [0, 8])
    assert manifest.patients(manifest.rows("val")) == {"P004", "P005"}
    selected = manifest.select(np.array([5, 2]))
    assert list(selected["image"]) == ["P005.png", "P002.png"]
    assert_array_equal(selected.labels, manifest.labels[[5, 2]])


def test_images_without_a_patient_are_no_patient(tmp_path, make_set) -> None:
    manifest = read_manifest(make_set(tmp_path, patient_id=[""] * 14 + ["A", "A"]))
    assert manifest.patients() == {"A"}


@pytest.mark.parametrize(
    ("split", "where", "words"),
    [
        ("vall", None, ("column 'split'", "'vall'", "did you mean 'val'?")),
        (None, {"resample": "arae"}, ("column 'resample'", "'arae'", "did you mean 'area'?")),
        (None, {"resample": ["area", "arae"]}, ("column 'resample'", "'arae'", "did you mean 'area'?")),
        (None, {"resample": []}, ("all conditions", "[]")),
        (None, {"resampel": "area"}, ("unknown column", "did you mean 'resample'?")),
        ("val", {"view": "AP"}, ("view", "'AP'")),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(tmp_path, make_set, refuses, split, where, words) -> None:
    manifest = read_manifest(make_set(tmp_path, resample=["area"] * 16, view=["PA"] * 16))
    with refuses(ConfigError, "manifest.csv", *words):
        manifest.rows(split, where)


def test_conditions_that_exclude_each_other_are_refused(tmp_path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path, view=["PA"] * 8 + ["AP"] * 8))
    with refuses(ConfigError, "manifest.csv", "all conditions", "AP"):
        manifest.rows("train", {"view": "AP"})


def test_unknown_finding(tmp_path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path))
    for ask in (lambda: manifest.label("Edma"), lambda: manifest.label_matrix(["Edma"])):
        with refuses(LabelError, "manifest.csv", "'Edma'", "did you mean 'Edema'?"):
            ask()


@pytest.mark.parametrize(
    ("line", "column", "value", "kind", "words"),
    [
        (4, "Fibrosis", "2", LabelError, ("line 4", "column 'Fibrosis'", "'2'")),
        (5, "Edema", "nan", LabelError, ("line 5", "column 'Edema'", "'nan'")),
        (3, "split", "tset", InputError, ("line 3", "unknown split", "did you mean 'test'?")),
        (3, "source", "syntetic", InputError, ("line 3", "unknown source", "did you mean 'synthetic'?")),
        (3, "image", "P000.png", InputError, ("listed once", "'P000.png'")),
        (10, "patient_id", "P000", LeakageError, ("one split", "'P000'", "train and val")),
        (16, "patient_id", "P004", LeakageError, ("one split", "'P004'", "val and test")),
        (10, "source", "synthetic", LeakageError, ("'P008.png'", "only real", "'synthetic'", "'val'")),
        (17, "source", "external", LeakageError, ("'P015.png'", "only real", "'external'", "'test'")),
        (11, "source", "filtered", LeakageError, ("'P009.png'", "only real", "'filtered'", "'val'")),
    ],
)
def test_a_broken_rule_is_refused(tmp_path, make_set, refuses, line, column, value, kind, words) -> None:
    path = make_set(tmp_path)
    set_cell(path, line, column, value)
    before = files_of(tmp_path)
    with refuses(kind, path, *words):
        read_manifest(path)
    assert files_of(tmp_path) == before


def test_a_synthetic_image_without_a_split_is_refused(tmp_path, make_set, refuses) -> None:
    path = make_set(tmp_path)
    set_cell(path, 3, "source", "synthetic")
    assert len(read_manifest(path)) == 16  # in training it may stand
    set_cell(path, 3, "split", "")
    with refuses(LeakageError, "P001.png", "only real"):
        read_manifest(path)


def test_an_unassigned_image_does_not_leak(tmp_path, make_set) -> None:
    path = make_set(tmp_path)
    set_cell(path, 3, "split", "")
    assert read_manifest(path)["split"][1] == ""


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("Edema", "Edemma", LabelError, ("'Edema'", "did you mean 'Edemma'?")),
        ("Mass", "", LabelError, ("'Mass'", "known:")),
        ("patient_id", "patientid", InputError, ("'patient_id'", "did you mean 'patientid'?")),
        ("view", "sex", InputError, ("'sex' twice",)),
    ],
)
def test_a_missing_column_names_the_nearest(tmp_path, make_set, refuses, old, new, kind, words) -> None:
    path = make_set(tmp_path)
    rewrite(path, lambda lines: [[new if field == old else field for field in lines[0]], *lines[1:]])
    with refuses(kind, path, *words):
        read_manifest(path)


def test_missing_files(tmp_path, make_set, refuses) -> None:
    with refuses(InputError, tmp_path / "none.csv", "must exist", "cxraug prepare"):
        read_manifest(tmp_path / "none.csv")
    path = make_set(tmp_path)
    path.with_name("manifest.json").unlink()
    with refuses(InputError, "manifest.json", "must exist"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("header",)),
        (b"\xff\xfe\x00bad", ("UTF-8",)),
        (b'image,"patient_id\n', ("readable table",)),
    ],
)
def test_a_file_that_is_no_table(tmp_path, make_set, refuses, content, words) -> None:
    path = make_set(tmp_path)
    path.write_bytes(content)
    with refuses(InputError, path, *words):
        read_manifest(path)


def test_a_table_without_rows_and_a_line_cut_off(tmp_path, make_set, refuses) -> None:
    path = make_set(tmp_path)
    text = path.read_text()
    path.write_text(text.splitlines()[0] + "\n")
    with refuses(InputError, path, "one row"):
        read_manifest(path)
    path.write_text(text[:-9])
    with refuses(InputError, f"{path} line 17", "needs 11 fields"):
        read_manifest(path)


@pytest.mark.parametrize("findings", [None, "Edema", [1]])
def test_findings_must_be_names(tmp_path, make_set, refuses, findings) -> None:
    path = make_set(tmp_path)
    document = json.loads(path.with_name("manifest.json").read_text())
    path.with_name("manifest.json").write_text(json.dumps({**document, "findings": findings}))
    with refuses(InputError, "manifest.json", "'findings'"):
        read_manifest(path)


def test_a_column_that_the_first_row_lacks_is_kept() -> None:
    columns = make_columns([{"image": "a"}, {"image": "b", "resample": "area"}])
    assert list(columns["resample"]) == ["", "area"]

"""Manifests of any names, texts and labels: written and read, permuted, asked, and refused where a rule is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.errors import ConfigError, CxrAugError, LeakageError
from monai_cxraug.keys import MANIFEST_COLUMNS, SOURCES

#: what UTF-8 can hold, and what tables are known to break on.
TEXTS = st.one_of(
    st.sampled_from(["", " ", "a,b", '"', "a\nb", "a\rb", "\r\n", "'", "\ufeff", "가", "1", "nan", "\u2028", "=1+1"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
NAMES = TEXTS.filter(lambda name: bool(name) and name not in MANIFEST_COLUMNS)
LABELS = st.sampled_from([0.0, 1.0, np.nan])
FEW = settings(max_examples=40)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that keeps the rules: a patient in one split, nothing unreal outside of training."""
    names = draw(st.lists(NAMES, max_size=5, unique=True))
    findings, extra = names[: len(names) // 2], names[len(names) // 2 :]
    images = draw(st.lists(TEXTS, min_size=1, max_size=8, unique=True))
    home = {patient: draw(st.sampled_from(["train", "val", "test"])) for patient in ("P1", "p1", "é", "e\u0301")}
    rows = []
    for image in images:
        patient = draw(st.sampled_from(["", *home]))
        split = home.get(patient, draw(st.sampled_from(["", "train", "val", "test"])))
        source = draw(st.sampled_from(SOURCES)) if split == "train" else "real"
        own = {"image": image, "patient_id": patient, "split": split, "source": source, "view": draw(TEXTS)}
        rows.append({**own, **{name: draw(TEXTS) for name in extra}})
    labels = [[draw(LABELS) for _ in findings] for _ in images]
    info = {"name": draw(TEXTS), "licence": draw(TEXTS)}
    shaped = np.array(labels, dtype=np.float32).reshape(len(images), len(findings))
    return Manifest(make_columns(rows), tuple(findings), shaped, info)


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def texts(manifest: Manifest) -> dict[str, list[str]]:
    return {name: list(values) for name, values in manifest.columns.items()}


@given(manifests())
@FEW
def test_what_is_written_is_read(manifest: Manifest) -> None:
    with folder() as where:
        again = read_manifest(manifest.write(where))
        assert texts(again) == texts(manifest)
        assert (again.findings, dict(again.info)) == (manifest.findings, dict(manifest.info))
        assert_array_equal(again.labels, manifest.labels)
        assert again.labels.dtype == np.float32
        assert again.hash() == manifest.hash()
        first = {path.name: path.read_bytes() for path in where.iterdir()}
        again.write(where)
        assert {path.name: path.read_bytes() for path in where.iterdir()} == first


@given(manifests(), st.randoms(use_true_random=False))
@FEW
def test_the_order_of_columns_and_findings_means_nothing(manifest: Manifest, random: Any) -> None:
    names, findings = list(manifest.columns), list(manifest.findings)
    random.shuffle(names)
    random.shuffle(findings)
    order = [manifest.findings.index(name) for name in findings]
    columns = {name: manifest.columns[name] for name in names}
    permuted = replace(manifest, columns=columns, findings=tuple(findings), labels=manifest.labels[:, order])
    assert permuted.hash() == manifest.hash()
    with folder() as where:
        again = read_manifest(permuted.write(where))
    assert again.hash() == manifest.hash()
    assert_array_equal(again.label_matrix(manifest.findings), manifest.labels)
    for name in manifest.findings:
        assert_array_equal(again.label(name), manifest.label(name))


@given(manifests(), st.data())
def test_any_other_cell_or_label_is_another_content(manifest: Manifest, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(manifest) - 1))
    columns, labels = {name: values.copy() for name, values in manifest.columns.items()}, manifest.labels.copy()
    if manifest.findings and data.draw(st.booleans()):
        finding = data.draw(st.integers(0, len(manifest.findings) - 1))
        before, now = labels[row, finding], data.draw(LABELS)
        assume(not np.array_equal(before, np.float32(now), equal_nan=True))
        labels[row, finding] = now
    else:
        name, text = data.draw(st.sampled_from(sorted(columns))), data.draw(TEXTS)
        assume(columns[name][row] != text)
        columns[name][row] = text
    assert replace(manifest, columns=columns, labels=labels).hash() != manifest.hash()


@given(manifests(), st.data())
def test_rows_are_those_that_meet_every_condition(manifest: Manifest, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(manifest.columns)), max_size=2, unique=True))
    where = {
        name: data.draw(st.lists(st.sampled_from(sorted(set(manifest[name]))), min_size=1, max_size=3, unique=True))
        for name in names
    }
    split = data.draw(st.sampled_from([None, *sorted(set(manifest["split"]))]))
    expected = [
        row
        for row in range(len(manifest))
        if all(manifest[name][row] in wanted for name, wanted in where.items())
        and split in (None, manifest["split"][row])
    ]
    if not expected:
        with pytest.raises(ConfigError, match="meet all conditions"):
            manifest.rows(split, where)
        return
    assert manifest.rows(split, where).tolist() == expected
    chosen = manifest.select(manifest.rows(split, where))
    assert list(chosen["image"]) == [manifest["image"][row] for row in expected]
    assert_array_equal(chosen.labels, manifest.labels[expected])
    assert manifest.patients(np.array(expected)) == {manifest["patient_id"][row] for row in expected} - {""}


@given(manifests(), st.data())
@FEW
def test_a_patient_or_an_unreal_image_in_the_wrong_split_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    """One cell is moved; whether a rule is broken is told by other code than ours."""
    columns = {name: values.copy() for name, values in manifest.columns.items()}
    row = data.draw(st.integers(0, len(manifest) - 1))
    name, values = data.draw(
        st.sampled_from(
            [("split", ["", "train", "val", "test"]), ("source", SOURCES), ("patient_id", ["", "P1", "p1", "é"])]
        )
    )
    columns[name][row] = data.draw(st.sampled_from(values))
    cells = list(zip(columns["patient_id"], columns["split"], columns["source"], strict=True))
    homes = {(patient, split) for patient, split, _ in cells if patient and split}
    leaks = len(homes) > len({patient for patient, _ in homes})
    unreal = any(source != "real" and split != "train" for _, split, source in cells)
    with folder() as where:
        path = replace(manifest, columns=columns).write(where)
        if leaks or unreal:
            with pytest.raises(LeakageError):
                read_manifest(path)
        else:
            assert texts(read_manifest(path)) == {key: list(values) for key, values in columns.items()}


@given(manifests(), st.data())
@FEW
def test_a_damaged_table_is_refused_or_holds_what_it_says(manifest: Manifest, data: st.DataObject) -> None:
    with folder() as where:
        path = manifest.write(where)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(content) - 1))
            content[place : place + 1] = data.draw(
                st.sampled_from([b"", b"\n", b",", b'"', b"\xff", b"2", b"\0", b"x"])
            )
        path.write_bytes(content)
        with suppress(CxrAugError):  # anything else is a fault
            _check_rules(read_manifest(path), path)


def _check_rules(manifest: Manifest, path: Path) -> None:
    assert list(manifest.findings) == json.loads(path.with_name("manifest.json").read_text())["findings"]
    assert manifest.labels.shape == (len(manifest["image"]), len(manifest.findings))
    assert set(manifest.labels[~np.isnan(manifest.labels)].tolist()) <= {0.0, 1.0}
    assert len(set(manifest["image"])) == len(manifest)


@given(st.lists(st.tuples(LABELS, st.integers(0, 1)), min_size=1, max_size=12))
@FEW
def test_labels_are_read_however_they_are_written(cells: list[tuple[float, int]]) -> None:
    forms = {0.0: ("0", "0.0"), 1.0: ("1", "1.0")}
    rows = make_columns([{"image": f"{k}", "source": "real"} for k in range(len(cells))])
    labels = np.array([[label] for label, _ in cells], dtype=np.float32)
    with folder() as where:
        path = Manifest(rows, ("Edema",), labels).write(where)
        header, *lines = path.read_text().splitlines()
        ends = ["" if label != label else forms[label][form] for label, form in cells]
        lines = [f"{line.rsplit(',', 1)[0]},{end}" for line, end in zip(lines, ends, strict=True)]
        path.write_text("\n".join([header, *lines]) + "\n")
        assert_array_equal(read_manifest(path).labels, labels)

"""The audit of a set that is there: what it writes and says, whoever made the set; copies are not mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.artifacts import write_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.copies import AUDIT_SCHEMA, COPIES, admit, find_audit
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, MixedDataset
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError, StateError
from monai_cxraug.resources import resource_root
from monai_cxraug.synthesis.audit_set import AuditSet, describe
from tests.synthesis.test_likeness import draw

SIDE = 32


def pictures(n: int, seed: int) -> np.ndarray:
    return np.rint(draw(n, SIDE, seed) * 255).astype(np.uint8)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """120 training images of 60 patients, and 20 that are held out."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k // 2}", "split": "train" if k < 120 else "val", "source": "real"}
        for k in range(140)
    ]
    write_pack(tmp_path / "real", pictures(140, 0), [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema",), np.ones((140, 1), np.float32)).write(tmp_path / "real")


def make_set(folder: Path, made: np.ndarray, source: str = "external", **about: object) -> Path:
    """A set made elsewhere, by a generator that saw every training patient."""
    names = [f"made{k}" for k in range(len(made))]
    write_pack(folder, made, names)
    rows = [{"image": name, "split": "train", "source": source} for name in names]
    Manifest(make_columns(rows), ("Edema",), np.ones((len(made), 1), np.float32)).write(folder)
    seen = [f"P{k}" for k in range(60)]
    write_json(
        folder / "provenance.json",
        PROVENANCE_SCHEMA,
        {
            "generator": {"name": "diffusion"},
            "patients_seen": seen,
            "finding": None,
            "memorisation_audit": None,
            **about,
        },
    )
    return folder


def planted(real: Path, n: int = 30) -> np.ndarray:
    """New pictures, and four training pictures with other contrast and noise, mirrored."""
    stored = np.load(real.parent / "pack.npy")[[3, 20, 60, 101], :, ::-1]
    changed = 40 + 0.6 * stored + np.random.default_rng(0).normal(scale=6, size=stored.shape)
    return np.concatenate([pictures(n, 5), np.clip(changed, 0, 255).astype(np.uint8)])


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_copies_are_found_written_said_and_not_mixed(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_set(tmp_path / "made", planted(real))
    MixedDataset(real, synthetic=[folder])
    assert "not audited for copies of training images (there is none); cxraug audit does it" in capsys.readouterr().err
    path = AuditSet(folder, real).run()
    assert path == folder / "audit.json"
    said = capsys.readouterr()
    assert said.out == f"{path}\n"
    assert "copies of training images: " in said.err.splitlines()[-1]
    assert said.err.endswith("of real images are), 4 surely copied\n")
    document = read(path)
    report = document["memorisation_audit"]
    assert (document["schema"], report["verdict"], report["copies"]) == (AUDIT_SCHEMA, COPIES, 4)
    assert 4 <= report["near"] <= 6  # new ones are, now and then
    assert report["measures"]["pixels"]["copies"] == 0  # which is why there are other measures
    with (folder / "nearest.csv").open() as stream:
        near = [line for line in csv.DictReader(stream) if int(line["image"][4:]) >= 30]
    assert all(line["near"] == "1" and "correlation" in line["near_by"] for line in near)
    assert [line["image"] for line in near] == ["made30", "made31", "made32", "made33"]
    assert [line["correlation_image"] for line in near] == ["3.png", "20.png", "60.png", "101.png"]
    assert all(float(line["aligned"]) > 0.8 for line in near)
    assert {pair["image"] for pair in report["nearest"][:4]} == {line["image"] for line in near}
    assert all(pair["mirrored"] for pair in report["nearest"][:4])
    assert min(Image.open(folder / "nearest.png").size) > SIDE
    with pytest.raises(
        StateError,
        match=r"found \d of 34 near one, 4 of them surely copies;.*--drop_memorised, or say allow_copies: true",
    ):
        MixedDataset(real, synthetic=[folder])
    mixed = MixedDataset(real, synthetic=[folder], allow_copies=True)
    assert mixed.audits() == [{"set": "made", "verdict": COPIES, "allow_copies": True}]


def test_a_new_set_passes(real: Path, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "made", pictures(40, 5))
    report = read(AuditSet(folder, real).run())["memorisation_audit"]
    assert report["verdict"] == "no sign of copies"
    assert MixedDataset(real, synthetic=[folder]).audits() == [
        {"set": "made", "verdict": "no sign of copies", "allow_copies": False}
    ]


def test_an_audit_speaks_of_its_own_pictures_only(real: Path, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "made", planted(real))
    AuditSet(folder, real).run()
    np.save(folder / "pack.npy", np.concatenate([pictures(34, 6)]))
    assert find_audit(folder, read(folder / "provenance.json")) == {"not run": "there is none"}


def test_by_the_configuration_into_another_folder_with_a_classifier_and_a_section(
    real: Path, tmp_path: Path, make_classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.kron(planted(real, 4), np.ones((1, 2, 2), np.uint8))
    folder = make_set(tmp_path / "made", large, source="synthetic")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    settings = {"synthetic": str(folder), "manifest": str(real), "out": str(tmp_path / "out")}
    (path,) = run_stage([resource_root() / "configs" / "audit.json"], settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["audit.json", "nearest.csv", "nearest.png"]
    assert read(path)["memorisation_audit"]["side"] == SIDE
    with pytest.raises(ConfigError, match="at least its 64 px"):
        AuditSet(folder, real, tmp_path / "out", make_classifier([], size=64)).run()

    class Counting:
        def examine(self, synthetic: object, training: Path, about: dict) -> dict:
            return {"images": len(synthetic), "seen": len(about["patients_seen"])}  # type: ignore[arg-type]

    audit = AuditSet(folder, real, tmp_path / "more", make_classifier([]), {"counting": Counting()})
    document = read(audit.run())
    assert document["counting"] == {"images": 8, "seen": 60}
    assert "densenet121 at 32 px" in document["memorisation_audit"]["measures"]["features"]["classifier"]


@pytest.mark.parametrize(
    ("about", "source", "kind", "words"),
    [
        ({"patients_seen": None}, "external", LeakageError, "must list the patients"),
        ({"crop": [20, 20]}, "synthetic", StateError, "give --manifest to cxraug sample"),
        ({}, "real", InputError, "every image of a synthetic set must be synthetic or external"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    real: Path, tmp_path: Path, about: dict, source: str, kind: type[Exception], words: str
) -> None:
    folder = make_set(tmp_path / "made", pictures(5, 5), source, **about)
    with pytest.raises(kind, match=words):
        AuditSet(folder, real).run()
    assert not (folder / "audit.json").exists()


def test_it_says_why_there_is_no_audit(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_set(tmp_path / "made", pictures(5, 5), patients_seen=[])
    assert read(AuditSet(folder, real).run())["memorisation_audit"] == {
        "not run": "the generator names no patient whose images it saw"
    }
    assert "not audited: the generator names no patient" in capsys.readouterr().err


def test_the_gate(tmp_path: Path) -> None:
    copies = {"memorisation_audit": {"verdict": COPIES, "near": 3, "images": 9, "copies": 1}}
    new = {"memorisation_audit": {"verdict": "no sign of copies"}}
    for unaudited in (False, True):
        with pytest.raises(StateError, match="3 of 9 near one, 1 of them surely copies"):
            admit(tmp_path, copies, allow_copies=False, unaudited=unaudited)
        assert admit(tmp_path, copies, allow_copies=True, unaudited=unaudited).allowed
        assert not admit(tmp_path, new, allow_copies=True, unaudited=unaudited).allowed
    for none in (
        {},
        {"memorisation_audit": None},
        {"memorisation_audit": {"not run": "x"}},
        {"memorisation_audit": {}},
    ):
        with pytest.raises(StateError, match="run cxraug audit"):
            admit(tmp_path, none, allow_copies=False, unaudited=False)
        assert admit(tmp_path, none, allow_copies=True, unaudited=False).record()["allow_copies"]
        assert not admit(tmp_path, none, allow_copies=False, unaudited=True).allowed


def test_the_closing_line() -> None:
    report = {"verdict": "no sign of copies", "near": 3, "images": 500, "share": 0.006, "interval": [0.001, 0.017]}
    assert describe({**report, "expected_share": 0.03, "copies": 0}) == (
        "no sign of copies: 3 of 500 images near one (0.6%, 95 % interval 0.1% to 1.7%; 3.0% of real images are), "
        "0 surely copied"
    )

"""Classifiers that a bundle ships are asked about images never seen, as the cells of a run are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.artifacts import load_json, write_json
from monai_cxraug.cli import main
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.errors import CxrAugError, InputError, LeakageError, StateError
from monai_cxraug.experiments.evaluation import evaluate
from monai_cxraug.experiments.experiment import DataSpec
from monai_cxraug.predictions import read_predictions
from tests.experiments.test_shipping import CLASSIFIERS, GENERATORS

pytestmark = pytest.mark.e2e
BUNDLE = "chest_xray_classification"


def ask(folder: Path, manifest: Path, out: Path, split: str | None = "test") -> Path:
    return evaluate(folder, DataSpec(manifest=str(manifest), split=split), out, lambda line: None)


def test_shipped_classifiers_answer_as_those_of_the_run(
    small_run: Path, bundles: Path, phantom_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--manifest", str(phantom_manifest), "--split", "test", "--out", str(out)]
    assert main(["evaluate", str(bundles / BUNDLE), *words]) == 0
    assert "difference: AUROC of gan less that of plain" in capsys.readouterr().out
    assert (out / "report" / "index.html").is_file()
    found, known = load_json(out / "results.json"), load_json(small_run / "results.json")
    assert {"primary", "arms", "comparisons", "operating", "provenance"} <= set(found)
    assert found["declared"] == known["declared"]
    names = [path.stem for path in sorted((out / "predictions").glob("*.csv"))]
    assert len(names) == 2
    for name in names:  # the same patients as the run's own test images, rounded weights
        ours, theirs = (
            read_predictions(path)
            for path in (out / f"predictions/{name}.csv", small_run / f"cells/{name}/predictions.csv")
        )
        assert ours.images == theirs.images
        assert np.abs(ours.probs - theirs.probs).max() < 1e-4
    shift = {row["measure"]: row for row in found["shift"] if row["arm"] == "gan"}
    assert shift["prevalence"]["before"] == shift["prevalence"]["here"]
    assert shift["auroc"]["before"] == pytest.approx(shift["auroc"]["here"], abs=0.05)


def test_patients_that_a_model_or_its_generator_has_seen_are_refused(
    bundles: Path, phantom_manifest: Path, tmp_path: Path
) -> None:
    for split in ("train", None):
        with pytest.raises(LeakageError, match="never seen in training"):
            ask(bundles / BUNDLE, phantom_manifest, tmp_path, split)
    assert not list(tmp_path.iterdir())


def test_names_hashed_by_another_key_are_said(bundles: Path, phantom_manifest: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_manifest.parent, tmp_path / "data")
    table = read_manifest(phantom_manifest)
    salted = Manifest(table.columns, table.findings, table.labels, {**table.info, "salt": "0123456789abcdef"})
    found = load_json(ask(bundles / CLASSIFIERS, salted.write(tmp_path / "data"), tmp_path / "out"))
    assert any("named by another key" in line for line in found["warnings"])


def _remove(folder: Path) -> None:
    next(folder.glob("gan-*/model.pt")).unlink()


def _cut(folder: Path) -> None:
    path = next(folder.glob("gan-*/model.pt"))
    path.write_bytes(path.read_bytes()[:-100])


def _uncalibrate(folder: Path) -> None:
    next(folder.glob("gan-*/calibration.json")).unlink()


def _other_findings(folder: Path) -> None:
    content = load_json(folder / "shipped.json")
    content["classes"] = content["classes"][::-1]
    write_json(folder / "shipped.json", content.pop("schema"), content)


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (_remove, InputError, "model.pt: a shipped model must have its files; found no file; fetch"),
        (_cut, StateError, "model.pt: must be the file that was shipped"),
        (_uncalibrate, InputError, "calibration.json: a shipped model must have its files"),
        (_other_findings, StateError, "must know the findings"),
    ],
)
def test_damage_is_told_before_anything_is_asked(
    bundles: Path,
    phantom_manifest: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: type[CxrAugError],
    words: str,
) -> None:
    shutil.copytree(bundles / CLASSIFIERS, tmp_path / "small")
    damage(tmp_path / "small")
    with pytest.raises(kind, match=words):
        ask(tmp_path / "small", phantom_manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_ships_no_classifier_is_refused(bundles: Path, phantom_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must ship classifiers; found none; give the bundle"):
        ask(bundles / GENERATORS, phantom_manifest, tmp_path / "out")
    with pytest.raises(InputError, match=r"must be a run .*, or a bundle that ships models .* found neither"):
        ask(tmp_path, phantom_manifest, tmp_path / "out")

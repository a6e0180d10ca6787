from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import ConfigError, CxrAugError, LabelError, LeakageError
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.experiments.planning import make_plan
from tests.experiments.conftest import document


def _plan(manifest: Path, **changes: object):  # type: ignore[no-untyped-def]
    return make_plan(make_experiment(document(**changes), "x"), {"train": manifest, "validation": manifest})


def test_the_grid_is_complete_and_generators_are_refitted_per_seed(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, ratios=[0.5, 2.0], fractions=[0.5, 1.0], seeds=[0, 7])
    # plain has no ratio; the other two arms have two
    assert len(plan.cells) == 2 * 2 * (1 + 2 + 2)
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)
    assert {(one.finding, one.fraction, one.seed) for one in plan.generators} == {
        (finding, fraction, seed)
        for finding in ("Cardiomegaly", "Effusion")
        for fraction in (0.5, 1.0)
        for seed in (0, 7)
    }
    assert len(plan.synthetic) == 2 * len(plan.generators)


def test_added_images_are_the_ratio_times_the_real_positives(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, ratios=[2.0])
    manifest = read_manifest(phantom_manifest)
    train = manifest["split"] == "train"
    for cell in plan.cells:
        for finding, count in cell.counts.items():
            assert count == 2 * int((manifest.label(finding)[train] == 1).sum())
    assert {one.finding: one.n for one in plan.synthetic} == dict(next(c for c in plan.cells if c.arm == "gan").counts)


def test_a_plan_is_read_back_as_it_was(phantom_manifest: Path, tmp_path: Path) -> None:
    plan = _plan(phantom_manifest)
    plan.write(tmp_path)
    again = read_plan(tmp_path)
    assert list(again.cells) == list(plan.cells)
    assert list(again.generators) == list(plan.generators)
    # JSON has lists where the experiment has tuples
    assert json.loads(json.dumps(again.experiment.document())) == json.loads(json.dumps(plan.experiment.document()))


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"findings": ["Effusion", "Efusion"]}, LabelError, ["Efusion", "did you mean 'Effusion'"]),
        ({"classes": ["Mass"]}, ConfigError, ["classes", "Cardiomegaly"]),
    ],
)
def test_unknown_findings_are_refused(
    phantom_manifest: Path, changes: dict[str, object], kind: type[CxrAugError], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        _plan(phantom_manifest, **changes)
    assert all(word in str(caught.value) for word in words)


def test_training_and_evaluation_may_not_share_patients(phantom_manifest: Path) -> None:
    data = document()["data"]
    with pytest.raises(LeakageError, match="training patient"):
        _plan(phantom_manifest, data={"train": data["train"], "validation": {**data["validation"], "split": "train"}})


def test_manifests_of_different_salts_are_refused(phantom_manifest: Path, tmp_path: Path) -> None:
    """The same patient would bear two names, and the check of shared patients would see nothing."""
    for name in ("manifest.csv", "manifest.json", "pack.json", "pack.npy"):
        (tmp_path / name).write_bytes((phantom_manifest.parent / name).read_bytes())
    document_of_copy = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document_of_copy, "salt": "0123456789abcdef"}))
    manifests = {"train": phantom_manifest, "validation": tmp_path / "manifest.csv"}
    with pytest.raises(LeakageError, match="one salt"):
        make_plan(make_experiment(document(), "x"), manifests)


def test_only_real_images_are_judged_on(phantom_manifest: Path, tmp_path: Path) -> None:
    """Synthetic training images are fine in a manifest, and not as what an experiment is judged on."""
    for name in ("manifest.json", "pack.json", "pack.npy"):
        (tmp_path / name).write_bytes((phantom_manifest.parent / name).read_bytes())
    with phantom_manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["patient_id"] = "other-" + row["patient_id"]
        row["split"] = "train"
    rows[3]["source"] = "synthetic"
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    data = document()["data"]
    experiment = make_experiment(
        document(data={"train": data["train"], "validation": {"manifest": str(tmp_path / "manifest.csv")}}), "x"
    )
    with pytest.raises(LeakageError, match="only real images"):
        make_plan(experiment, {"train": phantom_manifest, "validation": tmp_path / "manifest.csv"})


def test_the_fraction_shrinks_the_positives(phantom_manifest: Path) -> None:
    plan = _plan(phantom_manifest, fractions=[0.3, 1.0], findings=["Cardiomegaly"], seeds=[0])
    counts = {cell.fraction: cell.counts["Cardiomegaly"] for cell in plan.cells if cell.arm == "gan"}
    assert 0 < counts[0.3] < counts[1.0]

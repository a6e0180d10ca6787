"""The experiment files of the published systems run as they are declared, on phantoms and for a few steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.artifacts import load_json
from monai_cxraug.calibration import read_calibration
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.sources.folder import Folder
from monai_cxraug.errors import LeakageError
from monai_cxraug.experiments.arms import CONDITIONAL, GENERATORS, find_arm
from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.experiments.runner import Runner
from monai_cxraug.metrics.multiplicity import holm
from monai_cxraug.predictions import read_predictions
from monai_cxraug.reporting.report import write_report

pytestmark = pytest.mark.e2e

EXPERIMENTS = Path(__file__).resolve().parents[2] / "configs" / "experiments"


@pytest.mark.parametrize(
    ("name", "architecture", "settings", "arms"),
    [
        pytest.param("system_d_pneumonia_resnet50", "resnet50", [], 3, marks=pytest.mark.slow),
        # VGG-16 is large: three of the eight arms
        pytest.param(
            "system_e_imbalance",
            "vgg16",
            ["arms=[plain, weighted_loss, undersampled+equalised]"],
            3,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_smoke_run_trains_what_is_declared(
    name: str, architecture: str, settings: list[str], arms: int, tmp_path: Path
) -> None:
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml", settings, substitute=False)
    assert experiment.data.train.source == "kermany"
    Runner(experiment, tmp_path, smoke=True, say=lambda line: None).execute()
    cells = read_plan(tmp_path).cells
    assert len(cells) == arms
    for cell in cells:
        folder = tmp_path / "cells" / cell.id
        record = load_json(folder / "run.json")
        assert record["settings"]["architecture"] == architecture
        fitted = read_calibration(folder / "calibration.json")
        assert fitted.rule == "youden"
        tables = ("calibration.csv", "predictions.csv")
        answered = {path: set(read_predictions(folder / path).patients) for path in tables}
        seen = set(record["about"]["patients_seen"])
        assert not answered["calibration.csv"] & answered["predictions.csv"]
        assert not (answered["calibration.csv"] | answered["predictions.csv"]) & seen
    found = load_json(tmp_path / "results.json")
    assert found["missing"] == []
    assert {row["arm"] for row in found["operating"]} == set(experiment.arms)
    page = write_report(tmp_path).read_text()
    assert "Measures beside AUROC" in page
    assert "Where the networks look" in page
    shutil.rmtree(tmp_path)  # the networks are large


@pytest.mark.parametrize(
    ("name", "controls", "source", "architecture"),
    [
        pytest.param("system_a_nih_pggan", "controls_screened", "nih", "efficientnet_b1", marks=pytest.mark.slow),
        pytest.param(
            "system_b_chexpert_filters", "controls_filtered", "chexpert", "densenet121", marks=pytest.mark.slow
        ),
    ],
)
def test_systems_with_generators_run_with_every_control(
    name: str, controls: str, source: str, architecture: str, tmp_path: Path
) -> None:
    files = [EXPERIMENTS / f"{name}.yaml", EXPERIMENTS / "overlays" / f"{controls}.yaml"]
    # one finding of the several is enough to see that all runs
    finding = "Edema" if source == "nih" else "Fracture"
    experiment = load_experiment(files, [f"findings=[{finding}]"], substitute=False)
    assert experiment.data.train.source == source
    Runner(experiment, tmp_path, smoke=True, say=lambda line: None).execute()
    plan = read_plan(tmp_path)
    assert {cell.arm for cell in plan.cells} == set(experiment.arms)
    for cell in plan.cells:
        record = load_json(tmp_path / "cells" / cell.id / "run.json")
        assert record["settings"]["architecture"] == architecture
    found = load_json(tmp_path / "results.json")
    assert (found["missing"], found["primary"]["reference"]) == ([], "duplicate_real")
    assert found["primary"]["verdict"] in ("helps", "no evidence", "harms")
    assert {one["audit"]["not_run"] for one in found["synthetic"]} == {None}
    screened = [one for one in found["synthetic"] if "screened" in one["id"]]
    assert bool(screened) == (source == "nih")
    assert all(one["drawn"] >= one["n"] for one in screened)
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_a_grid_over_numbers_of_real_images_runs_with_four_generators_and_every_control(tmp_path: Path) -> None:
    files = [EXPERIMENTS / "system_c_topup.yaml", EXPERIMENTS / "overlays" / "controls_topup.yaml"]
    experiment = load_experiment(files, substitute=False)
    assert {*GENERATORS} - {CONDITIONAL} < set(experiment.arms)
    Runner(experiment, tmp_path, smoke=True, say=lambda line: None).execute()
    plan = read_plan(tmp_path)
    assert plan.scale is not None
    (few, _), (all_of_them, whole) = plan.scale.images
    adding = {arm for arm in experiment.arms if find_arm(arm).adds_images}
    assert {cell.arm for cell in plan.cells if cell.fraction == few} == set(experiment.arms)
    assert {cell.arm for cell in plan.cells if cell.fraction == all_of_them} == set(experiment.arms) - adding
    colour = np.load(plan.manifests["train"].with_name("pack.npy"), mmap_mode="r")
    for one in plan.synthetic:
        made = np.load(tmp_path / "synthetic" / one.id / "pack.npy")
        assert made.shape == (whole - one.limit["malignant"], *colour.shape[1:])
        assert made.shape[-1] == 3
    for cell in plan.cells:
        record = load_json(tmp_path / "cells" / cell.id / "run.json")
        assert record["settings"]["architecture"] == "small_cnn"
        counts = record["about"]["composition"]["malignant"]
        assert counts["real"] == cell.limit.get("malignant", whole)
        if "label_shuffled" not in cell.arm:
            assert counts["real"] + counts["duplicate"] + counts["synthetic"] == (
                whole if cell.counts else counts["real"]
            )
    found = load_json(tmp_path / "results.json")
    assert found["scale"] == plan.scale.document()
    assert (found["missing"], found["primary"]["fraction"]) == (["label_shuffled", *_placebos("dcgan", "fastgan")], few)
    assert found["primary"]["verdict"] in ("helps", "no evidence", "harms")
    assert {one["audit"]["not_run"] for one in found["synthetic"]} == {None}
    assert {(row["arm"], row["fraction"]) for row in found["arms"]} == {
        (cell.arm, cell.fraction) for cell in plan.cells
    }
    pair = [row for row in found["comparisons"] if (row["arm"], row["reference"]) == ("weighted_loss", "plain")]
    single = [row for row in pair if row["finding"] == "malignant"]
    np.testing.assert_allclose([row["p_holm"] for row in single], holm([row["p"] for row in single]))
    assert len(single) == 2
    assert write_report(tmp_path).is_file()


def _placebos(*origins: str) -> list[str]:
    return [f"{origin}+label_shuffled" for origin in origins]


def test_the_grid_of_radiographs_is_planned_as_it_is_declared(tmp_path: Path) -> None:
    names = ("system_c_topup", "overlays/system_c_kermany", "overlays/controls_topup")
    experiment = load_experiment([EXPERIMENTS / f"{name}.yaml" for name in names], substitute=False)
    assert (experiment.data.train.options["negative"], experiment.allow_synthetic_majority) == ("PNEUMONIA", False)
    pattern = str(experiment.data.train.options["patient_pattern"])
    for name, patient in {
        "person1946_bacteria_4874.jpeg": "person1946",
        "person17_virus_48.jpeg": "person17",
        "IM-0115-0001.jpeg": "IM-0115",
        "NORMAL2-IM-1427-0001.jpeg": "NORMAL2-IM-1427",
        "NORMAL2-IM-0023-0001-0002.jpeg": "NORMAL2-IM-0023",
    }.items():
        assert Folder(images=".", patient_pattern=pattern)._patient(f"chest_xray/train/NORMAL/{name}") == patient
    plan = Runner(experiment, tmp_path, smoke=True, say=lambda line: None).plan()
    assert {cell.arm for cell in plan.cells} == set(experiment.arms)
    manifest = read_manifest(plan.manifests["train"])
    assert manifest.findings == ("NORMAL",)
    assert set(manifest["fold"]) == {"", *map(str, range(10))}


def test_thresholds_may_not_see_a_test_patient(tmp_path: Path) -> None:
    experiment = load_experiment(
        EXPERIMENTS / "system_d_pneumonia_resnet50.yaml", ['data.test.where={fold: ["0", "1"]}'], substitute=False
    )
    with pytest.raises(LeakageError, match="both validation, where thresholds are chosen, and test"):
        Runner(experiment, tmp_path, smoke=True, say=lambda line: None).execute()
    assert not (tmp_path / "cells").exists()

"""What the results warn of: label columns under wrong names, and training pictures among the judged ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.duplicates import CONTENT
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.experiments.cautions import constant_answers, idle_screening, permuted_columns, same_pictures
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import Plan
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.predictions import Predictions
from tests.experiments.conftest import document

CLASSES = ("Cardiomegaly", "Effusion", "Mass")


@pytest.fixture(scope="module")
def plan(phantom_manifest: Path) -> Plan:
    experiment = make_experiment(document(fractions=[0.3, 0.5], classes=list(CLASSES)), "x")
    return make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest})


def _tables(plan: Plan, order: list[int]) -> dict[str, Predictions]:
    """Answers that fit the labels at the larger fraction; the label columns are then put under other names."""
    labels = (np.random.default_rng(0).random((300, 3)) < 0.3).astype(float)
    tables = {}
    for number, cell in enumerate(plan.cells):
        odds = (cell.fraction == 0.5) * (2 * labels - 1) + np.random.default_rng(number).normal(0, 0.8, labels.shape)
        names = [str(k) for k in range(300)]
        tables[cell.id] = Predictions(names, names, CLASSES, labels[:, order], 1 / (1 + np.exp(-odds)))
    return tables


def test_labels_under_wrong_names_are_said(plan: Plan) -> None:
    assert permuted_columns(plan, _tables(plan, [0, 1, 2])) == []
    (said,) = permuted_columns(plan, _tables(plan, [0, 2, 1]))
    assert said.startswith("Label columns may be permuted: what is said of Effusion fits the labels of Mass")


def test_cells_that_answer_one_thing_of_all_images_are_said(plan: Plan) -> None:
    tables = _tables(plan, [0, 1, 2])
    assert constant_answers(tables, ["Effusion"]) == []
    name, table = next(iter(tables.items()))
    tables[name] = replace(table, probs=0.02 + 1e-6 * table.probs)
    (said,) = constant_answers(tables, ["Effusion"])
    assert said.startswith(f"1 of {len(tables)} cells answer (nearly) the same for every image, for example {name}:")
    tables[name] = replace(table, probs=0.02 + 0.01 * table.probs)
    assert constant_answers(tables, ["Effusion"]) == []


def test_a_screen_that_rejects_nothing_is_said(phantom_manifest: Path) -> None:
    endpoint = {"arm": "gan+screened", "reference": "plain"}
    experiment = document(arms=["plain", "gan", "gan+screened"], screening={"reject": ["Mass"]}, endpoint=endpoint)
    manifests = {"train": phantom_manifest, "validation": phantom_manifest}
    plan = make_plan(make_experiment(experiment, "x"), manifests)
    made = [{"id": one.id, "n": 10, "drawn": 10} for one in plan.synthetic]
    (said,) = idle_screening(plan, made)
    screened = [row for row, one in zip(made, plan.synthetic, strict=True) if one.judges]
    assert said.startswith(f"The judges accepted all of {10 * len(screened)} synthetic images")
    screened[0]["drawn"] = 11
    assert idle_screening(plan, made) == []
    assert idle_screening(plan, []) == []


def _with_copies(manifest: Manifest, copies: int) -> tuple[Manifest, list[str]]:
    """The table with pictures of training images under judged ones' names, and the judged names."""
    judged, train = (np.flatnonzero(manifest["split"] == split) for split in ("val", "train"))
    content = manifest[CONTENT].copy()
    content[judged[:copies]] = content[train[:copies]]
    return replace(manifest, columns={**manifest.columns, CONTENT: content}), list(manifest["image"][judged])


@pytest.mark.parametrize("copies", [0, 3])
def test_training_pictures_among_the_judged_ones_are_said(plan: Plan, phantom_manifest: Path, copies: int) -> None:
    judged, images = _with_copies(read_manifest(phantom_manifest), copies)
    said = same_pictures(plan, judged, images)
    assert said == (
        [f"3 of the {len(images)} judged pictures are among the training pictures; duplicates.csv lists them."]
        if copies
        else []
    )

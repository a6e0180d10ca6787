"""What a reader should know before believing a run's numbers: found in its predictions, pictures and screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from monai_cxraug.data.duplicates import CONTENT
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.experiments.plan import Plan
from monai_cxraug.metrics.permutation import find_permutations
from monai_cxraug.predictions import Predictions

Row = Mapping[str, Any]

#: spread of the log-odds over images below which a network says one thing of all of them.
_ANSWERS: Final = 0.01
#: digits that a hash is named by.
_DIGITS: Final = 12


def allowances(plan: Plan) -> list[str]:
    """What the experiment allowed itself; the report finds few positives and few seeds by itself."""
    lines = []
    if plan.experiment.allow_synthetic_majority:
        lines.append("The experiment allows synthetic images to be the majority of the training set.")
    if plan.experiment.allow_copies:
        lines.append("The experiment allows synthetic images that are copies of training images.")
    return lines


def reused_generators(plan: Plan) -> list[str]:
    """Say that generators were not trained in this run, where they are from, and which they are."""
    taken = [one.reused for one in plan.generators if one.reused]
    if not taken:
        return []
    folders = ", ".join(sorted({one["file"].rsplit("/", 2)[0] for one in taken}))
    hashes = ", ".join(one["sha256"][:_DIGITS] for one in taken)
    files = "1 file" if len(taken) == 1 else f"{len(taken)} files"
    return [f"Generators were reused, not trained here: {files} of {folders} (SHA-256 {hashes})."]


def constant_answers(tables: Mapping[str, Predictions], findings: Sequence[str]) -> list[str]:
    """Say which cells answer the same whatever the image: they have not learnt, and their AUROC is no result."""
    poor = [name for name, table in tables.items() if _spread(table, findings) < _ANSWERS]
    if not poor:
        return []
    return [
        f"{len(poor)} of {len(tables)} cells answer (nearly) the same for every image, for example {poor[0]}: training "
        "failed there, or was too short. Differences between such cells say nothing about the arms."
    ]


def _spread(table: Predictions, findings: Sequence[str]) -> float:
    """Largest standard deviation over images of the log-odds of a studied finding."""
    probs = table.probs[:, [list(table.findings).index(name) for name in findings]].clip(1e-9, 1 - 1e-9)
    return float(np.log(probs / (1 - probs)).std(axis=0).max())


def idle_screening(plan: Plan, made: Sequence[Row]) -> list[str]:
    """Say when no judge rejected anything: screened arms are then the unscreened ones under another name."""
    screened = {one.id for one in plan.synthetic if one.judges}
    rows = [row for row in made if row["id"] in screened]
    drawn = sum(row["drawn"] for row in rows)
    if not rows or drawn > sum(row["n"] for row in rows):
        return []
    return [
        f"The judges accepted all of {drawn} synthetic images: screened arms differ in nothing from unscreened ones."
    ]


def permuted_columns(plan: Plan, tables: Mapping[str, Predictions]) -> list[str]:
    """Say which label columns fit each other's scores better than their own: published tables have been wrong there."""
    arm = plan.cells[0].arm
    most = max(cell.fraction for cell in plan.cells if cell.arm == arm)
    chosen = [tables[cell.id] for cell in plan.cells if (cell.arm, cell.fraction) == (arm, most)]
    first = chosen[0]
    found = find_permutations(np.stack([table.probs for table in chosen]), first.labels, first.patients)
    return [_sentence(one.describe(first.findings)) for one in found]


def same_pictures(plan: Plan, judged: Manifest, images: Sequence[str]) -> list[str]:
    """Say how many judged pictures are training pictures too, under another patient of the same table.

    Between two manifests they are refused; within one the splits are by patient, and a copy under another name is seen
    in the pictures alone. Nothing is said where the plan has no training images.
    """
    if "train" not in plan.manifests:
        return []
    train, spec = read_manifest(plan.manifests["train"]), plan.experiment.data.train
    if CONTENT not in train.columns.keys() & judged.columns.keys():
        return []
    learnt = set(train[CONTENT][train.rows(spec.split, spec.where)]) - {""}
    shown = judged[CONTENT][np.isin(judged["image"].astype(str), list(images))]
    if not (shared := sum(content in learnt for content in shown)):
        return []
    return [f"{shared} of the {len(shown)} judged pictures are among the training pictures; duplicates.csv lists them."]


def unlike_salts(learnt: str | None, judged: Manifest) -> list[str]:
    """Say where the judged patients bear other names than the training patients: no check by name can then find one.

    Args:
        learnt: fingerprint of the key that hashed the names of the training patients; None where they bear their own.
        judged: the images that are judged on.
    """
    if judged.info.get("salt") == learnt:
        return []
    return [
        "Patients are named by another key than in training: whether one of them was seen there cannot be told by name."
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."

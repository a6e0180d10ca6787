"""Planning reads the images' table once, however many cells there are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from monai_cxraug.data import manifest as manifests
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.experiments import plan as plans
from monai_cxraug.experiments import planning
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.planning import make_plan
from tests.experiments.conftest import document


@pytest.mark.parametrize("seeds", [1, 6])
def test_reads_do_not_grow_with_cells(phantom_manifest: Path, monkeypatch: pytest.MonkeyPatch, seeds: int) -> None:
    for file in (phantom_manifest, phantom_manifest.with_name("manifest.json")):
        os.utime(file, (1e9 + seeds, 1e9 + seeds))  # unchanged for long, but not read before
    counted: Counter[str] = Counter()

    def counting(module, name, function):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            counted[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    counting(manifests, "read_table", manifests.read_table)
    counting(planning, "PackRows", PackRows)
    counting(plans, "file_hash", plans.file_hash)
    experiment = make_experiment(
        document(arms=["plain", "weighted_loss", "gan"], endpoint={"arm": "gan", "reference": "plain"},
                 classes=["Cardiomegaly", "Effusion"], fractions=[0.5, 1.0], seeds=list(range(seeds))),
        "x",
    )  # fmt: skip
    plan = make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest})
    assert len(plan.cells) == 2 * 3 * seeds
    assert counted == {"read_table": 1, "PackRows": 1, "file_hash": 1}

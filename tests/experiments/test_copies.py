"""Copies of training images among synthetic ones: allowed in so many words alone, and then told."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_cxraug.experiments.cautions import allowances
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.work import Workshop
from monai_cxraug.resources import resource_root
from tests.experiments.conftest import document


@pytest.mark.parametrize("allowed", [False, True])
def test_what_is_allowed_reaches_every_cell_and_the_report(phantom_manifest: Path, allowed: bool) -> None:
    said = {"allow_copies": True} if allowed else {}
    experiment = make_experiment(document(**said), "x")
    assert ("allow_copies" in experiment.document()) is allowed  # earlier runs keep their name
    plan = make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest})
    assert len(allowances(plan)) == allowed
    for smoke in (False, True):
        shop = Workshop(experiment, plan.manifests, plan.classes, smoke)
        assert all(shop.cell(cell).settings["allow_copies"] is (allowed or smoke) for cell in plan.cells)


def test_the_systems_whose_generators_have_few_images_say_so() -> None:
    folder = resource_root() / "configs" / "experiments"
    said = {path.stem for path in folder.glob("*.yaml") if "allow_copies: true" in path.read_text()}
    assert said == {"system_b_chexpert_filters", "system_c_topup"}

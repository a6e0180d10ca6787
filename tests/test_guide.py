"""The guide names every remedy there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monai_cxraug.experiments.arms import ARMS, MODIFIERS
from monai_cxraug.losses import imbalance
from monai_cxraug.transforms import contrast, filters, geometry

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")
TRANSFORMS = {
    name.removeprefix("Rand")
    for module in (filters, contrast, geometry)
    for name in vars(module)
    if re.fullmatch(r"(Rand)?Radiograph\w+[a-ce-z]", name)
}
CONFIGS = ROOT / "bundles" / "chest_xray_classification" / "configs"
OVERLAYS = sorted(
    path.stem
    for kind in ("loss", "sampling", "contrast", "schedule", "batch", "augment")
    for path in CONFIGS.glob(f"{kind}_*.json")
)
#: overlays of kinds of which every one is an arm.
OF_ARMS = [name for name in OVERLAYS if not name.startswith("recipe_")]
#: settings of train.json that change what the classifier is trained on.
SETTINGS = ("duplicates", "filtered", "synthetic", "shuffle_labels", "left_out_fold", "limit", "top_up")


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_every_transform_is_in_the_guide(name: str) -> None:
    assert name in GUIDE


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_is_in_the_guide(name: str) -> None:
    assert f"`{name}`" in GUIDE


@pytest.mark.parametrize("name", SETTINGS)
def test_every_training_set_is_in_the_guide(name: str) -> None:
    assert f'"{name}"' in (CONFIGS / "train.json").read_text(encoding="utf-8")
    assert f"`{name}`" in GUIDE


def test_every_loss_names_its_paper() -> None:
    losses = [one for one in vars(imbalance).values() if isinstance(one, type) and one.__module__ == imbalance.__name__]
    named = [one for one in losses if one.__name__.endswith(("BCE", "Loss")) and one.__name__ != "MaskedLoss"]
    assert len(named) >= 7
    for loss in named:
        assert "arXiv" in (loss.__doc__ or "") or loss.__name__ in ("MaskedBCE", "AlphaBCE"), loss


def test_every_remedy_is_an_arm() -> None:
    used = {overlay for arm in (*ARMS.values(), *MODIFIERS.values()) for overlay in arm.overlays}
    assert set(OF_ARMS) - used == {"loss_logit_adjusted"}  # for sets of one class an image

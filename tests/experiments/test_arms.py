"""Arms, alone and taken together."""

from __future__ import annotations

import pytest

from monai_cxraug.bundle_config import bundle_file
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.arms import ARMS, CONTROLS, Additions, find_arm


def test_every_overlay_is_there_and_used() -> None:
    named = {overlay for arm in ARMS.values() for overlay in arm.overlays}
    folder = bundle_file("chest_xray_classification", "train").parent
    for overlay in named:
        assert (folder / f"{overlay}.json").is_file()
    there = {path.stem for kind in ("loss", "sampling", "contrast") for path in folder.glob(f"{kind}_*.json")}
    assert there - named == {"loss_logit_adjusted"}  # for sets of one finding an image


def test_all_but_one_control_exists() -> None:
    assert set(CONTROLS) - set(ARMS) == {"label_shuffled"}


def test_arms_taken_together_differ_in_all() -> None:
    arm = find_arm("weighted_loss+oversampled+equalised+gan")
    assert arm.overlays == ("loss_alpha", "sampling_over", "contrast_equalise")
    assert arm.adds_images
    assert arm.uses_generator
    assert arm.overrides(Additions({"Edema": 3}, ["a"])) == {"synthetic": ["a"]}
    assert ARMS["weighted_loss"].summary in arm.summary
    assert find_arm("plain") is ARMS["plain"]
    assert find_arm("plain+equalised").overlays == ("contrast_equalise",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weighted_los", "did you mean 'weighted_loss'"),
        ("plain+", "unknown arm; found ''"),
        ("weighted_loss+focal_loss", "only one may change the loss"),
        ("oversampled+balanced_batches", "only one may change the sampling"),
        ("gan+duplicate_real", "only one may change the images"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("+", r"\+")) as caught:
        find_arm(name, "experiment key 'arms'")
    assert str(caught.value).startswith("experiment key 'arms': ")
    assert "\n" not in str(caught.value)

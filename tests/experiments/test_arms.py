"""Arms, alone and taken together."""

from __future__ import annotations

import pytest

from monai_cxraug.bundle_config import bundle_file
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.arms import (
    ARMS,
    CONTROLS,
    MODIFIERS,
    PLACEBO,
    Additions,
    Making,
    find_arm,
    missing_controls,
)


def test_every_overlay_is_there_and_used() -> None:
    named = {overlay for arm in (*ARMS.values(), *MODIFIERS.values()) for overlay in arm.overlays}
    folder = bundle_file("chest_xray_classification", "train").parent
    for overlay in named:
        assert (folder / f"{overlay}.json").is_file()
    kinds = ("loss", "sampling", "contrast", "schedule", "batch", "augment")
    there = {path.stem for kind in kinds for path in folder.glob(f"{kind}_*.json")}
    assert there - named == {"loss_logit_adjusted"}  # for sets of one finding an image


def test_every_control_exists() -> None:
    assert {*CONTROLS, PLACEBO} <= {*ARMS, *MODIFIERS}


def test_a_modifier_alone_means_the_images_of_the_generator() -> None:
    for name in MODIFIERS:
        assert find_arm(name).making == find_arm(f"gan+{name}").making
        assert find_arm(name).overlays == find_arm(f"gan+{name}").overlays
    assert find_arm("label_shuffled").overrides(Additions({}, ["a"])) == {"synthetic": ["a"], "shuffle_labels": True}
    assert find_arm("screened").making == Making("gan", screened=True)
    assert find_arm("filtered_gan+screened+label_shuffled").making == Making("filtered_gan", screened=True)
    assert find_arm("filtered_gan").making == Making("filtered_gan")


@pytest.mark.parametrize(
    ("arms", "missing"),
    [
        (["gan", "label_shuffled"], []),
        (["gan", "gan+screened", "label_shuffled"], ["gan+screened+label_shuffled"]),
        (["screened", "screened+label_shuffled"], []),
        (["filtered_gan", "label_shuffled"], ["filtered_real", "filtered_gan+label_shuffled"]),
        (["filtered_gan", "filtered_real", "filtered_gan+label_shuffled"], []),
        (["external"], ["external+label_shuffled"]),
        (["pretrained", "label_shuffled"], []),
    ],
)
def test_the_placebo_bears_the_images_in_question(arms: list[str], missing: list[str]) -> None:
    assert missing_controls([*CONTROLS, *arms]) == missing


def test_a_verdict_needs_the_controls_of_its_own_arms_alone() -> None:
    arms = [*CONTROLS, "gan", "label_shuffled", "filtered_gan"]
    assert missing_controls(arms, ["gan", "plain"]) == []
    assert missing_controls(arms, ["plain", "oversampled"]) == []
    assert missing_controls(arms, ["filtered_gan", "gan"]) == ["filtered_real", "filtered_gan+label_shuffled"]


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
        ("gan+filtered_gan", "only one may change the images"),
        ("label_shuffled+label_shuffled", "only one may change the labels"),
        ("pretrained+retrained", "only one may change the schedule"),
        ("pretrained+oversampled", "only one may change the sampling"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("+", r"\+")) as caught:
        find_arm(name, "experiment key 'arms'")
    assert str(caught.value).startswith("experiment key 'arms': ")
    assert "\n" not in str(caught.value)

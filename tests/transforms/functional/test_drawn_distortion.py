from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.catalogue import Step, apply_steps
from monai_cxraug.transforms.functional.drawn_distortion import DrawnDistortion

IMAGES = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [1, 2])
def test_a_seed_decides_and_the_batch_does_not(count: int) -> None:
    distort = DrawnDistortion(count=count)
    made = distort(IMAGES, [4, 5, 6])
    assert made.shape == IMAGES.shape
    assert ((made >= 0) & (made <= 1)).all()
    assert torch.equal(made, distort(IMAGES, [4, 5, 6]))
    assert torch.equal(made[1:2], distort(IMAGES[1:2], [5]))
    assert len({distort.steps(seed) for seed in range(20)}) == 20
    assert all(len(distort.steps(seed)) == count for seed in range(20))


def test_a_text_fixes_all_but_what_is_random() -> None:
    distort = DrawnDistortion("gaussian_noise 0.1 + jpeg 30")
    first, second = distort.steps(1), distort.steps(2)
    assert [(step.name, step.strength) for step in first] == [("gaussian_noise", 0.1), ("jpeg", 30.0)]
    assert first[0].seed != second[0].seed
    assert first[1] == second[1] == Step("jpeg", 30.0)
    made = distort(IMAGES[:1], [1])
    assert torch.equal(made[0], apply_steps(IMAGES[0], first))


def test_grey_images_get_no_distortion_of_colour() -> None:
    made = DrawnDistortion()(IMAGES[:1].expand(200, -1, -1, -1), range(200))
    assert made.isfinite().all()


def test_images_too_small_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(InputError, match="images to distort: must have 64 px at least"):
        DrawnDistortion()(IMAGES[..., :32], [0, 1, 2])
    DrawnDistortion("jpeg 30")(IMAGES[..., :32], [0, 1, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 3}, r"DrawnDistortion\(count\): must be 1 or 2; found 3"),
        ({"text": ""}, r"DrawnDistortion\(text\): must name a distortion"),
        ({"text": "jpg 30"}, "did you mean 'jpeg'"),
        ({"text": "jpeg much"}, "the strength must be a number"),
    ],
)
def test_hostile_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DrawnDistortion(**given)

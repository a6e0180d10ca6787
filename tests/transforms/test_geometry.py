"""The geometry of system D against SciPy's resampling and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.testing import assert_allclose
from scipy import ndimage

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.geometry import affine
from monai_cxraug.transforms.geometry import RandRadiographGeometry, RandRadiographGeometryd, place_matrices


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1)
    return torch.from_numpy(smooth)


def drawn(**changes: float) -> np.ndarray:
    names = ["turn", "shear", "right", "down", "left_side", "right_side", "top", "bottom"]
    return np.array([[changes.get(name, 0.0) for name in names]])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(21, 21), (17, 30)])
def test_resampling_as_scipy(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    matrix = place_matrices(rng.uniform(-1, 1, (1, 8)) * [0.8, 0.3, 0.15, 0.2, 0.25, 0.25, 0.25, 0.25], *size)[0]
    picture = image(*size, seed=seed)
    # SciPy counts rows before columns, and from the first pixel's middle
    swapped = matrix[::-1, [1, 0]]
    middle = (np.array(size) - 1) / 2
    offset = middle + matrix[::-1, 2] - swapped @ middle
    expected = ndimage.affine_transform(picture.numpy(), swapped, offset, order=1, mode="grid-constant")
    found = affine(picture[None, None], torch.from_numpy(matrix)[None])[0, 0]
    assert_allclose(found, expected, atol=1e-10)


def test_each_change_moves_what_it_says() -> None:
    picture = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    picture[0, 0, 5, 20] = 1  # above the centre

    def where(**changes: float) -> tuple[float, float]:
        matrices = torch.from_numpy(place_matrices(drawn(**changes), 40, 40))
        moved = affine(picture, matrices)[0, 0].numpy()
        y, x = ndimage.center_of_mass(moved)
        return float(x), float(y)

    assert where() == pytest.approx((20, 5))
    assert where(right=0.1) == pytest.approx((24, 5))
    assert where(down=0.25) == pytest.approx((20, 15))
    x, y = where(turn=np.pi / 2)  # clockwise: from above to the right
    assert (x, y) == pytest.approx((34, 20), abs=1e-6)
    x, y = where(top=0.25)  # padded at the top: further down, and smaller
    assert y == pytest.approx((5.5 + 10) / 1.25 - 0.5, abs=0.3)
    x, y = where(left_side=-0.25)  # cropped on the left: further left of the right border, and wider
    assert x == pytest.approx((20.5 - 10) / 0.75 - 0.5, abs=0.3)


def test_shear_comes_before_the_turn() -> None:
    turn, shear = 0.6, 0.25
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # clockwise, y downwards
    shearing = np.array([[1.0, np.tan(shear)], [0.0, 1.0]])
    matrix = place_matrices(drawn(turn=turn, shear=shear), 30, 40)[0]
    for before in ([7.0, -3.0], [0.0, 5.0], [-4.0, 0.0]):
        after = rotation @ shearing @ before
        assert_allclose(matrix[:, :2] @ after + matrix[:, 2], before, atol=1e-12)


def test_every_image_of_a_batch_has_its_own_draw_that_repeats() -> None:
    batch = image(1, 1, 32, 32).expand(8, 1, 32, 32).float()
    transform = RandRadiographGeometry()
    transform.set_random_state(4)
    first = transform(batch)
    assert len({tuple(one.flatten().tolist()) for one in first}) == 8
    transform.set_random_state(4)
    assert torch.equal(transform(batch), first)
    for k in range(8):
        alone = RandRadiographGeometry()
        alone.drawn = transform.drawn[k : k + 1]
        torch.testing.assert_close(alone(batch[k], randomize=False), first[k])


@pytest.mark.parametrize("seed", range(3))
def test_draws_stay_within_system_ds_limits(seed: int) -> None:
    transform = RandRadiographGeometry()
    transform.set_random_state(seed)
    transform.randomize(4000)
    most = np.abs(transform.drawn).max(axis=0)
    limits = [np.pi / 4, np.deg2rad(16), 0.15, 0.2, 0.25, 0.25, 0.25, 0.25]
    assert (most <= limits).all()
    assert (most > 0.98 * np.array(limits)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_nothing_drawn_changes_no_bit(dtype: torch.dtype) -> None:
    batch = (image(4, 3, 16, 18) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    transform = RandRadiographGeometry(prob=0.5)
    transform.set_random_state(1)
    changed = transform(batch)
    assert changed.dtype == dtype
    still = (transform.drawn == 0).all(axis=1)
    assert 0 < still.sum() < 4
    assert torch.equal(changed[still], batch[still])


def test_dictionary_version_changes_all_images_alike() -> None:
    given = {
        "image": MetaTensor(image(1, 20, 20).float(), meta={"filename_or_obj": "a"}),
        "other": image(1, 20, 20).float(),
    }
    transform = RandRadiographGeometryd(["image", "other"])
    transform.set_random_state(2)
    result = transform(given)
    assert torch.equal(result["image"].as_tensor(), result["other"])
    assert not torch.equal(result["other"], given["other"])
    assert result["image"].meta["filename_or_obj"] == "a"


@pytest.mark.parametrize(
    "settings", [{"rotation": -1.0}, {"crop_and_pad": 0.5}, {"shear": 90.0}, {"vertical_shift": float("nan")}]
)
def test_wrong_settings_are_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        RandRadiographGeometry(**settings)


def test_wrong_images_are_one_line() -> None:
    for wrong in (torch.zeros(8, 8), torch.zeros(1, 8, 8, dtype=torch.int64)):
        with pytest.raises(InputError, match="must be"):
            RandRadiographGeometry()(wrong)
    with pytest.raises(InputError, match="matrix"):
        affine(torch.zeros(2, 1, 4, 4), torch.zeros(1, 2, 3))

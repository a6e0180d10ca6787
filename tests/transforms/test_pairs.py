"""Every transform in its four forms: array, dictionary, random, random dictionary."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms import contrast, filters
from monai_cxraug.transforms.pairs import ImageTransform

#: settings without a default.
GIVEN: dict[str, dict[str, Any]] = {
    "RadiographPercentile": {"percentile": 75.0},
    "RadiographMatch": {"reference": torch.linspace(0, 1, 64).reshape(8, 8)},
}
FORMS = {
    name: module
    for module in (filters, contrast)
    for name, made in vars(module).items()
    if inspect.isclass(made) and issubclass(made, ImageTransform) and made is not ImageTransform
}
each = pytest.mark.parametrize("name", FORMS)


def make(name: str, form: str, *arguments: Any, **settings: Any) -> Any:
    return getattr(FORMS[name], form.format(name))(*arguments, **{**GIVEN.get(name, {}), **settings})


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*(shape or (1, 30, 26)), generator=torch.Generator().manual_seed(1))


def test_all_are_there() -> None:
    assert len(FORMS) == 12


@each
def test_array_and_dictionary_are_the_function(name: str) -> None:
    array = make(name, "{}")
    expected = type(array).function(image(), **array.settings)
    assert torch.equal(array(image()), expected)
    assert torch.equal(make(name, "{}d", ["image"])({"image": image()})["image"], expected)
    assert np.array_equal(array(image().numpy()), expected.numpy())
    given = MetaTensor(image(), meta={"filename_or_obj": "a.dcm"})
    result = make(name, "{}d", "image")({"image": given, "label": 3})
    assert result["label"] == 3
    assert result["image"].meta["filename_or_obj"] == "a.dcm"
    assert torch.equal(result["image"].as_tensor(), expected)


@each
def test_eight_bits_colour_and_batches(name: str) -> None:
    array = make(name, "{}")
    for shape in ((3, 30, 26), (4, 1, 30, 26), (2, 3, 30, 26)):
        eight = (image(*shape) * 255).round().to(torch.uint8)
        assert array(eight).dtype == torch.uint8
        assert array(image(*shape)).shape == shape
        assert torch.equal(array(image(*shape))[0], array(image(*shape)[0]))


@each
def test_random_versions_repeat_with_their_seed_and_apply_as_often_as_asked(name: str) -> None:
    def run(seed: int, prob: float) -> list[torch.Tensor]:
        transform = make(name, "Rand{}", prob=prob)
        transform.set_random_state(seed)
        return [transform(image()) for _ in range(24)]

    first, again, other = run(0, 0.5), run(0, 0.5), run(1, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    changed = [not torch.equal(result, image()) for result in first]
    assert 4 <= sum(changed) <= 20
    assert changed != [not torch.equal(result, image()) for result in other]
    assert all(torch.equal(result, image()) for result in run(0, 0.0))


@each
def test_a_sample_gets_one_draw_for_all_its_images(name: str) -> None:
    transform = make(name, "Rand{}d", ["image", "other"], prob=0.5)
    transform.set_random_state(3)
    for _ in range(12):
        result = transform({"image": image(), "other": image()})
        assert torch.equal(result["image"], result["other"])


@each
def test_seeded_within_monais_pipelines(name: str) -> None:
    pipeline = Compose([make(name, "Rand{}d", "image", prob=0.5)])
    runs = []
    for seed in (7, 7, 8):
        pipeline.set_random_state(seed=seed)
        runs.append(torch.stack([pipeline({"image": image()})["image"] for _ in range(16)]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_drawn_settings_lie_in_their_range() -> None:
    transform = contrast.RandRadiographGamma(prob=1.0, exponent=(0.5, 2.0))
    transform.set_random_state(0)
    drawn = []
    for _ in range(200):
        result = transform(torch.full((1, 2, 2), 0.5))
        drawn.append(float(torch.log(result[0, 0, 0]) / np.log(0.5)))
    assert 0.5 <= min(drawn) < 0.6
    assert 1.9 < max(drawn) <= 2.0
    fixed = contrast.RandRadiographGamma(prob=1.0, exponent=2.0)
    assert torch.allclose(fixed(torch.full((1, 2, 2), 0.5)), torch.tensor(0.25))


@each
@pytest.mark.parametrize("form", ["{}", "{}d", "Rand{}", "Rand{}d"])
def test_a_configuration_can_name_them_and_see_their_settings(name: str, form: str) -> None:
    made = getattr(FORMS[name], form.format(name))
    names = list(inspect.signature(made).parameters)
    assert names[: form.endswith("d")] == ["keys"] * form.endswith("d")
    assert ("prob" in names) == form.startswith("Rand")
    assert set(inspect.signature(getattr(FORMS[name], name)).parameters) <= set(names)
    config = {"_target_": f"{FORMS[name].__name__}.{form.format(name)}", **GIVEN.get(name, {})}
    config |= {"keys": "image"} if form.endswith("d") else {}
    config |= {"prob": 1.0} if form.startswith("Rand") else {}
    found = ConfigParser({"one": config}).get_parsed_content("one")
    given = {"image": image()} if form.endswith("d") else image()
    result = found(given)
    assert (result["image"] if form.endswith("d") else result).shape == image().shape


BAD: list[tuple[Any, dict[str, Any]]] = [
    (filters.RadiographBlur, {"sigma": 0.0}),
    (filters.RadiographMedian, {"size": 4}),
    (contrast.RadiographGamma, {"exponent": -1.0}),
    (contrast.RandRadiographGamma, {"exponent": (0.0, 1.0)}),
    (contrast.RandRadiographGamma, {"exponent": (2.0, 1.0)}),
    (contrast.RandRadiographClahe, {"clip": (1.0, 4.0), "tiles": 0}),
]


@pytest.mark.parametrize(("made", "settings"), BAD)
def test_wrong_settings_are_refused_when_made(made: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError):
        made(sigmma=1)


def test_wrong_images_are_refused() -> None:
    with pytest.raises(InputError, match="image: must be"):
        contrast.RadiographEqualise()(np.zeros((1, 4, 4), np.int64))
    with pytest.raises(KeyError):
        contrast.RadiographEqualised("image")({"other": image()})
    assert contrast.RadiographEqualised("image", allow_missing_keys=True)({"other": 1}) == {"other": 1}

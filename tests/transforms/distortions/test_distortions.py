"""The distortions as transforms: array equals dictionary, and both equal the function."""

from __future__ import annotations

import inspect
from typing import Any

import monai.transforms
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.distortions import blur, compression, noise, photometric, spatial
from monai_cxraug.transforms.functional.distortions.catalogue import CATALOGUE
from monai_cxraug.transforms.pairs import ImageTransform

FORMS: dict[str, tuple[Any, str]] = {
    name: (module, made.function.__name__)
    for module in (blur, compression, noise, photometric, spatial)
    for name, made in vars(module).items()
    if inspect.isclass(made) and issubclass(made, ImageTransform) and made is not ImageTransform
}
EACH = pytest.mark.parametrize("name", FORMS)


def image(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(3, 30, 33, generator=torch.Generator().manual_seed(1)).to(dtype)


def settings(name: str) -> dict[str, Any]:
    distortion = CATALOGUE[FORMS[name][1]]
    return {distortion.strength: distortion.at(0.4), **({"seed": 7} if distortion.seeded else {})}


def expected(name: str, of: torch.Tensor) -> torch.Tensor:
    distortion = CATALOGUE[FORMS[name][1]]
    return distortion.apply(of, distortion.at(0.4), 7)


def test_every_distortion_has_a_transform_in_the_module_of_its_group() -> None:
    groups = {function: module.__name__.rpartition(".")[2] for module, function in FORMS.values()}
    assert groups == {name: one.group for name, one in CATALOGUE.items()}
    for name, (_, function) in FORMS.items():
        assert name.lower() == "distort" + function.replace("_", "")


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensor_array_and_dictionary_agree(name: str, dtype: torch.dtype) -> None:
    module = FORMS[name][0]
    array = getattr(module, name)(**settings(name))
    dictionary = getattr(module, f"{name}d")("image", **settings(name))
    as_array = array(image(dtype).numpy())
    assert isinstance(as_array, np.ndarray)
    results = (array(image(dtype)), torch.from_numpy(as_array), dictionary({"image": image(dtype)})["image"])
    for result in results:
        assert result.dtype == dtype
        assert torch.equal(result, expected(name, image(dtype)))


@EACH
def test_defaults_change_something_and_can_be_given_by_place(name: str) -> None:
    module = FORMS[name][0]
    strength = CATALOGUE[FORMS[name][1]].at(0.4)
    assert not torch.equal(getattr(module, name)()(image()), image())
    assert torch.equal(
        getattr(module, name)(strength)(image()),
        getattr(module, f"{name}d")("image", strength)({"image": image()})["image"],
    )


@EACH
def test_a_meta_tensor_keeps_all_that_it_knows(name: str) -> None:
    given = MetaTensor(image(), meta={"filename_or_obj": "a.dcm"})
    result = getattr(FORMS[name][0], f"{name}d")("image", **settings(name))({"image": given, "label": 3})
    assert result["label"] == 3
    assert isinstance(result["image"], MetaTensor)
    assert result["image"].meta["filename_or_obj"] == "a.dcm"
    assert torch.equal(result["image"].as_tensor(), expected(name, image()))
    assert torch.equal(given.as_tensor(), image())


@EACH
def test_within_monais_pipelines_and_configurations(name: str) -> None:
    path = f"{FORMS[name][0].__name__}.{name}d"
    config = {"one": {"_target_": path, "keys": ["image", "other"], "allow_missing_keys": True, **settings(name)}}
    made = ConfigParser(config).get_parsed_content("one")
    result = Compose([Flipd("image", 1), made])({"image": image()})
    assert torch.equal(torch.as_tensor(result["image"]), expected(name, image().flip(2)))
    with pytest.raises(KeyError):
        getattr(FORMS[name][0], f"{name}d")("image", **settings(name))({"other": image()})


@EACH
def test_wrong_settings_are_refused_when_made(name: str) -> None:
    distortion = CATALOGUE[FORMS[name][1]]
    for form, keys in ((name, []), (f"{name}d", ["image"])):
        with pytest.raises(ConfigError):
            getattr(FORMS[name][0], form)(*keys, **{distortion.strength: float("nan")})
        with pytest.raises(TypeError):
            getattr(FORMS[name][0], form)(*keys, strengh=1)
        if distortion.seeded:
            with pytest.raises(ConfigError):
                getattr(FORMS[name][0], form)(*keys, seed=-1)


@EACH
def test_wrong_images_are_refused(name: str) -> None:
    transform = getattr(FORMS[name][0], name)(**settings(name))
    with pytest.raises(InputError, match="must be floating point"):
        transform(np.zeros((3, 30, 30), np.int32))


@EACH
def test_names_do_not_clash_with_monais(name: str) -> None:
    assert not hasattr(monai.transforms, name)
    assert not hasattr(monai.transforms, f"{name}d")

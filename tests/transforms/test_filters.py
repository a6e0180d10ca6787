"""The filters as transforms: array equals dictionary, and what comes in goes out as the same kind."""

from __future__ import annotations

from typing import Any

import monai.transforms
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd
from numpy.testing import assert_array_equal

from monai_cxraug.errors import InputError
from monai_cxraug.transforms import filters
from monai_cxraug.transforms.functional.filters import FILTERS

NAMES = {"RadiographBlur": "gaussian", "RadiographUnsharpMask": "unsharp", "RadiographMinimum": "minimum"}
EACH = pytest.mark.parametrize("name", NAMES)


def image(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(1, 14, 11, generator=torch.Generator().manual_seed(1)).to(dtype)


def pair(name: str) -> tuple[Any, Any]:
    return getattr(filters, name)(), getattr(filters, f"{name}d")("image")


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensor_array_and_dictionary_agree(name: str, dtype: torch.dtype) -> None:
    array, dictionary = pair(name)
    expected = FILTERS[NAMES[name]](image(dtype))
    as_tensor, as_array = array(image(dtype)), array(image(dtype).numpy())
    assert type(as_tensor) is torch.Tensor
    assert isinstance(as_array, np.ndarray)
    for result in (as_tensor, torch.from_numpy(as_array), dictionary({"image": image(dtype)})["image"]):
        assert result.dtype == dtype
        assert torch.equal(result, expected)


@EACH
def test_a_meta_tensor_keeps_all_that_it_knows(name: str) -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    given = MetaTensor(image(), affine=affine, meta={"greyscale": "window 1/2 LINEAR", "filename_or_obj": "a.dcm"})
    given.push_applied_operation({"class": "Flip"})
    for result in (pair(name)[0](given), pair(name)[1]({"image": given})["image"]):
        assert isinstance(result, MetaTensor)
        assert result.meta["greyscale"] == "window 1/2 LINEAR"
        assert result.meta["filename_or_obj"] == "a.dcm"
        assert_array_equal(result.affine, affine)
        assert result.applied_operations == given.applied_operations
        assert torch.equal(result.as_tensor(), FILTERS[NAMES[name]](image()))
    assert torch.equal(given.as_tensor(), image())


@EACH
def test_within_monais_pipelines(name: str) -> None:
    pipeline = Compose([Flipd("image", 1), pair(name)[1]])
    sample = {"image": MetaTensor(image()), "label": 3}
    result = pipeline(sample)
    assert result["label"] == 3
    assert torch.equal(result["image"].as_tensor(), FILTERS[NAMES[name]](image().flip(2)))
    assert torch.equal(sample["image"].as_tensor(), image())


@EACH
def test_target_in_a_configuration(name: str) -> None:
    path = f"monai_cxraug.transforms.filters.{name}d"
    config = {"one": {"_target_": path, "keys": ["image", "other"], "allow_missing_keys": True}}
    result = ConfigParser(config).get_parsed_content("one")({"image": image()})
    assert torch.equal(result["image"], FILTERS[NAMES[name]](image()))
    with pytest.raises(KeyError):
        pair(name)[1]({"other": image()})


@EACH
def test_names_do_not_clash_with_monais(name: str) -> None:
    assert not hasattr(monai.transforms, name)
    assert not hasattr(monai.transforms, f"{name}d")


@EACH
def test_what_a_filter_refuses(name: str) -> None:
    with pytest.raises(InputError, match="must be floating point"):
        pair(name)[0](np.zeros((1, 20, 20), np.int32))
    with pytest.raises(InputError, match="must be at least"):
        pair(name)[1]({"image": np.zeros((1, 20, 1), np.float32)})

"""One image as a pack holds it: the same bits as preparing it, from our reader and from another loader's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged
from numpy.testing import assert_array_equal

from monai_cxraug.data.as_packed import AsPacked, AsPackedd
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.monai_reader import RadiographReader
from monai_cxraug.data.pack import Pack
from monai_cxraug.data.prepare import prepare_images
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.contrast import equalise
from tests.data.readers.dicoms import encode, make_dicom, ramp

SIZE = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An inverted image with a window, and pixels twice as high as wide."""
    file = tmp_path / "images" / "x.dcm"
    file.parent.mkdir()
    tags = {"PixelSpacing": [0.4, 0.2], "WindowCenter": 1500, "WindowWidth": 2000}
    file.write_bytes(encode(make_dicom(ramp(0, 4095), PhotometricInterpretation="MONOCHROME1", **tags)))
    return file


def test_same_bits_as_a_prepared_image(path: Path, tmp_path: Path) -> None:
    manifest = prepare_images(str(path.parent), None, SIZE, tmp_path / "out")
    (expected,) = Pack(manifest.parent, read_manifest(manifest)).array
    sample = AsPackedd("image", SIZE)(LoadImaged("image", reader=RadiographReader())({"image": path}))
    assert sample["image"].shape == (1, SIZE, SIZE)
    assert sample["image"].dtype == torch.float32
    assert_array_equal(np.rint(sample["image"][0].numpy() * 65535), expected)


def test_contrast_comes_last() -> None:
    image = torch.rand(24, 24, generator=torch.Generator().manual_seed(0))
    assert_array_equal(AsPacked(SIZE, "equalise")(image), equalise(AsPacked(SIZE)(image)))


def test_metadata_stay() -> None:
    image = MetaTensor(torch.rand(20, 10), affine=torch.eye(4), meta={"greyscale": "full range"})
    packed = AsPacked(SIZE)(image)
    assert isinstance(packed, MetaTensor)
    assert packed.meta["greyscale"] == "full range"
    assert (packed[0, :, :4] == 0).all()  # twice as high as wide: black on both sides
    assert (packed[0, :, -4:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 3), (8,)])
def test_one_grey_picture_only(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must be one grey picture \[H, W\]"):
        AsPacked(SIZE)(torch.zeros(shape))


def test_contrast_must_be_known() -> None:
    with pytest.raises(ConfigError, match="equalise"):
        AsPacked(SIZE, "equalize")

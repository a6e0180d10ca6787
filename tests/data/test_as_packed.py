"""One image as a pack holds it: the same bits as preparing it, from our reader and from another loader's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged
from numpy.testing import assert_array_equal
from PIL import Image

from monai_cxraug.data.as_packed import AsPacked, AsPackedd
from monai_cxraug.data.datasets import PackDataset
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


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture in colour, twice as high as wide, with pixels of three values."""
    file = tmp_path / "pictures" / "x.png"
    file.parent.mkdir()
    samples = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(samples).save(file)
    return file


@pytest.mark.parametrize("contrast", [None, "equalise"])
def test_same_bits_as_a_picture_prepared_in_colour(picture: Path, tmp_path: Path, contrast: str | None) -> None:
    manifest = prepare_images(str(picture.parent), None, SIZE, tmp_path / "out", channels=3)
    expected = PackDataset(manifest, contrast=contrast)[0]["image"]
    chain = AsPackedd("image", SIZE, contrast, channels=3)
    sample = chain(LoadImaged("image", reader=RadiographReader(colour=True))({"image": picture}))
    assert sample["image"].shape == (3, SIZE, SIZE)
    assert_array_equal(sample["image"].numpy(), expected.numpy())


def test_a_grey_picture_is_shown_in_three_channels() -> None:
    image = torch.rand(24, 24, generator=torch.Generator().manual_seed(0))
    packed = AsPacked(SIZE, channels=3)(image)
    assert packed.shape == (3, SIZE, SIZE)
    assert_array_equal(packed[0], packed[2])
    assert (packed[1] - AsPacked(SIZE)(image)[0]).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 4), (8,), (1, 8, 8, 3)])
def test_one_picture_in_colour_only(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"one in colour \[H, W, 3\]"):
        AsPacked(SIZE, channels=3)(torch.zeros(shape))


def test_contrast_must_be_known() -> None:
    with pytest.raises(ConfigError, match="equalise"):
        AsPacked(SIZE, "equalize")

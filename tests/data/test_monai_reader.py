"""Our reader inside MONAI's loader: upright float32, and nothing that names a person in the metadata."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, Resized
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from monai_cxraug.data.monai_reader import RadiographReader
from monai_cxraug.data.readers import DicomPolicy, read_radiograph
from monai_cxraug.errors import ConfigError, InputError
from tests.data.readers.dicoms import encode, make_dicom, ramp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "흉부 x.dcm"
    tags = {"PatientSex": "F", "PatientAge": "071Y", "ViewPosition": "PA", "PixelSpacing": [0.4, 0.2]}
    file.write_bytes(encode(make_dicom(ramp(0, 4095), PhotometricInterpretation="MONOCHROME1", **tags)))
    return file


def test_a_dicom_file_inside_the_loader(path: Path) -> None:
    expected = read_radiograph(path)
    sample = LoadImaged("image", reader=RadiographReader(), image_only=True)({"image": path})
    image = sample["image"]
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert_array_equal(image.numpy(), expected.pixels)  # rows are rows
    assert image.meta["original_channel_dim"] == "no_channel"
    assert image.meta["filename_or_obj"] == str(path)
    assert_array_equal(image.meta["spatial_shape"], expected.stored.shape)
    assert_allclose(image.affine.numpy(), np.diag([0.4, 0.2, 1, 1]))
    assert (image.meta["greyscale"], image.meta["bits"]) == (expected.greyscale, 12)
    assert {name: image.meta[name] for name in expected.tags} == {"view": "PA", "sex": "F", "age": "71"}
    text = str(image.meta).replace(str(path), "")
    assert not any(word in text for word in ("Nobody", "Anna", "4711", "19010203"))


def test_a_picture_in_colour_inside_the_loader(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    Image.fromarray(samples).save(tmp_path / "x.png")
    image = LoadImage(reader=RadiographReader(colour=True), image_only=True)(tmp_path / "x.png")
    assert_allclose(image.numpy(), samples / 255, atol=1e-7)
    assert (image.meta["original_channel_dim"], image.meta["greyscale"]) == (-1, "colour")
    assert_array_equal(image.meta["spatial_shape"], [12, 9])
    first = LoadImage(reader=RadiographReader(colour=True), image_only=True, ensure_channel_first=True)
    assert_array_equal(first(tmp_path / "x.png").numpy(), np.moveaxis(image.numpy(), 2, 0))
    grey = LoadImage(reader=RadiographReader(), image_only=True)(tmp_path / "x.png")
    assert grey.shape == (12, 9)


@pytest.mark.parametrize("reader", [RadiographReader, RadiographReader()])
def test_a_chain_of_monai_with_workers(reader: object, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "y.png"
    Image.fromarray(ramp(0, 255).astype(np.uint8)).save(other)
    chain = Compose(
        [
            LoadImaged("image", reader=reader, image_only=True),
            EnsureChannelFirstd("image"),
            Resized("image", (16, 16)),
        ]
    )
    loader = DataLoader(Dataset([{"image": str(path)}, {"image": str(other)}], chain), batch_size=2, num_workers=1)
    (batch,) = list(loader)
    assert batch["image"].shape == (2, 1, 16, 16)


def test_every_format_is_offered(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(ramp(0, 99).T.astype(np.int16), np.diag([-1, -1, 1, 1])), tmp_path / "x.nii.gz")
    Image.fromarray(ramp(0, 99).astype(np.uint16)).save(tmp_path / "x.tif")
    reader = RadiographReader()
    for name in ("x.nii.gz", "x.tif"):
        assert reader.verify_suffix(tmp_path / name)
        assert LoadImage(reader=reader, image_only=True)(tmp_path / name).shape == ramp(0, 9).shape
    assert reader.verify_suffix("study/IM0001")
    assert reader.verify_suffix(["a.DCM", "b.png"])
    assert not reader.verify_suffix(["a.dcm", "b.txt"])


def test_several_files_are_channels(path: Path) -> None:
    image = LoadImage(reader=RadiographReader(), image_only=True, ensure_channel_first=True)([path, path])
    assert_array_equal(image.numpy(), np.stack([read_radiograph(path).pixels] * 2))


def test_the_policy_decides(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(encode(make_dicom(ramp(0, 9), BodyPartExamined="HAND")))
    for reader in (RadiographReader({"body_part": "keep"}), RadiographReader(DicomPolicy.keep_all())):
        assert LoadImage(reader=pickle.loads(pickle.dumps(reader)), image_only=True)(path).shape == ramp(0, 9).shape
    with pytest.raises(InputError, match="found HAND"):
        LoadImage(reader=RadiographReader(), image_only=True)(path)
    # one of MONAI's own readers is not asked instead
    (tmp_path / "broken.nii").write_bytes(b"\0" * 400)
    with pytest.raises(InputError, match="another kind of file"):
        LoadImage(reader=RadiographReader(), image_only=True)(tmp_path / "broken.nii")
    with pytest.raises(ConfigError, match="keep"):
        RadiographReader({"body_part": "yes"})

"""The greyscale transform: what a client's own loader gives becomes what our reader gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, PydicomReader
from monai.transforms import LoadImage
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.dataset import FileDataset
from pydicom.filereader import dcmread

from monai_cxraug.data.monai_reader import RadiographReader
from monai_cxraug.data.readers import DicomPolicy
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.greyscale import RadiographGreyscale, RadiographGreyscaled
from tests.data.readers.dicoms import encode, make_dicom, ramp, read, table

GREY = {"PhotometricInterpretation": "MONOCHROME2"}
FILES: dict[str, Any] = {
    "window": lambda: make_dicom(ramp(0, 4095), WindowCenter=2000, WindowWidth=3000),
    "several windows": lambda: make_dicom(ramp(0, 4095), WindowCenter=[2000, 1], WindowWidth=[3000, 2]),
    "sigmoid": lambda: make_dicom(ramp(0, 4095), WindowCenter=2000, WindowWidth=900, VOILUTFunction="SIGMOID"),
    "percentiles": lambda: make_dicom(ramp(-900, 3000, "int16"), 16),
    "inverted": lambda: make_dicom(ramp(0, 4095), PhotometricInterpretation="MONOCHROME1"),
    "rescale": lambda: make_dicom(
        ramp(0, 4095), RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=800, WindowWidth=900
    ),
    "table": lambda: make_dicom(ramp(0, 4095), VOILUTSequence=table([k * k // 1024 for k in range(1024)], 800, 10)),
    "padding": lambda: make_dicom(
        ramp(0, 4095), PixelPaddingValue=0, PixelPaddingRangeLimit=900, RescaleSlope=2, RescaleIntercept=-7
    ),
}


def spelt(dataset: FileDataset, spelling: str) -> dict[str, Any]:
    """The attributes as different loaders spell them."""
    document = dataset.to_json_dict()
    document.pop("7FE00010")
    if spelling == "json":
        return dict(document)
    if spelling == "keywords":
        return {
            element.keyword: element.value if element.VM == 1 or element.VR == "SQ" else list(element.value)
            for element in dataset
            if element.keyword != "PixelData"
        }
    return {
        f"{tag[:4]}|{tag[4:]}".lower(): "\\".join(map(str, value["Value"]))
        for tag, value in document.items()
        if value.get("Value") and value["vr"] not in ("SQ", "PN")
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spelling", ["json", "keywords", "itk"])
@pytest.mark.parametrize("stage", ["stored", "modality"])
def test_stripped_of_the_loader_the_picture_is_the_same(name: str, spelling: str, stage: Any) -> None:
    if name == "table" and spelling == "itk":
        pytest.skip("this loader keeps no sequences")
    dataset = FILES[name]()
    expected = read(dataset)
    pixels = dcmread(io.BytesIO(encode(dataset))).pixel_array
    if stage == "modality":
        pixels = pixels * dataset.get("RescaleSlope", 1.0) + dataset.get("RescaleIntercept", 0.0)
    shown = RadiographGreyscale(stage)(pixels, spelt(dataset, spelling))
    assert isinstance(shown, np.ndarray)
    assert shown.dtype == np.float32
    assert_array_equal(shown, expected.pixels)


@pytest.mark.parametrize("name", FILES)
def test_after_monais_own_reader(name: str, tmp_path: Path) -> None:
    dataset, path = FILES[name](), tmp_path / "x.dcm"
    path.write_bytes(encode(dataset))
    loaded = LoadImage(image_only=True)(path, reader=PydicomReader(swap_ij=False, prune_metadata=False))
    shown = RadiographGreyscale()(loaded)
    expected = LoadImage(reader=RadiographReader(), image_only=True)(path)
    assert isinstance(shown, MetaTensor)
    assert shown.dtype == torch.float32
    assert_allclose(shown.numpy(), expected.numpy(), atol=1e-6)  # MONAI rescales in single precision
    assert shown.meta["greyscale"].split(" ")[0] == expected.meta["greyscale"].split(" ")[0]


@pytest.mark.slow
def test_real_files_after_monais_own_reader(data_root: Path) -> None:
    seen = 0
    for path in sorted((data_root / "dicom").glob("*.dcm")):
        try:
            expected = LoadImage(reader=RadiographReader(DicomPolicy.keep_all()), image_only=True)(path)
            loaded = LoadImage(image_only=True)(path, reader=PydicomReader(swap_ij=False, prune_metadata=False))
        except (RuntimeError, ValueError, AttributeError, TypeError, KeyError):
            continue
        if loaded.ndim != 2 or expected.meta["greyscale"] in ("palette", "luma") or "mlut" in path.name:
            continue  # MONAI's reader shows indices and colours as they are, and knows no modality table
        seen += 1
        assert_allclose(RadiographGreyscale()(loaded).numpy(), expected.numpy(), atol=2e-6, err_msg=path.name)
    assert seen >= 8


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, MetaTensor])
def test_an_image_that_is_done_stays(kind: Any) -> None:
    image = kind(np.linspace(0, 3, 12, dtype=np.float32).reshape(3, 4))
    assert RadiographGreyscale()(image, {"greyscale": "window 1/2 LINEAR"}) is image


def test_twice_is_once(tmp_path: Path) -> None:
    window = {name: {"vr": "DS", "Value": [value]} for name, value in (("00281050", 40), ("00281051", 50))}
    image = MetaTensor(torch.arange(100.0).reshape(10, 10), meta={**window, **GREY})
    once = RadiographGreyscale()(image)
    assert once.meta["greyscale"] == "window 40/50 LINEAR"
    assert "greyscale" not in image.meta
    assert RadiographGreyscale()(once) is once


def test_the_dictionary_version_is_the_array_version() -> None:
    pixels = ramp(0, 4095).astype(np.float32)
    metadata = {"WindowCenter": 100, "WindowWidth": 3000, "PhotometricInterpretation": "MONOCHROME1"}
    expected = RadiographGreyscale()(pixels, metadata)
    sample = {"image": pixels, "image_meta_dict": metadata, "label": 1}
    result = RadiographGreyscaled(["image", "other"], allow_missing_keys=True)(sample)
    assert_array_equal(result["image"], expected)
    assert sample["image"] is pixels
    tensor = MetaTensor(pixels, meta=metadata)
    assert_array_equal(RadiographGreyscaled("image")({"image": tensor})["image"].numpy(), expected)
    channels = RadiographGreyscale()(torch.as_tensor(pixels)[None], metadata)
    assert_array_equal(channels.numpy(), np.asarray(expected)[None])


def test_black_is_never_guessed() -> None:
    for metadata in ({}, {"WindowCenter": 5, "WindowWidth": 9}, {"PhotometricInterpretation": "RGB"}):
        with pytest.raises(InputError, match="MONOCHROME1 or MONOCHROME2"):
            RadiographGreyscale()(ramp(0, 4095), metadata)
    bright, dark = (RadiographGreyscale(photometric=kind)(ramp(0, 4095), {}) for kind in ("MONOCHROME2", "MONOCHROME1"))
    assert_allclose(bright, 1 - np.asarray(dark), atol=1e-7)
    with pytest.raises(ConfigError, match="MONOCHROME1"):
        RadiographGreyscale(photometric="MONOCHROM1")  # type: ignore[arg-type]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="stored"):
        RadiographGreyscale("store")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="flat"):
        RadiographGreyscale()(ramp(0, 4095), {"WindowCenter": -900, "WindowWidth": 10, **GREY})
    with pytest.raises(InputError, match="WindowWidth"):
        RadiographGreyscale()(ramp(0, 4095), {"WindowCenter": -900, "WindowWidth": 0, **GREY})

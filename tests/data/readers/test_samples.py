"""Every real DICOM sample: its expected outcome, and its pixels against pydicom's own functions and itk."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.filereader import dcmread
from pydicom.pixels import apply_modality_lut, apply_windowing

from monai_cxraug.data.readers import DicomPolicy, Radiograph, read_radiograph
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import KEEP


@dataclass(frozen=True)
class Expected:
    """What becomes of a sample.

    Args:
        greyscale: how it is shown; empty where it is refused under every policy.
        shape: of the picture.
        bits: stored a pixel.
        crc: CRC-32 of the stored words.
        refused: words of the refusal: under every policy where there is no picture, else under the default one.
    """

    greyscale: str = ""
    shape: tuple[int, int] = (0, 0)
    bits: int = 0
    crc: int = 0
    refused: tuple[str, ...] = ()


_NO_PIXELS = Expected(refused=("needs pixel data", "none"))
_RG3 = "window 550/1024 LINEAR, inverted"
_HIP, _EXTREMITY, _BODY = ("chest", "HIP"), ("chest", "EXTREMITY"), ("chest", "WHOLE BODY")

OUTCOMES = {
    "broken__DICOMDIR-empty.dcm": _NO_PIXELS,
    "broken__ExplVR_LitEndNoMeta.dcm": _NO_PIXELS,  # read without its file meta, and no image
    "broken__J2K_pixelrep_mismatch.dcm": Expected(
        "window 40/100 LINEAR", (512, 512), 13, 1936447686, ("chest", "HEAD")
    ),
    "broken__UN_sequence.dcm": _NO_PIXELS,
    "broken__empty_charset_LEI.dcm": _NO_PIXELS,
    "broken__meta_missing_tsyntax.dcm": Expected(refused=("PhotometricInterpretation",)),  # two bytes of pixel data
    "broken__no_meta.dcm": Expected(refused=("another kind of file",)),  # a byte was put in front of it
    "broken__rtplan.dcm": _NO_PIXELS,
    "broken__rtplan_truncated.dcm": _NO_PIXELS,
    "chest__RG1_J2KI.dcm": Expected("window 15000/30000 LINEAR, inverted", (1955, 1841), 15, 3629716489),
    "cr__JPEG2KLossless_1s_1f_u_16_16.dcm": Expected(refused=("window 2725/5310 LINEAR", "flat")),
    "cr__RG2_JLSL.dcm": Expected("window 511/1024 LINEAR", (2140, 1760), 10, 4095870615, _HIP),
    "cr__RG2_JPLY.dcm": Expected("window 511/1024 LINEAR", (2140, 1760), 10, 3345779750, _HIP),
    "cr__RG2_JPLY_fixed.dcm": Expected("window 511/1024 LINEAR", (2140, 1760), 10, 3345779750, _HIP),
    "cr__RG3_J2KI.dcm": Expected(_RG3, (1760, 1760), 10, 2421118909, _EXTREMITY),
    "cr__RG3_JLSL.dcm": Expected(_RG3, (1760, 1760), 10, 2084517428, _EXTREMITY),
    "cr__RG3_JPLL.dcm": Expected(_RG3, (1760, 1760), 10, 2084517428, _EXTREMITY),
    "cr__RG3_JPLY.dcm": Expected(_RG3, (1760, 1760), 10, 4055037987, _EXTREMITY),
    "cr__RG3_RLE.dcm": Expected(_RG3, (1760, 1760), 10, 2084517428, _EXTREMITY),
    # its look-up tables are empty
    "lut__JPEGLosslessP14SV1_1s_1f_u_16_16.dcm": Expected("percentiles 2056..54998", (535, 800), 16, 345687822),
    "lut__mlut_18.dcm": Expected("percentiles 0..65535", (512, 512), 12, 3026249592),
    "other__CT_small.dcm": Expected("percentiles -861..785", (128, 128), 16, 2126523256),
    "other__JPEG-lossy.dcm": Expected("percentiles 0..112", (1024, 256), 12, 1369335493, _BODY),
    "other__JPEG2000.dcm": Expected("percentiles -8..102", (1024, 256), 16, 2923584017, _BODY),
    "other__JPGExtended.dcm": Expected("percentiles 0..112", (1024, 256), 12, 1369335493, _BODY),
    "other__MR_small_bigendian.dcm": Expected("window 600/1600 LINEAR", (64, 64), 16, 638863772),
    "other__MR_small_jp2klossless.dcm": Expected("window 600/1600 LINEAR", (64, 64), 16, 638863772),
    "other__MR_small_jpeg_ls_lossless.dcm": Expected("window 600/1600 LINEAR", (64, 64), 16, 638863772),
    "other__SC_rgb_jpeg_dcmtk.dcm": Expected("luma", (100, 100), 8, 2209060238),
    "other__examples_palette.dcm": Expected("palette", (350, 800), 8, 2653087017),
    "other__examples_ybr_color.dcm": Expected("luma", (240, 320), 8, 3737010882, ("one frame", "30 frames")),
    "other__parametric_map_float.dcm": Expected(refused=("BitsAllocated", "32")),
}
IMAGES = [name for name, expected in OUTCOMES.items() if expected.greyscale]


def sample(data_root: Path, name: str, policy: DicomPolicy = KEEP) -> Radiograph:
    try:
        return read_radiograph(data_root / "dicom" / name, policy=policy)
    except InputError as error:
        if "needs a decoder" in str(error):
            pytest.skip(str(error))
        raise


def test_the_table_names_every_sample(data_root: Path) -> None:
    assert sorted(path.name for path in (data_root / "dicom").glob("*.dcm")) == sorted(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_sample_has_its_expected_outcome(name: str, data_root: Path, refuses) -> None:
    expected = OUTCOMES[name]
    if not expected.greyscale:
        for policy in (KEEP, DicomPolicy()):
            with refuses(InputError, name, *expected.refused):
                read_radiograph(data_root / "dicom" / name, policy=policy)
        return
    result = sample(data_root, name)
    assert (result.greyscale, result.stored.shape, result.bits) == (expected.greyscale, expected.shape, expected.bits)
    assert zlib.crc32(result.stored.tobytes()) == expected.crc
    assert 0 <= result.pixels.min() < result.pixels.max() <= 1
    if expected.refused:
        with refuses(InputError, name, *expected.refused):
            read_radiograph(data_root / "dicom" / name)
    else:
        assert_array_equal(sample(data_root, name, DicomPolicy()).stored, result.stored)


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_pydicoms(name: str, data_root: Path) -> None:
    """Stored values, modality and window by pydicom; percentiles by numpy; colour by pydicom's own conversion."""
    dataset = dcmread(data_root / "dicom" / name)
    try:
        stored = dataset.pixel_array
    except (RuntimeError, AttributeError) as error:
        pytest.skip(f"pydicom has no decoder: {type(error).__name__}")
    result = sample(data_root, name)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colour = apply_color_lut(stored, dataset)
        expected = colour @ [0.299, 0.587, 0.114] / np.iinfo(colour.dtype).max
        assert_allclose(result.pixels, expected, atol=1e-6)
        return
    if dataset.SamplesPerPixel == 3:
        colour = stored if stored.ndim == 3 else stored[0]
        # pydicom gives RGB, rounded and clipped, of the Y that we show
        difference = np.abs(result.pixels - colour @ [0.299, 0.587, 0.114] / 255)
        assert np.quantile(difference, 0.999) < 2.5 / 255
        assert difference.max() < 8 / 255
        return
    tables = dataset.get("ModalityLUTSequence")
    if tables and tables[0].LUTDescriptor is None:
        del dataset.ModalityLUTSequence, dataset.RescaleSlope, dataset.RescaleIntercept  # all of them empty
    values = apply_modality_lut(stored, dataset).astype(np.float64)
    if dataset.get("WindowCenter") is not None:
        # pydicom scales to the range of the stored bits
        shown = apply_windowing(values, dataset)
        bits, slope = dataset.BitsStored, dataset.get("RescaleSlope") or 1
        bottom = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        expected = (shown - bottom * slope) / ((2**bits - 1) * slope)
    else:
        padding = dataset.get("PixelPaddingValue")
        kept = values if padding is None else values[stored != padding]
        low, high = np.percentile(kept, [0.5, 99.5])
        expected = np.clip((values - low) / (high - low), 0, 1)
        expected[stored == padding] = 0
    expected = 1 - expected if dataset.PhotometricInterpretation == "MONOCHROME1" else expected
    assert_allclose(result.pixels, np.clip(expected, 0, 1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in IMAGES if OUTCOMES[name].greyscale not in ("luma", "palette")])
def test_stored_values_are_itks(name: str, data_root: Path) -> None:
    itk = pytest.importorskip("itk")
    dataset = dcmread(data_root / "dicom" / name)
    if dataset.get("ModalityLUTSequence"):
        pytest.skip("itk does not apply this table")
    result = sample(data_root, name)
    mask = (1 << result.bits) - 1
    values = itk.array_from_image(itk.imread(str(data_root / "dicom" / name))).squeeze()
    stored = (values - float(dataset.get("RescaleIntercept", 0))) / float(dataset.get("RescaleSlope", 1))
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # itk inverts the stored values
        stored = mask - stored
    different = stored.astype(np.int64) & mask != result.stored & mask
    # itk wraps what a lossy stream has beyond the stored bits; we keep it bright
    assert not (different & (result.stored <= mask)).any()


#: Reads every sample where some packages are not installed, and prints its outcome.
_HIDING = """
import json, sys, zlib
from pathlib import Path
for name in sys.argv[2].split(","):
    sys.modules[name] = None
from monai_cxraug.data.readers import DicomPolicy, read_radiograph
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.dcm")):
    try:
        result = read_radiograph(path, path.name, DicomPolicy.keep_all())
        found[path.name] = zlib.crc32(result.stored.tobytes()), zlib.crc32(result.table.tobytes())
    except ValueError as error:
        found[path.name] = str(error)
print(json.dumps(found))
"""
#: packages to hide, and samples that then have no decoder
HIDDEN = {
    "itk": 0,
    "imagecodecs": 0,
    "gdcm": 0,
    "pylibjpeg,openjpeg,rle,jpeg_ls,libjpeg": 0,
    "imagecodecs,gdcm,pylibjpeg,openjpeg,rle,jpeg_ls,libjpeg": 0,
    "imagecodecs,gdcm,pylibjpeg,openjpeg,rle,jpeg_ls,libjpeg,itk": 13,
}


def outcomes(data_root: Path, hidden: str) -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", _HIDING, str(data_root / "dicom"), hidden],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    result: dict[str, object] = json.loads(run.stdout)
    return result


@pytest.fixture(scope="module")
def everything(data_root: Path) -> dict[str, object]:
    for name in ("imagecodecs", "gdcm", "itk", "openjpeg"):
        pytest.importorskip(name)
    return outcomes(data_root, "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_same_pixels_whichever_packages_are_installed(hidden: str, data_root: Path, everything: dict) -> None:
    found = outcomes(data_root, hidden)
    lacking = [name for name, outcome in found.items() if "needs a decoder" in str(outcome)]
    assert len(lacking) == HIDDEN[hidden], lacking
    assert {name: found[name] for name in found if name not in lacking} == {
        name: everything[name] for name in found if name not in lacking
    }

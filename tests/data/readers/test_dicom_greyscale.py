"""The greyscale of DICOM files against pydicom's own functions in float64, element by element."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import SHAPE, encode, make_dicom, ramp, read, table

STORED = {
    "8 bit": (ramp(3, 250, "uint8"), 8),
    "12 bit": (ramp(7, 4090), 12),
    "16 bit": (ramp(0, 65535), 16),
    "12 bit signed": (ramp(-2048, 2047, "int16"), 12),
    "16 bit signed": (ramp(-32768, 32767, "int16"), 16),
}


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("rescale", [None, (1.0, 0.0), (0.5, -100.0), (2.0, 37.25)])
def test_windows_are_pydicoms(kind: str, function: str, rescale: tuple[float, float] | None) -> None:
    stored, bits = STORED[kind]
    values = stored.astype(np.float64)
    attributes: dict[str, Any] = {}
    if rescale:
        values = values * rescale[0] + rescale[1]
        attributes = {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    low, high = np.percentile(values, [20, 90])
    centre, width = round((low + high) / 2, 1), round(high - low, 1)
    dataset = make_dicom(stored, bits, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function, **attributes)
    shown = apply_windowing(apply_modality_lut(stored.astype(np.float64), dataset), dataset)
    bottom = -(2.0 ** (bits - 1)) if stored.dtype.kind == "i" else 0.0
    top = bottom + 2.0**bits - 1
    if rescale:
        bottom, top = bottom * rescale[0] + rescale[1], top * rescale[0] + rescale[1]
    result = read(dataset)
    assert result.pixels.dtype == np.float32
    assert result.bits == bits
    assert result.greyscale == f"window {centre:g}/{width:g} {function}"
    assert_allclose(result.pixels, (shown - bottom) / (top - bottom), atol=2e-7)


def test_a_width_of_one_is_a_threshold() -> None:
    stored = ramp(90, 110)
    dataset = make_dicom(stored, WindowCenter=100.5, WindowWidth=1)
    assert_array_equal(read(dataset).pixels, apply_windowing(stored.astype(np.float64), dataset) > 0)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"WindowWidth": 0.5}, ("WindowWidth", "LINEAR", "0.5")),
        ({"WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, ("WindowWidth", "LINEAR_EXACT")),
        ({"WindowWidth": 10, "VOILUTFunction": "GAMMA"}, ("VOILUTFunction", "SIGMOID")),
    ],
)
def test_a_window_that_must_not_be_guessed_names_the_file(refuses, attributes, words) -> None:
    with refuses(InputError, "x.dcm", *words):
        read(make_dicom(ramp(0, 4095), WindowCenter=5, **attributes))


def test_a_window_beside_every_value_is_refused(refuses) -> None:
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        with refuses(InputError, "x.dcm", "window -500/100 LINEAR", "flat"):
            read(make_dicom(ramp(0, 4095), WindowCenter=-500, WindowWidth=100, PhotometricInterpretation=kind))


def test_the_first_of_several_windows_counts() -> None:
    one = read(make_dicom(ramp(0, 4095), WindowCenter=1000, WindowWidth=500))
    several = read(make_dicom(ramp(0, 4095), WindowCenter=[1000, 40], WindowWidth=[500, 80]))
    assert_array_equal(one.pixels, several.pixels)
    assert several.greyscale == "window 1000/500 LINEAR"


@pytest.mark.parametrize("empty", [{"WindowCenter": None, "WindowWidth": None}, {"WindowCenter": 5}, {}])
def test_percentiles_stand_in_for_an_absent_window(empty) -> None:
    stored = ramp(100, 4000)
    result = read(make_dicom(stored, **empty))
    low, high = np.percentile(stored.astype(np.float64), [0.5, 99.5])
    assert_allclose(result.pixels, np.clip((stored - low) / (high - low), 0, 1), atol=1e-7)
    assert result.greyscale.startswith("percentiles ")


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 7, "WindowWidth": 10}])
def test_a_picture_of_one_grey_is_refused(window: dict, refuses) -> None:
    with refuses(InputError, "x.dcm", "flat"):
        read(make_dicom(np.full(SHAPE, 7, dtype=np.uint16), **window))
    with refuses(InputError, "x.dcm", "flat"):  # nothing but padding
        read(make_dicom(np.full(SHAPE, 7, dtype=np.uint16), PixelPaddingValue=7, **window))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("first", [0, 500, -300])
def test_voi_tables_are_pydicoms(bits: int, first: int) -> None:
    entries = (np.linspace(0, 1, 1000) ** 2 * (2**bits - 1)).astype(int).tolist()
    stored = ramp(-2048, 2047, "int16") if first < 0 else ramp(0, 4095)
    # a window beside the table, which comes first
    dataset = make_dicom(stored, WindowCenter=1, WindowWidth=2, VOILUTSequence=table(entries, first, bits))
    result = read(dataset)
    assert result.greyscale == "VOI LUT"
    assert_allclose(result.pixels, apply_voi(stored.astype(np.int64), dataset) / (2**bits - 1), atol=1e-7)


@pytest.mark.parametrize("packed", [False, True])
def test_a_voi_table_of_8_bits_serves_12_bit_pixels(packed: bool) -> None:
    """pydicom's own index is of the entries' type here, and overflows."""
    entries = (np.arange(4096) // 16).astype(np.uint8)
    tables = table(entries.tolist(), 0, 8)
    if packed:
        tables[0].LUTData = entries.tobytes()
    stored = ramp(0, 4095)
    assert_allclose(read(make_dicom(stored, VOILUTSequence=tables)).pixels, (stored // 16) / 255, atol=1e-7)


def test_a_modality_table_is_pydicoms() -> None:
    stored = ramp(0, 4095)
    dataset = make_dicom(stored, ModalityLUTSequence=table(list(range(5000, 1000, -1)), 48, 16))
    values = apply_modality_lut(stored, dataset).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    assert_allclose(read(dataset).pixels, np.clip((values - low) / (high - low), 0, 1), atol=1e-7)


def test_a_rescale_comes_before_the_voi_table() -> None:
    stored, entries = ramp(0, 4095), list(range(1024))
    dataset = make_dicom(stored, RescaleSlope=0.25, RescaleIntercept=-3, VOILUTSequence=table(entries, 0, 10))
    expected = np.clip(np.rint(stored * 0.25 - 3), 0, 1023) / 1023
    assert_allclose(read(dataset).pixels, expected, atol=1e-7)


@pytest.mark.parametrize("bits", [0, 17])
def test_a_table_without_a_depth_is_refused(refuses, bits: int) -> None:
    with refuses(InputError, "x.dcm", "LUTDescriptor", bits):
        read(make_dicom(ramp(0, 9), VOILUTSequence=table([1, 2], 0, bits)))


def test_monochrome1_is_inverted() -> None:
    stored = ramp(0, 4095)
    dense = read(make_dicom(stored, WindowCenter=2048, WindowWidth=4096))
    inverted = read(make_dicom(stored, WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1"))
    assert_allclose(inverted.pixels, 1 - dense.pixels, atol=1e-7)
    assert inverted.greyscale == f"{dense.greyscale}, inverted"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("limit", [None, 1, -1])
def test_padding_is_black_and_leaves_the_percentiles_alone(photometric: str, dtype: str, limit: int | None) -> None:
    stored = ramp(100, 2000, dtype)
    bare = read(make_dicom(stored[1:], PhotometricInterpretation=photometric))
    value = -2000 if dtype == "int16" else 4000
    stored[0] = value
    attributes = {"PixelPaddingValue": value}
    if limit:
        stored[0, 0] = value + limit
        attributes["PixelPaddingRangeLimit"] = value + limit
    padded = read(make_dicom(stored, PhotometricInterpretation=photometric, **attributes))
    assert_array_equal(padded.pixels[0], 0)
    assert_array_equal(padded.pixels[1:], bare.pixels)
    assert padded.greyscale == bare.greyscale


def test_empty_attributes_are_absent_ones() -> None:
    stored = ramp(0, 4095)
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "VOILUTFunction")
    hollow = Dataset()
    hollow.add_new("LUTDescriptor", "US", None)
    for tables in (Sequence([]), Sequence([hollow])):
        dataset = make_dicom(stored, VOILUTSequence=tables, ModalityLUTSequence=tables, **dict.fromkeys(names))
        assert_array_equal(read(dataset).pixels, read(make_dicom(stored)).pixels)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_bits_above_the_stored_ones_mean_nothing(dtype: str) -> None:
    stored = ramp(0, 4095) if dtype == "uint16" else ramp(-2048, 2047, "int16")
    clean = make_dicom(stored, WindowCenter=1000, WindowWidth=1500)
    dirty = make_dicom(stored ^ np.array(0x3000, dtype=dtype), WindowCenter=1000, WindowWidth=1500)
    assert_array_equal(read(dirty).pixels, read(clean).pixels)


# --- where values lie


@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_values_may_lie_anywhere_in_a_word(dtype: str, high_bit: int) -> None:
    stored = ramp(0, 4095) if dtype == "uint16" else ramp(-2048, 2047, "int16")
    shifted = (stored.astype(np.int64) << high_bit - 11).astype(dtype)
    clean = read(make_dicom(stored, WindowCenter=300, WindowWidth=3000))
    moved = read(make_dicom(shifted, WindowCenter=300, WindowWidth=3000, HighBit=high_bit))
    assert_array_equal(moved.pixels, clean.pixels)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", "ui")
def test_the_table_serves_every_word_that_can_be(bits: int, kind: str) -> None:
    dtype = f"{kind}{1 if bits == 8 else 2}"
    low, high = (0, 2**bits - 1) if kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    result = read(make_dicom(ramp(low, high, dtype), bits, WindowCenter=(low + high + 1) / 2, WindowWidth=2**bits))
    assert len(result.table) == 2 ** (8 * result.stored.itemsize)
    assert result.table.dtype == np.float32
    words = np.arange(len(result.table)) & (2**bits - 1)
    values = np.where(words > high, words - 2**bits, words)
    assert_allclose(result.table, (values - low) / (high - low), atol=1e-6)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", "ui")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_native_pixels_come_back_exactly(syntax: UID, bits: int, kind: str, photometric: str) -> None:
    low, high = (0, 2**bits) if kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    dtype = np.dtype(f"{kind}{1 if bits == 8 else 2}")
    stored = np.random.default_rng(bits).integers(low, high, (13, 17)).astype(dtype)
    dataset = make_dicom(stored, bits, syntax, PhotometricInterpretation=photometric, RescaleIntercept=3)
    result = read(dataset)
    assert_array_equal(result.stored.view(dtype), stored)
    values = stored.astype(np.float64) + 3
    low, high = np.percentile(values, [0.5, 99.5])
    shown = np.clip((values - low) / (high - low), 0, 1)
    assert_allclose(result.pixels, shown if photometric == "MONOCHROME2" else 1 - shown, atol=1e-7)
    assert_array_equal(dcmread(io.BytesIO(encode(dataset))).pixel_array, stored)  # pydicom agrees


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_dicom_is_the_right_way_up(syntax: UID) -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 4096, SHAPE, dtype=np.uint16)
    stored[0, 0], stored[-1, -1] = 0, 4095
    dataset = make_dicom(stored, syntax=syntax, WindowCenter=2048, WindowWidth=4096)
    assert_allclose(read(dataset).pixels, stored / 4095, atol=1e-7)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_tables_and_padding_are_read_in_every_byte_order(syntax: UID) -> None:
    """Implicit VR leaves the sign of the padding and of a table's first value to the reader."""
    stored = ramp(-2048, 2047, "int16")
    stored[0] = -2000
    tables = table(list(range(0, 4096, 4)), -500, 12)
    if not syntax.is_little_endian:
        tables[0].LUTData = np.frombuffer(tables[0].LUTData, "<u2").astype(">u2").tobytes()
    dataset = make_dicom(stored, 12, syntax, VOILUTSequence=tables)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    expected = np.clip(stored.astype(int) + 500, 0, 1023) * 4 / 4095
    expected[stored == -2000] = 0
    assert_allclose(read(dataset).pixels, expected, atol=1e-6)


def test_odd_rows_of_bytes_survive_big_endian_words() -> None:
    stored = ramp(0, 250, "uint8")
    assert stored.size % 2
    dataset = make_dicom(stored, 8, ExplicitVRBigEndian, WindowCenter=128, WindowWidth=256)
    dataset.PixelData = np.append(stored, np.uint8(0)).view("<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    assert_array_equal(read(dataset).stored, stored)


# --- colour


def colours(dtype: str = "uint8") -> np.ndarray:
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(4).integers(0, top, (10, 12, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("by_plane", [False, True])
def test_rgb_becomes_luma(dtype: str, by_plane: bool) -> None:
    colour, top = colours(dtype), np.iinfo(dtype).max
    dataset = make_dicom(colour, 8 * colour.itemsize, PhotometricInterpretation="RGB")
    if by_plane:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.moveaxis(colour, -1, 0).tobytes()
    result = read(dataset)
    assert result.greyscale == "luma"
    assert_allclose(result.pixels, colour @ [0.299, 0.587, 0.114] / top, atol=0.6 / 255)


def test_ybr_shows_its_y() -> None:
    colour = colours()
    result = read(make_dicom(colour, 8, PhotometricInterpretation="YBR_FULL"))
    assert_array_equal(result.stored, colour[..., 0])
    halved = np.stack([colour[:, ::2, 0], colour[:, 1::2, 0], colour[:, ::2, 1], colour[:, ::2, 2]], axis=-1)
    dataset = make_dicom(colour, 8, PhotometricInterpretation="YBR_FULL_422")
    dataset.PixelData = halved.tobytes()
    assert_array_equal(read(dataset).stored, colour[..., 0])


def palette(bits: int, entries: int = 256, first: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Attributes of a palette, and its colours ``[entries, 3]`` in [0, 1]."""
    values = np.random.default_rng(5).integers(0, 2**bits, (entries, 3))
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for index, colour in enumerate(("Red", "Green", "Blue")):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [entries, first, bits]
        dtype = np.uint8 if bits == 8 else "<u2"
        attributes[f"{colour}PaletteColorLookupTableData"] = values[:, index].astype(dtype).tobytes()
    return attributes, values / (2**bits - 1)


@pytest.mark.parametrize(("bits", "entries", "first"), [(8, 256, 0), (16, 256, 0), (16, 100, 20)])
def test_a_palette_shows_the_luma_of_its_colours(bits: int, entries: int, first: int) -> None:
    attributes, values = palette(bits, entries, first)
    stored = ramp(0, 255, "uint8")
    result = read(make_dicom(stored, 8, **attributes))
    expected = values[np.clip(stored.astype(int) - first, 0, entries - 1)] @ [0.299, 0.587, 0.114]
    assert_allclose(result.pixels, expected, atol=1e-6)
    assert result.greyscale == "palette"


def test_a_segmented_palette_is_refused(refuses) -> None:
    attributes, _ = palette(16)
    for colour in ("Red", "Green", "Blue"):
        attributes[f"Segmented{colour}PaletteColorLookupTableData"] = attributes.pop(
            f"{colour}PaletteColorLookupTableData"
        )
    with refuses(InputError, "x.dcm", "palette", "segmented"):
        read(make_dicom(ramp(0, 255, "uint8"), 8, **attributes))


# --- size of pixels


@pytest.mark.parametrize(
    ("attributes", "spacing", "aspect"),
    [
        ({"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [0.1, 0.1]}, (0.4, 0.2), 2),
        ({"ImagerPixelSpacing": [0.14, 0.14]}, (0.14, 0.14), 1),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.14, 0.28]}, (0.14, 0.28), 0.5),
        ({"PixelAspectRatio": [4, 3]}, None, 4 / 3),
        ({"PixelSpacing": [1, 4000]}, None, 1),
        ({"PixelSpacing": [-1, -1]}, None, 1),
        ({}, None, 1),
    ],
)
def test_spacing_and_aspect(attributes: dict, spacing: tuple | None, aspect: float) -> None:
    result = read(make_dicom(ramp(0, 99), **attributes))
    assert result.spacing == spacing
    assert result.aspect == pytest.approx(aspect)


def test_a_bare_data_set_is_read_where_it_is_certain(refuses) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        dataset = make_dicom(ramp(0, 4095), syntax=syntax, WindowCenter=2048, WindowWidth=4096)
        dataset.Modality = "DX"  # the first attribute, of group 0008
        whole = encode(dataset)
        start = whole.index({False: b"\x08\0\x60\0", True: b"\0\x08\0\x60"}[syntax == ExplicitVRBigEndian])
        assert_array_equal(read_radiograph(whole[start:]).pixels, read(dataset).pixels)
        assert_array_equal(read_radiograph(whole[128 + 4 :]).pixels, read(dataset).pixels)  # file meta, no preamble

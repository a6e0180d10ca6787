"""The reader against pydicom's own functions in float64, element by element, and against files that are none."""

from __future__ import annotations

import csv
import io
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from monai_cxraug.data.readers import Radiograph, greyscale_pipeline, read_radiograph, whole_years, window
from monai_cxraug.errors import InputError

SHAPE = (5, 7)
PERSON = "Nobody^Anna"


def ramp(low: int, high: int, dtype: str = "uint16") -> np.ndarray:
    """An asymmetric picture, every pixel different: top left low, bottom right high."""
    return np.linspace(low, high, SHAPE[0] * SHAPE[1]).round().astype(dtype).reshape(SHAPE)


def make_dicom(
    stored: np.ndarray, bits: int = 12, syntax: UID = ExplicitVRLittleEndian, **attributes: Any
) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1")
    little = syntax.is_little_endian
    dataset = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=little)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PERSON, "4711", "19010203"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *stored.shape[:2], 1
    dataset.PhotometricInterpretation = attributes.pop("PhotometricInterpretation", "MONOCHROME2")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * stored.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def encode(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    return buffer.getvalue()


def read(dataset: FileDataset) -> Radiograph:
    return read_radiograph(encode(dataset), "x.dcm")


def table(entries: list[int], first: int, bits: int) -> Sequence:
    """A look-up table as words, the way archives write it."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return Sequence([item])


# --- DICOM greyscale


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


@given(st.floats(-300, 300), st.floats(1, 500), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_a_window_rises_from_0_to_1(centre: float, width: float, function: str) -> None:
    values = np.linspace(-4000, 4000, 2001)
    shown = window(values, centre, width, function)
    assert (np.diff(shown) >= 0).all()
    assert shown[0] == pytest.approx(0, abs=1e-6)
    assert shown[-1] == pytest.approx(1, abs=1e-6)


def test_a_width_of_one_is_a_threshold() -> None:
    dataset = make_dicom(ramp(0, 4095), WindowCenter=100.5, WindowWidth=1)
    values = np.array([99.0, 100, 100.5, 101, 102])
    shown = (apply_windowing(values, dataset) > 0).astype(float)
    assert_array_equal(shown, [0, 0, 1, 1, 1])
    assert_array_equal(window(values, 100.5, 1), shown)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"WindowWidth": 0.5}, ("WindowWidth", "LINEAR", "0.5")),
        ({"WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, ("WindowWidth", "LINEAR_EXACT")),
        ({"WindowWidth": 10, "VOILUTFunction": "GAMMA"}, ("VOILUTFunction", "GAMMA")),
    ],
)
def test_a_window_that_must_not_be_guessed_names_the_file(refuses, attributes, words) -> None:
    with refuses(InputError, "x.dcm", *words):
        read(make_dicom(ramp(0, 4095), WindowCenter=5, **attributes))


def test_a_window_beside_every_value_is_refused(refuses) -> None:
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        with refuses(InputError, "x.dcm", "window -500/100 LINEAR", "flat"):
            read(make_dicom(ramp(0, 4095), WindowCenter=-500, WindowWidth=100, PhotometricInterpretation=kind))
    # a flat image is what it is
    assert_array_equal(read(make_dicom(np.full(SHAPE, 7, np.uint16), WindowCenter=-500, WindowWidth=100)).pixels, 1)


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


def test_a_flat_picture_is_black() -> None:
    assert_array_equal(read(make_dicom(np.full(SHAPE, 7, dtype=np.uint16))).pixels, 0)


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


def test_the_pipeline_serves_decoded_pixels_too() -> None:
    dataset = make_dicom(ramp(0, 4095), WindowCenter=2048, WindowWidth=4096)
    pixels, choice = greyscale_pipeline(dataset, dataset.pixel_array)
    assert_array_equal(pixels, read(dataset).pixels)
    assert choice == "window 2048/4096 LINEAR"


# --- orientation and formats


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_dicom_is_the_right_way_up(syntax: UID) -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 4096, SHAPE, dtype=np.uint16)
    stored[0, 0], stored[-1, -1] = 0, 4095
    dataset = make_dicom(stored, syntax=syntax, WindowCenter=2048, WindowWidth=4096)
    assert_allclose(read(dataset).pixels, stored / 4095, atol=1e-7)


def save(picture: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535)])
def test_png_is_the_right_way_up(dtype: str, top: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(2).integers(0, top + 1, SHAPE).astype(dtype)
    path = tmp_path / "x.png"
    path.write_bytes(save(Image.fromarray(stored)))
    result = read_radiograph(path)
    assert result.pixels.dtype == np.float32
    assert (result.bits, result.greyscale, result.tags) == (8 * stored.itemsize, "full range", {})
    assert_allclose(result.pixels, stored / top, atol=1e-7)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_other_png_modes_show_their_grey(mode: str) -> None:
    grey = (np.random.default_rng(3).integers(0, 2, SHAPE) * 255 if mode == "1" else ramp(0, 255)).astype(np.uint8)
    assert_array_equal(read_radiograph(save(Image.fromarray(grey).convert(mode))).pixels, np.float32(grey) / 255)


def test_colour_becomes_luminance() -> None:
    colour = np.zeros((1, 3, 3), dtype=np.uint8)
    colour[0, 0, 0] = colour[0, 1, 1] = colour[0, 2, 2] = 255
    luma = read_radiograph(save(Image.fromarray(colour))).pixels[0]  # ITU-R BT.601
    assert_allclose(luma, [0.299, 0.587, 0.114], atol=1 / 255)


def test_jpeg_is_turned_as_a_viewer_turns_it() -> None:
    grey = np.zeros((8, 16), dtype=np.uint8)
    grey[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of the file is the right side of the picture
    pixels = read_radiograph(save(Image.fromarray(grey), "JPEG", quality=95, exif=exif)).pixels
    assert pixels.shape == (16, 8)
    assert pixels[:7].min() > 0.9
    assert pixels[9:].max() < 0.1


# --- persons


def test_nothing_that_names_a_person_leaves_the_reader() -> None:
    attributes = {"PatientSex": "F", "PatientAge": "071Y", "ViewPosition": "PA", "ReferringPhysicianName": "Doe^John"}
    result = read(make_dicom(ramp(0, 9), **attributes))
    assert result.tags == {"view": "PA", "sex": "F", "age": "71"}
    text = repr(result)
    assert not any(word in text for word in ("Nobody", "Anna", "4711", "19010203", "Doe"))


def test_free_text_in_coded_attributes_stays_behind() -> None:
    values = {"PatientSex": "ANNA NOBODY", "PatientAge": "058Y", "ViewPosition": "NOBODY ANNA"}
    content = encode(make_dicom(ramp(0, 9), **values)).replace(b"058Y", b"ANNA")
    assert read_radiograph(content).tags == {"view": "", "sex": "", "age": ""}


def test_warnings_that_quote_the_file_are_kept_back(recwarn, caplog) -> None:
    content = encode(make_dicom(ramp(0, 9))).replace(b"1.2.840.10008.5.1.4.1.1.1", b"1.2.ANNA.NOBODY.1.1.1.1.1")
    recwarn.clear()
    with pytest.warns(UserWarning, match="NOBODY"):
        dcmread(io.BytesIO(content))
    caplog.clear()
    recwarn.clear()
    assert read_radiograph(content).pixels.max() == 1
    assert not recwarn.list
    assert not caplog.records


def test_a_decoders_log_is_kept_back(caplog, refuses) -> None:
    dataset = make_dicom(ramp(0, 9), syntax=JPEG2000Lossless)
    dataset.PixelData = encapsulate([b"rubbish!"])
    dataset["PixelData"].is_undefined_length = True
    content = encode(dataset)
    with pytest.raises((RuntimeError, ValueError, OSError)):
        _ = dcmread(io.BytesIO(content)).pixel_array
    assert caplog.records
    caplog.clear()
    with refuses(InputError, "x.dcm", "decoded"):
        read_radiograph(content, "x.dcm")
    assert not caplog.records
    assert logging.getLogger("pydicom").propagate


@pytest.mark.parametrize(
    ("age", "years"),
    [("058Y", "58"), ("58", "58"), ("000Y", "0"), ("023M", "1"), ("010D", "0"), ("060W", "1"), ("", ""), ("x", "")],
)
def test_ages_in_whole_years(age: str, years: str) -> None:
    assert whole_years(age) == years


# --- files that are no radiograph


def no_pixels() -> FileDataset:
    dataset = make_dicom(ramp(0, 9))
    del dataset.PixelData
    return dataset


HOSTILE = {
    "empty.dcm": (b"", "an empty file"),
    "page.dcm": (b"<html><body>403 Forbidden</body></html>", "another kind of file"),
    "picture.gif": (save(Image.fromarray(ramp(0, 255).astype(np.uint8)), "GIF"), "another kind of file"),
    "cut.dcm": (encode(make_dicom(ramp(0, 4095)))[:-20], "decoded"),
    "head.dcm": (encode(make_dicom(ramp(0, 4095)))[:140], "pixel data"),
    "cut.png": (
        save(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)))[:900],
        "DICOM",
    ),
    "plan.dcm": (encode(no_pixels()), "pixel data"),
    "colour.dcm": (encode(make_dicom(ramp(0, 9), PhotometricInterpretation="RGB")), "greyscale"),
    "film.dcm": (encode(make_dicom(ramp(0, 9), NumberOfFrames=3)), "3 frames"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_radiograph_is_refused(tmp_path: Path, refuses, name: str) -> None:
    content, word = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with refuses(InputError, path, word):
        read_radiograph(path)
    with refuses(InputError, "archive.zip:x", word):
        read_radiograph(content, "archive.zip:x")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_missing_files(tmp_path: Path, refuses) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with refuses(InputError, path, "readable file"):
            read_radiograph(path)


GOOD = (
    encode(make_dicom(ramp(0, 4095), WindowCenter=9, WindowWidth=8, VOILUTSequence=table([1, 2, 3], 0, 10))),
    save(Image.fromarray(ramp(0, 65535))),
    save(Image.fromarray(ramp(0, 255).astype(np.uint8)), "JPEG"),
)


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=150)
def test_broken_bytes_give_a_picture_or_our_error(good: bytes, data: st.DataObject) -> None:
    content = bytearray(good[: data.draw(st.integers(1, len(good)))])
    for place, value in data.draw(
        st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255), max_size=6)
    ).items():
        content[place] = value
    with suppress(InputError):
        pixels = read_radiograph(bytes(content), "x").pixels
        assert np.isfinite(pixels).all()
        assert 0 <= pixels.min() <= pixels.max() <= 1


# --- real files


def index_of(data_root: Path) -> list[dict[str, str]]:
    with (data_root / "dicom" / "index.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_real_radiographs(data_root: Path) -> None:
    chosen = [row for row in index_of(data_root) if row["file"] in (
        "chest__RG1_J2KI.dcm", "cr__RG3_RLE.dcm", "cr__RG3_J2KI.dcm", "other__MR_small_bigendian.dcm",
        "lut__mlut_18.dcm", "other__CT_small.dcm",
    )]  # fmt: skip
    assert len(chosen) == 6
    for row in chosen:
        result = read_radiograph(data_root / "dicom" / row["file"])
        assert result.pixels.shape == (int(row["rows"]), int(row["cols"]))
        assert 0 <= result.pixels.min() < result.pixels.max() - 0.6 <= 0.4
        assert result.bits == int(row["bits_stored"])
        assert result.greyscale.endswith("inverted") == (row["photometric"] == "MONOCHROME1")
        assert result.greyscale.startswith("window") == (row["lut"] == "window")


def test_real_broken_and_coloured_files(data_root: Path) -> None:
    allowed = {"broken__J2K_pixelrep_mismatch.dcm"}  # it decodes
    wrong = [
        row["file"]
        for row in index_of(data_root)
        if row["file"].startswith("broken__") or not row["photometric"].startswith("MONOCHROME")
    ]
    assert len(wrong) >= 12
    for name in sorted(set(wrong) - allowed):
        with pytest.raises(InputError) as caught:
            read_radiograph(data_root / "dicom" / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not any(word in str(caught.value) for word in ("Lestrade", "First^mid"))


@pytest.mark.slow
def test_every_real_file_is_read_or_refused(data_root: Path) -> None:
    for row in index_of(data_root):
        with suppress(InputError):
            pixels = read_radiograph(data_root / "dicom" / row["file"]).pixels
            assert row["photometric"].startswith("MONOCHROME")
            assert 0 <= pixels.min() < pixels.max() <= 1

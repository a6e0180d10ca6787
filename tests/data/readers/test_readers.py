"""The reader as a whole: it goes by the content of a file, and refuses what is no radiograph in one line."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_cxraug.data.readers import parsing, read_radiograph
from monai_cxraug.data.readers.header import read_header
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import KEEP, SHAPE, compress, encode, make_dicom, ramp, read, table


def save(picture: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535)])
def test_a_picture_is_the_right_way_up(dtype: str, top: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(2).integers(0, top + 1, SHAPE).astype(dtype)
    path = tmp_path / "x.dcm"  # the suffix does not matter
    path.write_bytes(save(Image.fromarray(stored)))
    result = read_radiograph(path)
    assert result.pixels.dtype == np.float32
    assert (result.bits, result.greyscale, result.tags) == (8 * stored.itemsize, "full range", {})
    assert_allclose(result.pixels, stored / top, atol=1e-7)


def no_pixels() -> FileDataset:
    dataset = make_dicom(ramp(0, 9))
    del dataset.PixelData
    return dataset


def nested(depth: int) -> bytes:
    """Sequences of undefined length within each other, before the pixels."""
    whole = encode(make_dicom(ramp(0, 9)))
    place = whole.index(b"\x10\0\x10\0PN")
    level = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    return whole[:place] + level * depth + whole[place:]


def deflated(body: bytes) -> bytes:
    """A deflated file whose attributes are these bytes."""
    uid = DeflatedExplicitVRLittleEndian.encode()
    start = bytes(128) + b"DICM\2\0\x10\0UI" + struct.pack("<H", len(uid)) + uid
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return start + packer.compress(body) + packer.flush()


def element(tag: int, kind: bytes, length: int) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + b"\0\0" + struct.pack("<I", length)


def pixels_of(length: int) -> bytes:
    """The attributes of an image whose pixel data say to be this long."""
    whole = encode(make_dicom(ramp(0, 9)))
    place = whole.index(b"\xe0\x7f\x10\0OW\0\0") + 8
    return whole[whole.index(b"\x10\0\x10\0PN") : place] + struct.pack("<I", length)


def with_first(start: bytes, before: bytes = b"\x10\0\x10\0PN") -> bytes:
    """An image with these bytes before one of its attributes, which is the first."""
    whole = encode(make_dicom(ramp(0, 9)))
    place = whole.index(before)
    return whole[:place] + start + whole[place:]


def long_pixels() -> bytes:
    dataset = make_dicom(ramp(0, 4095))
    dataset.PixelData += bytes(40)
    return encode(dataset)


def changed(**attributes: Any) -> bytes:
    return encode(make_dicom(ramp(0, 4095), **attributes))


HOSTILE = {
    "empty.dcm": (b"", "an empty file"),
    "page.dcm": (b"<html><body>403 Forbidden</body></html>", "a web page"),
    "picture.gif": (save(Image.fromarray(ramp(0, 255).astype(np.uint8)), "GIF"), "a GIF"),
    "cut.dcm": (encode(make_dicom(ramp(0, 4095)))[:-20], "bytes"),
    "long.dcm": (long_pixels(), "bytes"),
    "head.dcm": (encode(make_dicom(ramp(0, 4095)))[:140], "pixel data"),
    "preamble.dcm": (bytes(128) + b"DICM", "pixel data"),
    "half.dcm": (bytes(100), "another kind of file"),
    "plan.dcm": (encode(no_pixels()), "pixel data"),
    "colour.dcm": (changed(PhotometricInterpretation="RGB"), "1 samples a pixel"),
    "pale.dcm": (
        encode(make_dicom(np.zeros((9, 11, 3), np.uint8), 7, PhotometricInterpretation="RGB")),
        "all of a colour's bits",
    ),
    "film.dcm": (changed(NumberOfFrames=3), "bytes"),
    "endless.dcm": (changed(NumberOfFrames=2**31 - 1), "bytes"),
    "minus.dcm": (changed(NumberOfFrames=-3, WindowWidth=-5, WindowCenter=1), "WindowWidth"),
    "huge.dcm": (changed(Rows=65535, Columns=65535), "65535 x 65535"),
    "thin.dcm": (changed(Rows=1, Columns=99), "99 x 1"),
    "none.dcm": (changed(Rows=0), "11 x 0"),
    "deep.dcm": (changed(BitsAllocated=32, BitsStored=32), "BitsAllocated"),
    "bits.dcm": (changed(BitsStored=17), "17 stored bits"),
    "wide.dcm": (changed(BitsStored=17, HighBit=16), "17 stored bits"),
    "high.dcm": (changed(HighBit=3), "up to bit 3"),
    "nan.dcm": (changed(RescaleSlope="nan"), "RescaleSlope"),
    "nested.dcm": (nested(5000), "understood"),
    "bomb.dcm": (deflated(bytes(60_000_000)), "4 MiB"),
    "bomb2.dcm": (deflated(pixels_of(2**31) + bytes(100)), "256 MiB"),
    "bomb3.dcm": (deflated(pixels_of(60_000_000) + bytes(60_000_000)), "198 bytes"),
    "cut_deflated.dcm": (encode(make_dicom(ramp(0, 4095), syntax=DeflatedExplicitVRLittleEndian))[:-30], "cut off"),
    "overrun.dcm": (with_first(element(0x00091002, b"OB", 2**31)), "pixel data"),
    "many.dcm": (with_first((element(0x00091002, b"OB", 0)[:8] + bytes(4)) * 600_000), "4 MiB"),
    "loose.dcm": (with_first(b"\xfe\xff\x0d\xe0" + bytes(4), b"\x28\0\x10\0US"), "pixel data"),
    "float.dcm": (encode(make_dicom(ramp(0, 9))).replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x08\0OF"), "floating point"),
    "table.dcm": (
        changed(VOILUTSequence=table([1, 2], 0, 10)).replace(b"\2\0\0\0\x0a\0", b"\0\0\0\0\x0a\0"),
        "of 65536",
    ),
    "fragment.dcm": (
        encode(compress(make_dicom(ramp(0, 9)), b"ab", syntax="1.2.840.10008.1.2.4.70")).replace(
            b"\xfe\xff\0\xe0\2\0\0\0", b"\xfe\xff\0\xe0\xfe\xff\xff\x7f"
        ),
        "broken item",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_radiograph_is_refused(name: str, tmp_path: Path, refuses) -> None:
    content, word = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refuses(InputError, path, word):
        read_radiograph(path, policy=KEEP)
    with refuses(InputError, "archive.zip:x", word):
        read_radiograph(content, "archive.zip:x", KEEP)
    with suppress(InputError):
        read_header(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
    assert list(tmp_path.iterdir()) == [path]


def test_missing_files(tmp_path: Path, refuses) -> None:
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "none.png", tmp_path / "folder.png"):
        with refuses(InputError, path, "readable file"):
            read_radiograph(path)


def test_pixels_are_not_copied() -> None:
    content = encode(make_dicom(ramp(0, 4095)))
    assert content.endswith(read_radiograph(content).stored.tobytes())
    assert not read_radiograph(content).stored.flags.owndata
    assert not read_radiograph(content).stored.flags.writeable


def test_long_private_values_are_passed_over() -> None:
    dataset = make_dicom(ramp(0, 4095))
    expected = read(dataset).pixels
    block = dataset.private_block(0x0011, "MAKER", create=True)
    block.add_new(1, "OB", bytes(2 * parsing._MOST_READ))
    item = Dataset()
    item.PixelData = bytes(5_000_000)
    item["PixelData"].VR = "OW"
    dataset.IconImageSequence = Sequence([item])
    assert_array_equal(read(dataset).pixels, expected)
    assert read_header(encode(dataset)).rows == SHAPE[0]


def test_worker_processes_start_fast() -> None:
    """Neither torch nor MONAI, nor a decoder before it is needed."""
    code = "import sys, monai_cxraug.data.readers; print(*(set(sys.argv[1:]) & sys.modules.keys()))"
    heavy = ["torch", "monai", "pydicom", "nibabel", "imagecodecs", "gdcm", "itk", "scipy"]
    run = subprocess.run(
        [sys.executable, "-c", code, *heavy],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.stdout.strip() == ""


GOOD = (
    encode(make_dicom(ramp(0, 4095), WindowCenter=9, WindowWidth=8, VOILUTSequence=table([1, 2, 3], 0, 10))),
    encode(make_dicom(ramp(0, 4095), syntax=DeflatedExplicitVRLittleEndian)),
    encode(make_dicom(np.zeros((9, 11, 3), np.uint8), 8, PhotometricInterpretation="YBR_FULL")),
    gzip.compress(b"not a NIfTI file", mtime=0),
    save(Image.fromarray(ramp(0, 65535))),
    save(Image.fromarray(ramp(0, 255).astype(np.uint8)), "JPEG"),
)


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=250)
def test_broken_bytes_give_a_picture_or_our_error(good: bytes, data: st.DataObject) -> None:
    content = bytearray(good[: data.draw(st.integers(1, len(good)))])
    places = st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255), max_size=6)
    for place, value in data.draw(places).items():
        content[place] = value
    with suppress(InputError):
        pixels = read_radiograph(bytes(content), "x", KEEP).pixels
        assert np.isfinite(pixels).all()
        assert 0 <= pixels.min() <= pixels.max() <= 1
    with suppress(InputError):
        read_header(bytes(content), "x")


@pytest.mark.parametrize("name", ["cr__RG3_RLE", "cr__RG3_JPLL", "cr__RG3_JPLY", "cr__RG3_JLSL", "cr__RG3_J2KI"])
def test_broken_streams_give_a_picture_or_our_error(name: str, data_root: Path, capfd, recwarn) -> None:
    """Bytes changed within the compressed pixels; nothing is written to the terminal."""
    good = (data_root / "dicom" / f"{name}.dcm").read_bytes()
    rng = np.random.default_rng(3)
    recwarn.clear()
    for _ in range(6):
        content = bytearray(good)
        for place in rng.integers(len(good) // 3, len(good), rng.integers(1, 40)):
            content[place] = rng.integers(0, 256)
        with suppress(InputError):
            assert read_radiograph(bytes(content), "x", KEEP).stored.shape == (1760, 1760)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list

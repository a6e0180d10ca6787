"""One reader for radiographs: DICOM and PNG or JPEG in, float32 in [0, 1] out, the right way up."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Image = NDArray[np.float32]

#: Suffixes that a folder of radiographs is searched for.
IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})
_RULE = "must be a DICOM, PNG or JPEG image"
_PERCENTILES = (0.5, 99.5)
#: View Position (0018,5101) and Patient's Sex (0010,0040) as the standard defines them; free text may name a person.
_VIEWS = frozenset({"PA", "AP", "LL", "RL", "RLD", "LLD", "RLO", "LLO"})
_SEXES = frozenset({"M", "F", "O"})


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Args:
        pixels: float32 ``[H, W]`` in [0, 1]; row 0 is the top, bright is dense (MONOCHROME2).
        bits: bits stored per pixel in the file.
        greyscale: how stored values became [0, 1], for example ``"window 2048/4096 LINEAR"``.
        tags: de-identified DICOM facts: ``view``, ``sex``, ``age``; empty for other formats.
    """

    pixels: Image
    bits: int
    greyscale: str
    tags: dict[str, str] = field(default_factory=dict)


def read_radiograph(data: bytes | Path, name: object = "") -> Radiograph:
    """Decode one radiograph.

    Args:
        data: the file, or its bytes.
        name: what to call the file in errors; default the path.

    Returns:
        The image and how it was mapped to [0, 1].

    Raises:
        InputError: the file is missing, is no image, or is an image this reader must not guess at.
    """
    name = name or data
    try:
        content = data.read_bytes() if isinstance(data, Path) else data
    except OSError as error:
        raise InputError(name, "must be a readable file", error.strerror or error, "check the path") from None
    if not content:
        raise InputError(name, "must be an image", "an empty file", "fetch the file again")
    if content[128:132] == b"DICM":
        return _read_dicom(content, name)
    return _read_picture(content, name)


def _read_picture(content: bytes, name: object) -> Radiograph:
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with Pillow.open(io.BytesIO(content), formats=("PNG", "JPEG")) as stored:
            picture = ImageOps.exif_transpose(stored)  # a viewer turns the picture as its camera noted
            deep = picture.mode.startswith("I")
            grey = np.asarray(picture if deep else picture.convert("L"))
    except UnidentifiedImageError:
        raise InputError(name, _RULE, "another kind of file", "fetch or convert the file") from None
    except Exception as error:  # Pillow raises nearly anything on broken files
        reason = f"{type(error).__name__}: {error}"
        raise InputError(name, _RULE, reason, "fetch or convert the file") from None
    bits = 16 if deep else 8
    pixels = np.clip(grey.astype(np.float32) / np.float32(2**bits - 1), 0, 1)
    return Radiograph(pixels, bits, "full range")


def _read_dicom(content: bytes, name: object) -> Radiograph:
    import pydicom

    try:
        with _silenced("pydicom"):
            dataset = pydicom.dcmread(io.BytesIO(content))
            stored = _stored_pixels(dataset, name)
            pixels, greyscale = greyscale_pipeline(dataset, stored)
            return Radiograph(pixels, int(dataset.BitsStored), greyscale, _tags(dataset))
    except InputError as error:
        if error.where == str(name):
            raise
        raise InputError(name, f"{error.where} {error.rule}", error.found, error.mend) from None
    except Exception as error:  # pydicom and its codecs raise nearly anything on broken files
        reason = f"{type(error).__name__}: {error}"
        raise InputError(name, "must be a DICOM image that can be decoded", reason, "fetch the file again") from None


@contextmanager
def _silenced(library: str) -> Iterator[None]:
    """Keep back a library's warnings and log lines: they quote attributes, and print tracebacks of what we refuse."""
    logger = logging.getLogger(library)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.handlers, logger.propagate = before


def _stored_pixels(dataset: Dataset, name: object) -> NDArray[Any]:
    if "PixelData" not in dataset:
        raise InputError(name, "a DICOM image needs pixel data", "none", "leave the file out")
    photometric = dataset.get("PhotometricInterpretation", "")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            name, "must be greyscale (MONOCHROME1 or MONOCHROME2)", photometric or "nothing", "leave the file out"
        )
    if int(dataset.get("NumberOfFrames", 1) or 1) != 1:
        raise InputError(name, "must have one frame", f"{dataset.NumberOfFrames} frames", "leave the file out")
    stored = np.asarray(dataset.pixel_array)
    if dataset.file_meta.TransferSyntaxUID.is_compressed or stored.dtype.kind not in "iu":
        return stored
    # pydicom 2.4 keeps what lies above the stored bits (overlays, a missing sign); goes when we require pydicom 3
    unused = 8 * stored.itemsize - int(dataset.BitsStored)
    return np.asarray((stored << unused) >> unused)


def greyscale_pipeline(dataset: Dataset, stored: NDArray[Any]) -> tuple[Image, str]:
    """Map stored values to [0, 1]: modality LUT, VOI LUT or window or percentiles, then inversion of MONOCHROME1.

    DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT) and PS3.4 N.2 (order of the steps). Where neither a VOI LUT nor
    a window is present, the 0.5 and 99.5 percentiles of the pixels that are not padding become 0 and 1.

    Args:
        dataset: the DICOM attributes.
        stored: stored pixel values ``[H, W]``.

    Returns:
        float32 ``[H, W]`` in [0, 1], and a description of the choice.

    Raises:
        InputError: the window is not allowed, or lies beside every value of the image.
    """
    padding = _padding(dataset, stored)
    values = _modality(dataset, stored)
    pixels, choice = _values_of_interest(dataset, values, padding)
    if not padding.all() and np.ptp(pixels[~padding]) == 0 < np.ptp(values[~padding]):
        mend = "mend the header; without a window the percentiles decide"
        raise InputError(choice, "must show more than one grey value of the image", "a flat picture", mend)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels, choice = 1 - pixels, f"{choice}, inverted"
    pixels[padding] = 0
    return pixels.astype(np.float32), choice


def _modality(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    if (item := _table(dataset, "ModalityLUTSequence")) is not None:
        return _look_up(dataset, item, stored)[0]
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    return stored.astype(np.float64) * (slope or 1.0) + (intercept or 0.0)


def _table(dataset: Dataset, name: str) -> Dataset | None:
    """First table of a sequence; None where it is absent or empty."""
    for item in dataset.get(name) or ():
        return item if item.get("LUTDescriptor") and item.get("LUTData") else None
    return None


def _look_up(dataset: Dataset, item: Dataset, values: NDArray[Any]) -> tuple[NDArray[np.float64], int]:
    """Values through a table (PS3.3 C.11.1.1 and C.11.2.1.1), and the bits of its entries.

    pydicom's own functions hold the index in the type of the entries or of the pixels, where it can overflow.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    if not 8 <= bits <= 16:
        raise InputError("LUTDescriptor", "entries must have 8 to 16 bits", bits, "mend the header")
    data = item.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        words = len(data) >= 2 * (entries or 2**16)  # entries of 8 bits may be packed
        table = np.frombuffer(data, dtype=("<u2" if little else ">u2") if words else np.uint8)[: entries or 2**16]
    else:
        table = np.atleast_1d(np.asarray(data))
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[index].astype(np.float64), bits


def _values_of_interest(dataset: Dataset, values: NDArray[Any], padding: NDArray[np.bool_]) -> tuple[Image, str]:
    if (item := _table(dataset, "VOILUTSequence")) is not None:
        shown, bits = _look_up(dataset, item, values)
        return np.clip(shown / (2**bits - 1), 0, 1), "VOI LUT"
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is not None and width is not None:
        function = str(dataset.get("VOILUTFunction", "") or "LINEAR").upper()
        return window(values, centre, width, function), f"window {centre:g}/{width:g} {function}"
    real = values[~padding] if not padding.all() else values
    low, high = np.percentile(real, _PERCENTILES)
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1), f"percentiles {low:g}..{high:g}"


def window(values: NDArray[Any], centre: float, width: float, function: str = "LINEAR") -> Image:
    """Apply a window to [0, 1] (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: modality values, any shape.
        centre: Window Center (0028,1050).
        width: Window Width (0028,1051); at least 1 for LINEAR, above 0 otherwise.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    Returns:
        Values in [0, 1], same shape.

    Raises:
        InputError: the width or the function is not allowed.
    """
    if width < 1 if function == "LINEAR" else width <= 0:
        raise InputError("WindowWidth", f"must be positive for {function}", width, "mend the header")
    scaled: NDArray[Any]
    if function == "LINEAR" and width == 1:
        scaled = values > centre - 0.5
    elif function == "LINEAR":
        scaled = (values - (centre - 0.5)) / (width - 1) + 0.5
    elif function == "LINEAR_EXACT":
        scaled = (values - centre) / width + 0.5
    elif function == "SIGMOID":
        scaled = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    else:
        raise InputError("VOILUTFunction", "must be LINEAR, LINEAR_EXACT or SIGMOID", function, "mend the header")
    return np.clip(scaled.astype(np.float64), 0, 1)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels outside the exposed area (PS3.3 C.7.5.1.1.2)."""
    first, last = _number(dataset, "PixelPaddingValue"), _number(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = first if last is None else last
    return np.asarray((stored >= min(first, last)) & (stored <= max(first, last)))


def _number(dataset: Dataset, name: str) -> float | None:
    """First value of an attribute; None where it is absent or empty, which many archives write alike."""
    value = dataset.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)


def _tags(dataset: Dataset) -> dict[str, str]:
    """The few attributes that leave the reader; nothing here names a person."""
    view, sex = (str(dataset.get(name) or "") for name in ("ViewPosition", "PatientSex"))
    return {
        "view": view if view in _VIEWS else "",
        "sex": sex if sex in _SEXES else "",
        "age": whole_years(str(dataset.get("PatientAge") or "")),
    }


def whole_years(age: str) -> str:
    """Turn an age such as ``"058Y"`` or ``"011M"`` (DICOM PS3.5 6.2, AS) or ``"58"`` into whole years, as text.

    Returns:
        The years; the empty text when the age is not written in one of these ways.
    """
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", age)
    if match is None:
        return ""
    months_a_year, number = 12, int(match[1])
    return str({"D": 0, "W": number // 52, "M": number // months_a_year}.get(match[2], number))

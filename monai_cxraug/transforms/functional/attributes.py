"""From DICOM attributes to greyscale rules, for any mapping that gives values by keyword as a pydicom data set does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.greyscale import Depth, Lut, Rules, Window

#: Attributes that :func:`read_rules` and :func:`read_depth` look at.
KEYWORDS: Final = (
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "VOILUTFunction"),
    *("WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)


class Attributes(Protocol):
    """A pydicom data set, or whatever gives values by keyword."""

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return a value, or the default."""


def read_rules(attributes: Attributes, little_endian: bool = True) -> Rules:
    """Collect what a header says about greyscale.

    Args:
        attributes: DICOM attributes by keyword.
        little_endian: byte order of look-up tables that are given as bytes.

    Returns:
        The rules; an attribute that is absent or empty leaves its default.

    Raises:
        InputError: a table or number is not allowed.
    """
    signed = number(attributes, "PixelRepresentation") == 1
    slope, intercept = number(attributes, "RescaleSlope"), number(attributes, "RescaleIntercept")
    return Rules(
        slope=slope or 1.0,
        intercept=intercept or 0.0,
        modality=_first_table(attributes, "ModalityLUTSequence", signed, little_endian),
        voi=_first_table(attributes, "VOILUTSequence", signed, little_endian),
        window=_window(attributes),
        inverted=first(attributes, "PhotometricInterpretation") == "MONOCHROME1",
        padding=_padding(attributes, signed, little_endian),
    )


def read_depth(attributes: Attributes) -> Depth:
    """Read how values lie in a word.

    Raises:
        InputError: the numbers do not fit each other, or are beyond 16 bits.
    """
    allocated, stored = (whole(attributes, keyword) for keyword in ("BitsAllocated", "BitsStored"))
    high = stored - 1 if first(attributes, "HighBit") is None else whole(attributes, "HighBit")
    if allocated not in (8, 16):
        raise InputError("BitsAllocated", "must be 8 or 16", allocated, "leave the file out")
    if not 2 <= stored <= high + 1 <= allocated:
        found = f"{stored} stored bits up to bit {high}"
        raise InputError("BitsStored", f"must be 2 to 16 that fit into {allocated}", found, "mend the header")
    return Depth(stored, high, whole(attributes, "PixelRepresentation") == 1)


def number(attributes: Attributes, keyword: str) -> float | None:
    """First value of an attribute; None where it is absent or empty, which many archives write alike.

    Raises:
        InputError: it is no finite number.
    """
    value = first(attributes, keyword)
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = np.nan
    if not np.isfinite(found):  # its words stay behind: a broken header may have a name there
        raise InputError(keyword, "must be a number", "another value", "mend the header")
    return found


def whole(attributes: Attributes, keyword: str) -> int:
    """First value of an attribute as a whole number; 0 where it is absent or empty."""
    return int(number(attributes, keyword) or 0)


def first(attributes: Attributes, keyword: str) -> Any:
    """First value of an attribute; None where it is absent or empty."""
    value = attributes.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else value


def read_lut(descriptor: Any, data: Any, signed: bool, little_endian: bool, where: str) -> Lut:
    """Build a table from its descriptor (number of entries, first input, bits of an entry) and its data.

    Raises:
        InputError: the descriptor is not one of the standard's, or the data are too short for it.
    """
    entries, start, bits = (int(value) for value in _integers(descriptor, little_endian)[:3])
    entries, start = entries or 1 << 16, start - (1 << 16) if signed and start >= 1 << 15 else start
    if not 8 <= bits <= 16:
        raise InputError(where, "entries must have 8 to 16 bits", bits, "mend the header")
    packed = isinstance(data, bytes) and len(data) < 2 * entries  # entries of 8 bits may be packed
    table = np.frombuffer(data, np.uint8) if packed else np.asarray(_integers(data, little_endian))
    if packed and not little_endian:
        table = table[: len(table) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)  # words have their bytes exchanged
    if len(table) < entries or not entries > 0:
        found = f"{len(table)} of {entries}"
        raise InputError(where, "must have as many entries as its descriptor says", found, "mend the header")
    return Lut(table[:entries].astype(np.float64), start, bits)


def _integers(value: Any, little_endian: bool) -> NDArray[Any]:
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little_endian else ">u2")
    return np.atleast_1d(np.asarray(value, dtype=np.int64))


def _first_table(attributes: Attributes, keyword: str, signed: bool, little_endian: bool) -> Lut | None:
    items = attributes.get(keyword) or ()
    for item in items[:1]:
        descriptor, data = item.get("LUTDescriptor"), raw_value(item, "LUTData")
        if descriptor and data:
            return read_lut(descriptor, data, signed, little_endian, "LUTDescriptor")
    return None


def raw_value(item: Any, keyword: str) -> Any:
    """Value of an attribute, as bytes where it was not yet turned into a list of numbers, which takes long."""
    if hasattr(item, "get_item"):
        element = item.get_item(keyword)
        return None if element is None else element.value
    return item.get(keyword)


def _window(attributes: Attributes) -> Window | None:
    centre, width = number(attributes, "WindowCenter"), number(attributes, "WindowWidth")
    if centre is None or width is None:
        return None
    return Window(centre, width, str(first(attributes, "VOILUTFunction") or "LINEAR").strip().upper())


def _padding(attributes: Attributes, signed: bool, little_endian: bool) -> tuple[float, float] | None:
    limits = [_stored(attributes, f"PixelPadding{part}", signed, little_endian) for part in ("Value", "RangeLimit")]
    if limits[0] is None:
        return None
    return limits[0], limits[0] if limits[1] is None else limits[1]


def _stored(attributes: Attributes, keyword: str, signed: bool, little_endian: bool) -> float | None:
    """An attribute of the type of the pixels; archives write a negative one as its two's complement too."""
    raw = first(attributes, keyword)
    if isinstance(raw, bytes):
        value: float | None = int.from_bytes(raw[:2], "little" if little_endian else "big")
    else:
        value = number(attributes, keyword)
    return value - (1 << 16) if value is not None and signed and value >= 1 << 15 else value

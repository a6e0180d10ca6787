"""The DICOM reader: from the bytes of a file to stored values and the brightness of each."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.readers import frames, header, palette
from monai_cxraug.data.readers.frames import Format, read_format, read_words
from monai_cxraug.data.readers.header import describe
from monai_cxraug.data.readers.limits import require_pixels
from monai_cxraug.data.readers.parsing import open_dicom
from monai_cxraug.data.readers.policy import DicomPolicy, judge
from monai_cxraug.data.readers.radiograph import Image, Radiograph
from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional import attributes as rules_of
from monai_cxraug.transforms.functional.attributes import Attributes, read_rules
from monai_cxraug.transforms.functional.greyscale import Depth, Rules, tabulate

_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio")
_KEYWORDS: Final = tuple({*header.KEYWORDS, *frames.KEYWORDS, *palette.KEYWORDS, *rules_of.KEYWORDS, *_SPACINGS})
_FLATTEST: Final = 10.0  # a pixel more than ten times as wide as high is a mistake

Spacing = tuple[float, float]


def read_dicom(content: bytes, name: object, policy: DicomPolicy) -> Radiograph:
    """Decode a DICOM image.

    Args:
        content: the file.
        name: what to call it in errors.
        policy: what to do with images that may not belong into a set of chest radiographs.

    Returns:
        Stored values, and their brightness by modality LUT, VOI LUT, window or percentiles, inversion and padding.

    Raises:
        InputError: the file is broken, no image, or one that must not be guessed at; or the policy quarantines it.
        DroppedImage: the policy drops it.
    """
    with open_dicom(content, name, _KEYWORDS) as parsed:
        dataset = parsed.dataset
        facts = describe(dataset)
        if parsed.pixels is None:
            raise InputError(name, "a DICOM image needs pixel data", "none", "leave the file out")
        judge(facts, name, policy)
        form = read_format(dataset, facts.photometric, facts.frames)
        require_pixels(form.rows, form.columns, name)
        rules = read_rules(dataset, parsed.little_endian)
        spacing, aspect = read_spacing(dataset)
        grey = None
        if form.photometric == "PALETTE COLOR":
            grey = palette.palette_brightness(dataset, form.depth, parsed.little_endian)
    words, depth = read_words(parsed, form, name)
    table, choice = _brightness(form, depth, rules, grey, words, name)
    return Radiograph(words, table, form.depth.bits, choice, aspect, spacing, facts.tags)


def _brightness(
    form: Format, depth: Depth, rules: Rules, grey: NDArray[np.float64] | None, words: NDArray[np.uint16], name: object
) -> tuple[Image, str]:
    if grey is not None:
        return grey.astype(np.float32)[depth.patterns(1 << 8 * words.itemsize)], "palette"
    if form.samples == 3:
        return np.linspace(0, 1, 1 << 8 * words.itemsize, dtype=np.float32), "luma"
    try:
        return tabulate(rules, depth, words)
    except InputError as error:
        raise InputError(name, f"{error.where} {error.rule}", error.found, error.mend) from None


def read_spacing(attributes: Attributes) -> tuple[Spacing | None, float]:
    """Read the distance of pixels, of the body where the file tells it, else on the detector.

    Args:
        attributes: DICOM attributes by keyword.

    Returns:
        Millimetres from row to row and from column to column, None where unknown; and their ratio. A ratio that cannot
        be true counts as 1.
    """
    for keyword in _SPACINGS:
        pair = attributes.get(keyword)
        try:
            rows, columns = (float(value) for value in pair or ())
        except (TypeError, ValueError):
            continue
        if rows > 0 and columns > 0 and 1 / _FLATTEST <= rows / columns <= _FLATTEST:
            return (rows, columns) if keyword != "PixelAspectRatio" else None, rows / columns
    return None, 1.0

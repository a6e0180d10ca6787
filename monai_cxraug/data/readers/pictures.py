"""The reader of ordinary pictures: PNG, JPEG and TIFF, as grey or in colour, in the full range of their bits."""

from __future__ import annotations

import io
import re
import warnings
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.readers.grey import Reduce, is_grey, to_grey, to_rgb, upright
from monai_cxraug.data.readers.limits import require_pixels
from monai_cxraug.data.readers.png import SIGNATURE as PNG
from monai_cxraug.data.readers.png import read_png
from monai_cxraug.data.readers.radiograph import Image, Radiograph
from monai_cxraug.data.readers.tiff import SIGNATURES as TIFF
from monai_cxraug.data.readers.tiff import read_tiff
from monai_cxraug.errors import InputError

_JPEG: Final = b"\xff\xd8\xff"
_RULE: Final = "must be a DICOM, NIfTI, PNG, JPEG or TIFF image"
_ORIENTATION: Final = 0x0112
#: How files begin that are often mistaken for radiographs.
_OTHERS: Final = {b"GIF8": "a GIF", b"BM": "a BMP", b"RIFF": "a WebP", b"<": "a web page or SVG", b"%PDF": "a PDF"}
#: The first marker in the coded data of a JPEG that neither stuffs a byte nor restarts (ISO/IEC 10918-1, B.1.1.2).
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ENTROPY_CODED: Final = 0xDA
_END: Final = 0xD9


def read_picture(content: bytes, name: object, colour: bool = False) -> Radiograph:
    """Decode a PNG, JPEG or TIFF.

    Colour becomes ITU-R BT.601 luma, transparency black, and the picture is turned as its camera noted.

    Args:
        content: the file.
        name: what to call the file in errors.
        colour: keep red, green and blue instead; a grey file has three equal channels then.

    Returns:
        The picture with 8 or 16 bits; its table is the full range.

    Raises:
        InputError: the file is damaged, of another kind, or holds what must not be guessed at.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = _read(content, name, to_rgb if colour else to_grey)
    except InputError as error:
        if error.where == str(name):
            raise
        raise InputError(name, f"{error.where} {error.rule}", error.found, error.mend) from None
    except Exception as error:  # Pillow raises nearly anything on broken files
        reason = f"{type(error).__name__}: {error}"
        raise InputError(name, "must be an image that can be decoded", reason, "fetch or convert the file") from None
    choice = "colour" if colour and not is_grey(stored) else "full range"
    return Radiograph(stored, full_range(8 * stored.itemsize), 8 * stored.itemsize, choice)


@lru_cache(maxsize=2)
def full_range(bits: int) -> Image:
    """The table from black to white: float32 ``[2^bits]``, read-only."""
    table = np.linspace(0, 1, 2**bits, dtype=np.float32)
    table.setflags(write=False)
    return table


def _read(content: bytes, name: object, reduce: Reduce) -> NDArray[Any]:
    if content.startswith(PNG):
        shades, has_notes = read_png(content, name, reduce)
        return upright(shades, _png_orientation(content) if has_notes else 1)
    if content.startswith(_JPEG):
        return _read_jpeg(content, name, reduce)
    if content.startswith(TIFF):
        return upright(*read_tiff(content, name, reduce))
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((kind for begin, kind in _OTHERS.items() if start.startswith(begin)), "another kind of file")
    raise InputError(name, _RULE, found, "fetch or convert the file")


def _png_orientation(content: bytes) -> int:
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(io.BytesIO(content)) as picture:
        return int(picture.getexif().get(_ORIENTATION, 1))


def _read_jpeg(content: bytes, name: object, reduce: Reduce) -> NDArray[np.uint8]:
    from PIL.JpegImagePlugin import JpegImageFile

    _require_end(content, name)
    with JpegImageFile(io.BytesIO(content)) as picture:  # Pillow's open() has a limit of its own
        require_pixels(picture.height, picture.width, name)
        if picture.mode not in ("L", "RGB"):
            raise InputError(name, "a JPEG must be grey or RGB", picture.mode, "save it as grey")
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        samples = np.asarray(picture)
    return upright(reduce(samples if samples.ndim == 3 else samples[:, :, None]), orientation)


def _require_end(content: bytes, name: object) -> None:
    """Refuse a JPEG without its last marker: libraries fill what is missing with grey."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != _END:
        marker = content[at + 1]
        if marker == 0xFF:  # a marker may be filled up
            at += 1
            continue
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _ENTROPY_CODED:
            found = _MARKER.search(content, at)
            at = found.start() if found else len(content)
    if content[at : at + 2] != bytes((0xFF, _END)):
        raise InputError(name, "a JPEG must be complete", f"no end after {len(content)} bytes", "fetch the file again")

"""The NIfTI reader: single pictures in ``.nii`` and ``.nii.gz``, turned upright by their affine."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.readers.limits import require_pixels
from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.greyscale import PERCENTILES, Depth, Rules, Window, tabulate

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.nifti1 import Nifti1Image

_GZIP: Final = b"\x1f\x8b"
_MOST_INFLATED: Final = 2**28
_HEADER: Final = 544
_FLATTEST: Final = 10.0


def is_nifti(content: bytes) -> bool:
    """Whether the bytes begin as a NIfTI-1 or NIfTI-2 file does, compressed or not."""
    start = content[:_HEADER]
    if start.startswith(_GZIP):
        try:
            start = zlib.decompressobj(wbits=31).decompress(content[:4096], _HEADER)
        except zlib.error:
            return False
    return start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2")


def read_nifti(content: bytes, name: object) -> Radiograph:
    """Decode a NIfTI picture.

    The display range of the header (``cal_min``, ``cal_max``) is a window; without it the percentiles decide, as for
    DICOM. Numbers with a fraction within [0, 1] are brightness already.

    Args:
        content: the file.
        name: what to call it in errors.

    Returns:
        The picture, right way up where the file tells how it lies in the body: head up, the patient's right on the
        left. Where it does not, the first index runs along a row.

    Raises:
        InputError: the file is broken, no single picture, or of a type that is not read.
    """
    from nibabel import Nifti1Image, Nifti2Image

    try:
        plain = _inflate(content, name) if content.startswith(_GZIP) else content
        if plain[344:347] == b"ni1" or plain[4:7] == b"ni2":
            raise InputError(name, "must be one file", "the first of two files", "convert it to .nii")
        image = (Nifti2Image if plain[4:7] == b"n+2" else Nifti1Image).from_bytes(plain)
        shape = _require_picture(image, name)
        raw = np.asarray(_proxy(image).get_unscaled()).reshape(shape)
        picture, aspect = _upright(image, raw)
        return _grey(image, picture, aspect, name)
    except InputError:
        raise
    except Exception as error:  # nibabel raises nearly anything on broken files
        rule = "must be a NIfTI picture that can be read"
        raise InputError(name, rule, type(error).__name__, "fetch the file again") from None


def _inflate(content: bytes, name: object) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    plain = inflater.decompress(content, _MOST_INFLATED)
    if not inflater.eof:
        found = "more" if inflater.unconsumed_tail else "a file that was cut off"
        raise InputError(name, "must inflate to at most 256 MiB", found, "fetch the file again")
    return plain


def _proxy(image: Nifti1Image) -> ArrayProxy:
    return cast("ArrayProxy", image.dataobj)


def _require_picture(image: Nifti1Image, name: object) -> tuple[int, int]:
    shape = tuple(int(side) for side in image.shape)
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):
        raise InputError(name, "must be one picture", "x".join(map(str, shape)), "cut a picture out of the volume")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or (kind.kind != "f" and kind.itemsize > 2):
        raise InputError(name, "values must be whole numbers up to 16 bits, or floats", kind, "convert the file")
    require_pixels(shape[1], shape[0], name)
    return shape[0], shape[1]


def _upright(image: Nifti1Image, raw: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Rows downwards, columns to the right: towards inferior or posterior, and towards left or posterior."""
    from nibabel.orientations import io_orientation

    header = image.header
    zooms = [float(zoom) for zoom in header.get_zooms()[:2]]
    known = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    axes = io_orientation(image.affine)[:2] if known else np.full((2, 2), np.nan)
    down = 1  # the second index runs down, where nothing is known
    if not np.isnan(axes).any():
        raw = raw[tuple(slice(None, None, -1 if direction > 0 else 1) for direction in axes[:, 1])]
        down = int(np.argmax(axes[:, 0]))  # of the body's axes, the last in a picture's plane stands upright
    ratio = zooms[down] / zooms[1 - down] if min(zooms) > 0 else 1.0
    aspect = ratio if 1 / _FLATTEST <= ratio <= _FLATTEST else 1.0
    return np.ascontiguousarray(raw if down == 0 else raw.T), aspect


def _grey(image: Nifti1Image, picture: NDArray[Any], aspect: float, name: object) -> Radiograph:
    slope, intercept = float(_proxy(image).slope), float(_proxy(image).inter)
    if picture.dtype.kind == "f":
        return _quantised(picture * slope + intercept, aspect, name)
    native = picture.astype(picture.dtype.newbyteorder("="), copy=False)
    words, bits = native.view(f"u{native.itemsize}"), 8 * native.itemsize
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    window = Window((low + high) / 2, high - low, "LINEAR_EXACT") if high > low else None
    rules = Rules(slope, intercept, window=window)
    try:
        table, choice = tabulate(rules, Depth(bits, bits - 1, native.dtype.kind == "i"), words)
    except InputError as error:
        raise InputError(name, f"{error.where} {error.rule}", error.found, error.mend) from None
    return Radiograph(words, table, bits, choice, aspect)


def _quantised(values: NDArray[Any], aspect: float, name: object) -> Radiograph:
    """Floats as 65536 steps of brightness."""
    if not np.isfinite(values).all():
        raise InputError(name, "values must be finite", "NaN or infinity", "mend the file")
    low, high, choice = 0.0, 1.0, "full range"
    if values.min() < low or values.max() > high:
        low, high = (float(value) for value in np.percentile(values, PERCENTILES))
        choice = f"percentiles {low:g}..{high:g}"
    steps = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 65535
    return Radiograph(np.rint(steps).astype(np.uint16), np.linspace(0, 1, 65536, dtype=np.float32), 16, choice, aspect)

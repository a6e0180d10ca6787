"""The undamaged files that ``scripts/fuzz_reader.py`` damages: all that the reader takes."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import UID, RLELossless

from tests.data.readers.dicoms import compress, encode, make_dicom
from tests.data.readers.pngs import chunk, png

_LARGEST: Final = 600_000  # bytes; larger files only take longer
_ROWS, _COLUMNS = 60, 48
_ORIENTATION: Final = 0x0112
_NATIVE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_BASELINE: Final = "1.2.840.10008.1.2.4.50"

Pixels = np.ndarray[Any, Any]
Encoder = Callable[[Pixels], bytes]


def collect_seeds() -> dict[str, bytes]:
    """Generated files by name, and real ones below ``CXRAUG_DATA`` where that is set."""
    files = generated_seeds()
    root = os.environ.get("CXRAUG_DATA")
    if root:
        real = [*sorted(Path(root, "dicom").glob("*.dcm")), *sorted(Path(root, "nih_originals").glob("*.png"))[:2]]
        files |= {path.name: path.read_bytes() for path in real if path.stat().st_size <= _LARGEST}
        for archive in ("nih_64.zip", "nih_128.zip", "kermany_224.zip"):
            if (path := Path(root, archive)).exists():
                files |= _pictures(path, 4)
    return files


def generated_seeds() -> dict[str, bytes]:
    """Small pictures in every picture format, NIfTI, and every DICOM transfer syntax that can be written here."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(_ROWS), np.arange(_COLUMNS)) * 30 + rng.integers(0, 200, (_ROWS, _COLUMNS))
    deep, grey = ramp.astype(np.uint16), (ramp // 16).clip(0, 255).astype(np.uint8)
    colours = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    return (
        _pillow_seeds(grey, deep, colours)
        | _png_seeds(grey, colours)
        | _nifti_seeds(deep)
        | _dicom_seeds(deep, colours)
    )


def _pillow_seeds(grey: Pixels, deep: Pixels, colours: Pixels) -> dict[str, bytes]:
    colour, files = Image.fromarray(colours), {}
    for name, picture in {
        "grey": Image.fromarray(grey),
        "deep": Image.fromarray(deep),
        "rgb": colour,
        "rgba": colour.convert("RGBA"),
        "palette": colour.quantize(64),
        "bits": Image.fromarray(grey > 90),
    }.items():
        files[f"{name}.png"] = _saved(picture, "PNG")
        files[f"{name}.tif"] = _saved(picture, "TIFF", compression=None if name == "deep" else "tiff_lzw")
    for name, compression in {
        "plain": None,
        "deflate": "tiff_adobe_deflate",
        "jpeg": "jpeg",
        "packed": "packbits",
    }.items():
        files[f"rgb_{name}.tif"] = _saved(colour, "TIFF", compression=compression)
    turned = Image.Exif()
    turned[_ORIENTATION] = 6
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
        files[f"turned.{suffix}"] = _saved(colour, kind, exif=turned)
    files["grey.jpg"] = _saved(Image.fromarray(grey), "JPEG")
    files["rgb.jpg"] = _saved(colour, "JPEG", quality=90, progressive=True)
    files["rgb_whole.jpg"] = _saved(colour, "JPEG", quality=90, subsampling=0)
    return files


def _png_seeds(grey: Pixels, colours: Pixels) -> dict[str, bytes]:
    """What Pillow does not write: sixteen bits of colour, opacity of every kind, seven passes."""
    opacity = grey[::-1, :, None]
    both = np.concatenate([colours, opacity], axis=2)
    entries = chunk(b"PLTE", colours[0, :16].tobytes()) + chunk(b"tRNS", bytes(range(0, 256, 16)))
    hidden = chunk(b"tRNS", colours[3, 4].astype(">u2").tobytes())
    return {
        "deep_rgb.png": png(colours.astype(np.uint16) * 257, 16, 2, kinds=(0, 1, 2, 3, 4)),
        "deep_rgba.png": png(both.astype(np.uint16) * 257, 16, 6, kinds=(4,)),
        "shade_and_opacity.png": png(both[:, :, 2:], 8, 4, kinds=(2, 3)),
        "hidden.png": png(colours, 8, 2, before=hidden, pieces=3),
        "passes.png": png(colours, 8, 2, interlaced=True, kinds=(1, 4)),
        "shallow_passes.png": png(grey[:, :, None] >> 6, 2, 0, interlaced=True),
        "shallow_palette.png": png(grey[:, :, None] >> 4, 4, 3, before=entries),
    }


def _nifti_seeds(deep: Pixels) -> dict[str, bytes]:
    import gzip

    import nibabel

    content = nibabel.Nifti1Image(deep.astype(np.int16), np.eye(4)).to_bytes()
    return {"deep.nii": content, "deep.nii.gz": gzip.compress(content, mtime=0)}


def _dicom_seeds(deep: Pixels, colours: Pixels) -> dict[str, bytes]:
    window = {"WindowCenter": 1500, "WindowWidth": 3000, "PatientName": "Fuzz^Test"}
    files = {f"{syntax}.dcm": encode(make_dicom(deep, 12, UID(syntax), **window)) for syntax in _NATIVE}
    files["run_lengths.dcm"] = encode(_run_lengths(make_dicom(deep, 12, **window)))
    for syntax, encoder in _encoders().items():
        files[f"{syntax}.dcm"] = encode(compress(make_dicom(deep, 12, **window), encoder(deep), syntax=syntax))
    return files | _colour_dicom_seeds(colours)


def _colour_dicom_seeds(colours: Pixels) -> dict[str, bytes]:
    rgb, planes, packed, photograph = (make_dicom(colours, 8, PhotometricInterpretation="RGB") for _ in range(4))
    planes.PlanarConfiguration, planes.PixelData = 1, np.moveaxis(colours, -1, 0).tobytes()
    photograph.PhotometricInterpretation = "YBR_FULL_422"
    stream = _saved(Image.fromarray(colours), "JPEG", quality=90)
    return {
        "rgb.dcm": encode(rgb),
        "rgb_planes.dcm": encode(planes),
        "rgb_run_lengths.dcm": encode(_run_lengths(packed)),
        "ybr_jpeg.dcm": encode(compress(photograph, stream, syntax=_BASELINE)),
    }


def _encoders() -> dict[str, Encoder]:
    try:
        import imagecodecs as codecs
    except ImportError:
        return {}
    extended = lambda pixels: bytes(codecs.jpeg8_encode(pixels, bitspersample=12, level=90))  # noqa: E731
    lossless = lambda pixels: bytes(codecs.jpeg8_encode(pixels, bitspersample=12, lossless=True, predictor=1))  # noqa: E731
    wavelet = lambda pixels: bytes(codecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True))  # noqa: E731
    return {
        "1.2.840.10008.1.2.4.51": extended,
        "1.2.840.10008.1.2.4.57": lossless,
        "1.2.840.10008.1.2.4.70": lossless,
        "1.2.840.10008.1.2.4.80": lambda pixels: bytes(codecs.jpegls_encode(pixels)),
        "1.2.840.10008.1.2.4.90": wavelet,
    }


def _run_lengths(dataset: FileDataset) -> FileDataset:
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _pictures(archive: Path, count: int) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith((".png", ".jpeg"))]
        return {f"{archive.name}/{name}": opened.read(name) for name in names[:count]}

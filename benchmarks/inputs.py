"""Files that the data benchmarks read: radiographs at the sizes that archives hold, made here or the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROWS, COLUMNS, BITS = 2500, 2000, 12
#: name of a row to the transfer syntax of its file.
SYNTAXES = {
    "raw": "1.2.840.10008.1.2.1",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
}
_NOISE = 6.0  # grey values of 4096; about what a detector leaves at 12 bits


def png_files(folder: Path) -> dict[str, list[Path]]:
    """Return PNG files of 1024 px: NIH originals where ``CXRAUG_DATA`` has them, else phantoms; and saved anew.

    ChestX-ray14 was written with one filter for all rows. Other writers choose a filter for each row, which takes
    longer to undo: the second set holds the same pictures that way.
    """
    originals = sorted(Path(os.environ.get("CXRAUG_DATA", "/nonexistent"), "nih_originals").glob("*.png"))
    files = originals[:8] or _phantom_pngs(folder)
    anew = []
    for file in files[:4]:
        anew.append(folder / f"anew_{file.name}")
        Image.open(file).convert("L").save(anew[-1])
    print(f"PNG rows: {'NIH originals' if originals else 'phantoms'}, {len(files)} files")
    return {"png 1024": files, "png 1024 mixed filters": anew}


def dicom_files(folder: Path) -> dict[str, Path]:
    """Write one radiograph of 2500 x 2000 pixels, 12 bits of 16, in every transfer syntax of :data:`SYNTAXES`."""
    pixels = _radiograph()
    return {name: _write_dicom(folder / f"{name}.dcm", pixels, name) for name in SYNTAXES}


def _phantom(seed: int, size: int) -> NDArray[np.float32]:
    from monai_cxraug.data.sources.phantom import render, sample_population

    return render(sample_population(20, seed)[0], size, seed)


def _phantom_pngs(folder: Path) -> list[Path]:
    files = []
    for seed in range(4):
        noisy = _phantom(seed, 1024) * 255 + np.random.default_rng(seed).normal(0, 1.5, (1024, 1024))
        files.append(folder / f"phantom_{seed}.png")
        Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(files[-1])
    return files


def _radiograph() -> NDArray[np.uint16]:
    picture = Image.fromarray(_phantom(0, 1024)).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, _NOISE, (ROWS, COLUMNS))
    top = 2**BITS - 1
    return np.clip(np.rint(np.asarray(picture) * top + noise), 0, top).astype(np.uint16)


def _write_dicom(path: Path, pixels: NDArray[np.uint16], name: str) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, generate_uid

    meta, dataset = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID = UID(SYNTAXES[name])
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = meta
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, BITS, BITS - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = pixels.tobytes() if name == "raw" else encapsulate([_encode(pixels, name)])
    dataset["PixelData"].is_undefined_length = name != "raw"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _encode(pixels: NDArray[np.uint16], name: str) -> bytes:
    import imagecodecs

    if name == "jpeg-lossless":
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=BITS))
    if name == "jpeg-ls":
        return bytes(imagecodecs.jpegls_encode(pixels))
    if name == "rle":
        from pydicom.pixels.encoders import RLELosslessEncoder

        return bytes(
            RLELosslessEncoder.encode(
                pixels,
                rows=ROWS,
                columns=COLUMNS,
                samples_per_pixel=1,
                bits_allocated=16,
                bits_stored=BITS,
                photometric_interpretation="MONOCHROME2",
                pixel_representation=0,
                number_of_frames=1,
            )
        )
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=BITS))

"""The data path against MONAI's stock transforms, OpenCV, plain copying and itself on one core.

    make bench-data                                # generated pictures
    CXRAUG_DATA=/data make bench-data              # PNG rows on NIH originals at 1024 px (/data/nih_originals/*.png)

"Stock" is ``LoadImaged + EnsureChannelFirstd + Resized + ScaleIntensityd`` to 256 x 256; ours reads the same file into
float32 256 x 256 in [0, 1] by area averaging. Both run in this process on one thread, in turn; a row holds medians.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from harness import Row, faster, finish, race
from inputs import SYNTAXES, dicom_files, png_files

SIZE = 256
_STOCK_PNG, _STOCK_DICOM = "PILReader", "PydicomReader"
#: transfer syntax to the speed-up wanted
_DICOM_BOUNDS = {"raw": 3.5, "jpeg-lossless": 2.5, "jpeg-ls": 2.0, "rle": 3.5, "jpeg2000": 1.0}


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="timed runs of each side (%(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large manifest (%(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="images that are prepared (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        finish("data", list(_rows(Path(folder), args)))


def _rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    pngs = png_files(folder)
    yield from _png_rows(pngs, args.rounds)
    for name, file in dicom_files(folder).items():
        assert name in SYNTAXES
        yield _decode_row(f"dicom {name}", [file], _stock(_STOCK_DICOM), _DICOM_BOUNDS[name], args.rounds)
    yield from _batch_rows(folder, pngs["png 1024"], args.rounds)
    yield _prepare_row(folder, pngs["png 1024"], args.images)
    yield _manifest_row(folder, args.rows)


def _png_rows(pngs: dict[str, list[Path]], rounds: int) -> Iterator[Row]:
    for case, files in pngs.items():
        yield _decode_row(case, files, _stock(_STOCK_PNG), 2.0, rounds)
        yield _decode_row(
            f"{case}, OpenCV", files, _opencv, None, rounds, f"opencv {version('opencv-python-headless')}"
        )


def _decode_row(
    case: str, files: list[Path], peer: Callable[[Path], object], bound: float | None, rounds: int, name: str = ""
) -> Row:
    from monai_cxraug.data.readers import read_radiograph

    def ours() -> None:
        for file in files:
            read_radiograph(file).resized(SIZE, "squash")

    def theirs() -> None:
        for file in files:
            peer(file)

    peer_name = name or f"stock MONAI {version('monai')}"
    return faster(f"{case} (images/s)", len(files), race(ours, theirs, rounds), peer_name, bound)


def _stock(reader: str) -> Callable[[Path], object]:
    import torch
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized, ScaleIntensityd

    torch.set_num_threads(1)
    keys = "image"
    logging.disable(logging.WARNING)  # remarks for every file on a missing affine cost the stock reader time
    warnings.simplefilter("ignore")
    steps = [LoadImaged(keys, reader), EnsureChannelFirstd(keys), Resized(keys, (SIZE, SIZE)), ScaleIntensityd(keys)]
    pipeline = Compose(steps)
    return lambda file: pipeline({"image": str(file)})


def _opencv(file: Path) -> object:
    import cv2

    cv2.setNumThreads(1)
    picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _batch_rows(folder: Path, files: list[Path], rounds: int) -> Iterator[Row]:
    """A batch of 32 images from the pack: against decoding the files, and against copying the same bytes."""
    from monai_cxraug.data.manifest import Manifest, make_columns
    from monai_cxraug.data.pack import Pack, write_pack

    rng, batch, count = np.random.default_rng(0), 32, 4096
    images = rng.integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)
    names = [f"{row}.png" for row in range(count)]
    write_pack(folder / "pack", images, names)
    labels = np.zeros((count, 0), dtype=np.float32)
    pack = Pack(folder / "pack", Manifest(make_columns([{"image": name} for name in names]), (), labels))
    np.asarray(pack.array).sum()  # from the page cache, as in every epoch but the first
    draws = iter(rng.integers(0, count, (100_000, batch)))
    stock = _stock(_STOCK_PNG)
    decode = [files[row % len(files)] for row in range(batch)]
    seconds = race(lambda: pack.batch(next(draws)), lambda: [stock(file) for file in decode], rounds)
    yield faster("pack batch (images/s)", batch, seconds, f"stock MONAI {version('monai')}", 50)
    source, target = np.ascontiguousarray(images), np.empty((batch, SIZE, SIZE), dtype=np.uint8)

    def copy() -> None:
        for place, row in enumerate(next(draws)):
            target[place] = source[row]

    def often(call: Callable[[], object]) -> Callable[[], None]:  # one copy takes too little time to be timed
        def repeat() -> None:
            for _ in range(50):
                call()

        return repeat

    into = np.empty_like(target)
    seconds = race(often(lambda: pack.batch(next(draws), into)), often(copy), rounds)
    yield faster("pack batch, copying (images/s)", 50 * batch, seconds, f"rows copied by numpy {np.__version__}", 0.8)


def _prepare_row(folder: Path, files: list[Path], count: int) -> Row:
    """Packing the same files with two workers and with one."""
    from monai_cxraug.data.decoding import Recipe
    from monai_cxraug.data.files import FileRef
    from monai_cxraug.data.packing import build_pack

    refs = [FileRef(files[number % len(files)]) for number in range(count)]
    names = [f"{number}.png" for number in range(count)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(5):
        for workers in (1, 2) if turn % 2 else (2, 1):
            start = time.perf_counter()
            build_pack(folder / f"prepare-{turn}-{workers}", refs, names, Recipe(SIZE), workers=workers)
            seconds[workers].append(time.perf_counter() - start)
    pair = float(np.median(seconds[2])), float(np.median(seconds[1]))
    return faster("prepare 2 cores (images/s)", count, pair, "ours on one core", 1.8)


def _manifest_row(folder: Path, rows: int) -> Row:
    """Reading and checking a large manifest; the peer only parses the same table."""
    import pandas

    from monai_cxraug.data.manifest import Manifest, read_manifest
    from monai_cxraug.keys import MANIFEST_COLUMNS
    from monai_cxraug.labels import NIH_FINDINGS

    rng = np.random.default_rng(0)
    labels = (rng.random((rows, len(NIH_FINDINGS))) < 0.05).astype(np.float32)
    labels[rng.random(labels.shape) < 0.01] = np.nan
    numbers = [str(number) for number in range(rows)]
    columns: dict[str, Any] = {name: np.full(rows, "", dtype=object) for name in MANIFEST_COLUMNS}
    columns["image"] = np.array([f"{number.zfill(8)}_000.png" for number in numbers], dtype=object)
    columns["patient_id"] = np.array([str(row // 4) for row in range(rows)], dtype=object)
    columns["split"], columns["source"] = np.full(rows, "train", object), np.full(rows, "real", object)
    for name, values in (("view", ["PA", "AP"]), ("sex", ["M", "F"])):
        columns[name] = rng.choice(values, rows).astype(object)
    path = Manifest(columns, NIH_FINDINGS, labels).write(folder / "large")
    seconds = race(lambda: read_manifest(path), lambda: pandas.read_csv(path), rounds=3)
    print(f"a manifest of {rows:,} rows is read and checked in {seconds[0]:.2f} s (bound for a million: 5 s)")
    return faster("manifest (rows/s)", rows, seconds, f"pandas {pandas.__version__}", None)


if __name__ == "__main__":
    main()

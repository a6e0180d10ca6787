"""Feed the reader mutated and truncated files; count what comes out.

    python scripts/fuzz_reader.py --files 100000 --out fuzz.json                 # generated files
    CXRAUG_DATA=/data python scripts/fuzz_reader.py --files 100000 --out fuzz.json   # and real ones below /data

Every file is a pure function of (seed, number). It is read in a process of its own kind: one that dies, hangs or asks
for more memory than allowed is counted, the file is kept under ``--keep``, and the run goes on. An image is checked
against what its own header says. The exit status is 1 when anything but an image or a refusal came out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

Mutation = Callable[[np.random.Generator, bytearray], bytearray]

SLOWEST = 30.0  # seconds for one small file; more is a hang
MEMORY = 6 * 2**30  # address space of a reading process
_LARGEST_SEED = 700_000  # bytes; larger files only take longer
_GOOD = ("image", "refused", "dropped")


@dataclass(frozen=True)
class Outcome:
    """What one file came to: a kind, and the reason or the fault in words."""

    kind: str
    detail: str = ""


# --- mutations ---


def flip_bits(rng: np.random.Generator, data: bytearray) -> bytearray:
    for place in rng.integers(0, len(data), rng.integers(1, 16)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def flip_header_bits(rng: np.random.Generator, data: bytearray) -> bytearray:
    for place in rng.integers(0, min(len(data), 2048), rng.integers(1, 8)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def truncate(rng: np.random.Generator, data: bytearray) -> bytearray:
    return data[: int(rng.integers(0, len(data)))]


def remove_block(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 512))]
    return data


def repeat_block(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = int(rng.integers(0, len(data)))
    block = data[start : start + int(rng.integers(1, 512))]
    data[start:start] = block * int(rng.integers(1, 8))
    return data


def fill_block(rng: np.random.Generator, data: bytearray) -> bytearray:
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 1024))
    fill = [b"\x00", b"\xff", b"A"][rng.integers(3)]
    data[start : start + length] = fill * len(data[start : start + length])
    return data


def extreme_number(rng: np.random.Generator, data: bytearray) -> bytearray:
    """Write a length, count or size that no file should have somewhere near the beginning."""
    place = int(rng.integers(0, max(1, min(len(data), 2048) - 4)))
    numbers = [
        b"\xff\xff",
        b"\xff\xff\xff\xff",
        b"\x00\x00",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\x00\x00\x00\x80",
    ]
    value = numbers[rng.integers(len(numbers))]
    data[place : place + len(value)] = value
    return data


_DICOM_NUMBERS = (0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280006)


def dicom_number(rng: np.random.Generator, data: bytearray) -> bytearray:
    """Change Rows, Columns, bits and the like of a DICOM file, in either byte order; else flip header bits."""
    tag = _DICOM_NUMBERS[rng.integers(len(_DICOM_NUMBERS))]
    group, element = tag >> 16, tag & 0xFFFF
    for order in ("little", "big"):
        mark = group.to_bytes(2, order) + element.to_bytes(2, order)
        if (place := data.find(mark)) >= 0:
            choices = [0, 1, 7, 8, 12, 16, 17, 32, 64, 255, 1000, 32768, 65535]
            value = int(choices[rng.integers(len(choices))])
            data[place + 8 : place + 10] = value.to_bytes(2, order)
            return data
    return flip_header_bits(rng, data)


def png_size(rng: np.random.Generator, data: bytearray) -> bytearray:
    """Change the header of a PNG and mend its checksum; else write an extreme number."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        return extreme_number(rng, data)
    place = 16 + int(rng.integers(0, 13))
    data[place] = int(rng.integers(256))
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return data


_UIDS = re.compile(rb"1\.2\.840\.10008\.1\.2(\.[0-9.]+)?\x00?")
_SYNTAXES = (b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51", b"1.2.840.10008.1.2.4.57", b"1.2.840.10008.1.2.4.70")
_SYNTAXES += (b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.1")
_SYNTAXES += (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.201")


def swap_syntax(rng: np.random.Generator, data: bytearray) -> bytearray:
    """Claim another transfer syntax of the same or a shorter length; else flip bits."""
    match = _UIDS.search(bytes(data[:512]))
    if match is None:
        return flip_bits(rng, data)
    length = match.end() - match.start()
    fitting = [uid for uid in _SYNTAXES if len(uid) <= length]
    data[match.start() : match.end()] = fitting[rng.integers(len(fitting))].ljust(length, b"\x00")
    return data


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_header_bits, truncate, remove_block, repeat_block, fill_block),
    *(extreme_number, dicom_number, png_size, swap_syntax),
)


def mutate(seeds: Sequence[bytes], seed: int, number: int) -> tuple[bytes, str]:
    """Return the number-th file, and which mutation came last.

    One to three mutations of one seed file; one file in twenty is the head of one and the tail of another.
    """
    rng = np.random.default_rng([seed, number])
    data = bytearray(seeds[rng.integers(len(seeds))])
    if rng.random() < 0.05:
        other = seeds[rng.integers(len(seeds))]
        data = data[: int(rng.integers(0, len(data)))] + other[int(rng.integers(0, len(other))) :]
    name = ""
    for _ in range(int(rng.integers(1, 4))):
        change = MUTATIONS[rng.integers(len(MUTATIONS))]
        data, name = change(rng, data or bytearray(b"\0")), change.__name__
    return bytes(data), name


# --- seeds ---


def collect_seeds(folder: Path) -> list[bytes]:
    """Generated files in every format, and real ones below ``CXRAUG_DATA`` where that is set."""
    files = [path.read_bytes() for path in write_seeds(folder)]
    root = os.environ.get("CXRAUG_DATA")
    if root:
        real = [*sorted(Path(root, "dicom").glob("*.dcm")), *sorted(Path(root, "nih_originals").glob("*.png"))[:2]]
        files += [path.read_bytes() for path in real if path.stat().st_size <= _LARGEST_SEED]
        for archive in ("nih_64.zip", "kermany_224.zip"):
            if (path := Path(root, archive)).exists():
                files += _pictures(path, 4)
    return files


def _pictures(archive: Path, count: int) -> list[bytes]:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith((".png", ".jpeg"))]
        return [opened.read(name) for name in names[:count]]


def write_seeds(folder: Path) -> list[Path]:
    """Write small pictures in every picture format, NIfTI and every DICOM transfer syntax that can be written here."""
    import nibabel
    from PIL import Image

    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(60), np.arange(48)) * 30 + rng.integers(0, 200, (60, 48))
    deep, grey = ramp.astype(np.uint16), (ramp // 16).clip(0, 255).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=-1))
    for name, picture in {
        "grey": Image.fromarray(grey),
        "deep": Image.fromarray(deep),
        "rgb": colour,
        "rgba": colour.convert("RGBA"),
        "palette": colour.quantize(64),
        "bits": Image.fromarray(grey > 90),
    }.items():
        picture.save(folder / f"{name}.png")
        picture.save(folder / f"{name}.tif", compression=None if name == "deep" else "tiff_lzw")
    Image.fromarray(grey).save(folder / "grey.jpg")
    colour.save(folder / "rgb.jpg", quality=90, progressive=True)
    for suffix in (".nii", ".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(deep.astype(np.int16), np.eye(4)), folder / f"deep{suffix}")
    _write_dicom_seeds(folder, deep)
    return sorted(folder.iterdir())


def _write_dicom_seeds(folder: Path, pixels: np.ndarray) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    for uid, encode in _encoders().items():
        meta, dataset = FileMetaDataset(), Dataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = uid, "1.2.840.10008.5.1.4.1.1.1"
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
        dataset.file_meta, dataset.SOPClassUID = meta, meta.MediaStorageSOPClassUID
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.WindowCenter, dataset.WindowWidth, dataset.PatientName = 1500, 3000, "Fuzz^Test"
        encoded = encode(pixels) if encode else None
        swapped = pixels.byteswap() if uid == "1.2.840.10008.1.2.2" else pixels
        dataset.PixelData = encapsulate([encoded]) if encoded else swapped.tobytes()
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OW", encoded is not None
        dataset.save_as(folder / f"{uid}.dcm", enforce_file_format=True)


def _encoders() -> dict[str, Callable[[np.ndarray], bytes] | None]:
    encoders: dict[str, Callable[[np.ndarray], bytes] | None] = dict.fromkeys(
        ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
    )
    try:
        import imagecodecs as codecs
    except ImportError:
        return encoders
    extended = lambda pixels: bytes(codecs.jpeg8_encode(pixels, bitspersample=12, level=90))  # noqa: E731
    lossless = lambda pixels: bytes(codecs.jpeg8_encode(pixels, bitspersample=12, lossless=True, predictor=1))  # noqa: E731
    wavelet = lambda pixels: bytes(codecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True))  # noqa: E731
    return encoders | {
        "1.2.840.10008.1.2.4.51": extended,
        "1.2.840.10008.1.2.4.57": lossless,
        "1.2.840.10008.1.2.4.70": lossless,
        "1.2.840.10008.1.2.4.80": lambda pixels: bytes(codecs.jpegls_encode(pixels)),
        "1.2.840.10008.1.2.4.90": wavelet,
    }


# --- reading ---


def read_one(data: bytes, patient: bool) -> Outcome:
    """Read a file as ``cxraug prepare`` would, and judge what came out.

    Args:
        data: the file.
        patient: keep what the default policy would leave out, so that decoders see more files.
    """
    from monai_cxraug.data.readers import read_radiograph
    from monai_cxraug.data.readers.policy import DicomPolicy, DroppedImage
    from monai_cxraug.errors import InputError

    policy = DicomPolicy.keep_all() if patient else DicomPolicy()
    try:
        radiograph = read_radiograph(data, "fuzz", policy)
    except DroppedImage as error:
        return Outcome("dropped", error.rule)
    except InputError as error:
        return Outcome("refused", error.rule) if len(str(error)) < 2000 else Outcome("fault", "an endless message")
    except MemoryError:
        return Outcome("memory", "MemoryError")
    except Exception as error:
        return Outcome("fault", f"{type(error).__name__}: {error}")
    return _judge(data, radiograph.stored, radiograph.resized(32))


def _judge(data: bytes, stored: np.ndarray, picture: np.ndarray) -> Outcome:
    if stored.ndim != 2 or picture.shape != (32, 32) or not np.isfinite(picture).all():
        return Outcome("fault", f"shape {stored.shape} or values not finite")
    if picture.min() < 0 or picture.max() > 1:
        return Outcome("fault", f"values {picture.min()}..{picture.max()}")
    if stored.min() == stored.max():
        return Outcome("blank", f"every value is {stored.min()}")
    wanted = declared_size(data)
    if wanted and sorted(stored.shape) != sorted(wanted):  # a picture may be turned
        return Outcome("wrong size", f"{stored.shape} for {wanted}")
    return Outcome("image")


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns by the file's own header, read by other code than ours; None where that fails."""
    import io

    try:
        if data[128:132] == b"DICM":
            from pydicom import dcmread

            dataset = dcmread(io.BytesIO(data), stop_before_pixels=True)
            return int(dataset.Rows), int(dataset.Columns)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    except Exception:
        return None
    return None


def work(pipe: Connection, seeds: list[bytes], seed: int) -> None:
    """Read numbers, send outcomes, until the pipe closes."""
    import warnings

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")  # of the independent header readers
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        outcome = read_one(mutate(seeds, seed, number)[0], patient=number % 4 > 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        pipe.send((outcome, time.perf_counter() - start, peak))


class Worker:
    """One reading process, replaced when it dies or hangs."""

    def __init__(self, seeds: list[bytes], seed: int) -> None:
        self.seeds, self.seed, self.number, self.since = seeds, seed, -1, 0.0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.seeds, self.seed), daemon=True)
        self.process.start()
        other.close()

    def give(self, number: int) -> None:
        self.number, self.since = number, time.monotonic()
        self.pipe.send(number)

    def poll(self) -> tuple[Outcome, float, int] | None:
        """Outcome, seconds and peak MiB; None while it reads."""
        try:
            if self.pipe.poll(0.05):
                return self.pipe.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            self._start()
            return Outcome("crash", f"exit status {code}"), 0.0, 0
        if time.monotonic() - self.since > SLOWEST:
            self.process.kill()
            self.process.join()
            self._start()
            return Outcome("hang", f"more than {SLOWEST:.0f} s"), SLOWEST, 0
        return None


def run(args: argparse.Namespace, seeds: list[bytes]) -> Iterator[tuple[int, Outcome, float, int]]:
    """Yield every file's number, outcome, seconds and peak memory in MiB, in no fixed order."""
    workers = [Worker(seeds, args.seed) for _ in range(args.workers)]
    numbers = iter(range(args.first, args.first + args.files))
    busy = []
    for worker in workers:
        if (number := next(numbers, None)) is not None:
            worker.give(number)
            busy.append(worker)
    while busy:
        for worker in list(busy):
            if (result := worker.poll()) is None:
                continue
            yield (worker.number, *result)
            if (number := next(numbers, None)) is None:
                busy.remove(worker)
            else:
                worker.give(number)


def main() -> int:
    """Run, print the counts, write them, and keep the files behind every fault."""
    args = _parse()
    with tempfile.TemporaryDirectory() as folder:
        seeds = collect_seeds(Path(folder))
    kinds: Counter[str] = Counter()
    by_mutation: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    faults, slowest, peak, start = [], (0.0, -1), 0, time.monotonic()
    for number, outcome, seconds, memory in run(args, seeds):
        name = mutate(seeds, args.seed, number)[1]
        kinds[outcome.kind] += 1
        by_mutation.setdefault(name, Counter())[outcome.kind] += 1
        slowest, peak = max(slowest, (seconds, number)), max(peak, memory)
        if outcome.kind in ("refused", "dropped"):
            reasons[outcome.detail] += 1
        elif outcome.kind != "image":
            faults.append({"number": number, "mutation": name, "kind": outcome.kind, "detail": outcome.detail})
            _keep(args.keep, number, mutate(seeds, args.seed, number)[0])
        if (done := kinds.total()) % 1000 == 0:
            print(f"{done:,} files, {dict(kinds)}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    report = {
        "files": kinds.total(),
        "seed": args.seed,
        "first": args.first,
        "seeds": len(seeds),
        "outcomes": dict(kinds.most_common()),
        "slowest_seconds": round(slowest[0], 2),
        "slowest_number": slowest[1],
        "peak_mib": peak,
        "by_mutation": {name: dict(counts) for name, counts in sorted(by_mutation.items())},
        "reasons": dict(reasons.most_common(40)),
        "faults": faults,
    }
    text = json.dumps(report, indent=1)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text if not args.out else json.dumps(report["outcomes"]))
    return int(any(kind not in _GOOD for kind in kinds))


def _keep(folder: Path | None, number: int, data: bytes) -> None:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.bin").write_bytes(data)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000, help="how many files (%(default)s)")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first, to go on or to repeat one (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="reading processes (%(default)s)")
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the files behind faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

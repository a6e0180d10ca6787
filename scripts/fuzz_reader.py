"""Feed the reader mutated and truncated files; count what comes out.

    python -m scripts.fuzz_reader --files 100000 --out fuzz.json                 # generated files
    CXRAUG_DATA=/data python -m scripts.fuzz_reader --files 100000 --out fuzz.json   # and real ones below /data

Every file is a pure function of (seed, number). It is read in a process of its own kind: one that dies, hangs or asks
for more memory than allowed is counted, the file is kept under ``--keep``, and the run goes on. An image is checked
against what its own header says. Every third file is read in colour too: both readings must agree in the refusal, or in
size and in the grey of the colours. The exit status is 1 when anything but an image or a refusal came out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import re
import resource
import sys
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scripts.fuzz_seeds import collect_seeds

if TYPE_CHECKING:
    from monai_cxraug.data.readers import DicomPolicy, Radiograph

Mutation = Callable[[np.random.Generator, bytearray], bytearray]

SLOWEST = 30.0  # seconds for one small file; more is a hang
AHEAD = 16  # files that a process is given before it has answered
MEMORY = 6 * 2**30  # address space of a reading process
_GOOD = ("image", "refused", "dropped")
_FLAT = "must show more than one grey value"
_COLOUR_DICOM = "a DICOM image among pictures in colour must be grey"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_MOST_OFF = 2.0  # steps: opacity is rounded before the luma in one reading, after it in the other


@dataclass(frozen=True)
class Outcome:
    """What one file came to: a kind, and the reason or the fault in words."""

    kind: str
    detail: str = ""


class Answer(NamedTuple):
    """What one file came to: its number, the last mutation, the outcome, seconds and peak memory in MiB."""

    number: int
    mutation: str
    outcome: Outcome
    seconds: float
    memory: int


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


# --- reading ---


def read_one(data: bytes, patient: bool, colour: bool = False) -> Outcome:
    """Read a file as ``cxraug prepare`` would, and judge what came out.

    Args:
        data: the file.
        patient: keep what the default policy would leave out, so that decoders see more files.
        colour: read it as ``prepare --colour`` would, and compare with the grey reading.
    """
    from monai_cxraug.data.readers import read_colour, read_radiograph
    from monai_cxraug.data.readers.policy import DicomPolicy

    policy = DicomPolicy.keep_all() if patient else DicomPolicy()
    outcome, grey = _attempt(read_radiograph, data, policy)
    if not colour or outcome.kind in ("fault", "memory"):
        return outcome
    coloured, picture = _attempt(read_colour, data, policy)
    if coloured.kind in _GOOD and (reason := _disagreement(outcome, grey, coloured, picture)):
        return Outcome("disagreement", reason)
    return coloured


def _attempt(read: Callable[..., Radiograph], data: bytes, policy: DicomPolicy) -> tuple[Outcome, Radiograph | None]:
    from monai_cxraug.data.readers.policy import DroppedImage
    from monai_cxraug.errors import InputError

    try:
        radiograph = read(data, "fuzz", policy)
    except DroppedImage as error:
        return Outcome("dropped", error.rule), None
    except InputError as error:
        return Outcome("refused", error.rule) if len(str(error)) < 2000 else Outcome(
            "fault", "an endless message"
        ), None
    except MemoryError:
        return Outcome("memory", "MemoryError"), None
    except Exception as error:
        return Outcome("fault", f"{type(error).__name__}: {error}"), None
    return _judge(data, radiograph.stored, radiograph.resized(32)), radiograph


def _judge(data: bytes, stored: np.ndarray, picture: np.ndarray) -> Outcome:
    if stored.shape[2:] not in ((), (3,)) or picture.shape != (32, 32, *stored.shape[2:]):
        return Outcome("fault", f"shape {stored.shape}, resized {picture.shape}")
    if not np.isfinite(picture).all() or picture.min() < 0 or picture.max() > 1:
        return Outcome("fault", f"values {picture.min()}..{picture.max()}")
    if (stored == stored[0, 0]).all():
        return Outcome("blank", f"every value is {stored[0, 0]}")
    wanted = declared_size(data)
    if wanted and sorted(stored.shape[:2]) != sorted(wanted):  # a picture may be turned
        return Outcome("wrong size", f"{stored.shape} for {wanted}")
    return Outcome("image")


def _disagreement(outcome: Outcome, grey: Radiograph | None, coloured: Outcome, picture: Radiograph | None) -> str:
    """In words, where the readings in grey and in colour contradict each other; empty where they do not."""
    if grey is None or picture is None:
        alike = outcome.kind == coloured.kind and outcome.detail in (coloured.detail, _FLAT)
        expected = alike or (outcome.detail == _FLAT and picture is not None) or coloured.detail == _COLOUR_DICOM
        return "" if expected else f"grey: {outcome}, colour: {coloured}"
    if grey.stored.shape != picture.stored.shape[:2] or grey.stored.dtype != picture.stored.dtype:
        return f"grey {grey.stored.shape} {grey.stored.dtype}, colour {picture.stored.shape} {picture.stored.dtype}"
    every = 1 + grey.stored.size // 2**17  # row of a large picture: the rest only takes longer
    off = np.abs(picture.stored[::every] @ np.array(_LUMA) - grey.stored[::every]).max()
    return f"the grey of the colours is off by {off:.2f}" if off > _MOST_OFF else ""


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


def in_colour(number: int) -> bool:
    """Whether the number-th file is read in colour too."""
    return number % 3 == 0


def work(pipe: Connection, seeds: list[bytes], seed: int) -> None:
    """Read numbers, send outcomes, until the pipe closes."""
    import warnings

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")  # of the independent header readers
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    pipe.send("ready")
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        data, name = mutate(seeds, seed, number)
        outcome = read_one(data, patient=number % 4 > 0, colour=in_colour(number))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        pipe.send(Answer(number, name, outcome, time.perf_counter() - start, peak))


class Worker:
    """One reading process, replaced when it dies or hangs; it is given some files ahead, so that it need not wait."""

    def __init__(self, seeds: list[bytes], seed: int) -> None:
        self.seeds, self.seed, self.since = seeds, seed, 0.0
        self.pending: deque[int] = deque()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.seeds, self.seed), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()  # it has begun
        self.since = time.monotonic()
        for number in self.pending:
            self.pipe.send(number)

    def fill(self, numbers: Iterator[int]) -> None:
        """Give it the next files, as many as it may have ahead."""
        for number in itertools.islice(numbers, AHEAD - len(self.pending)):
            self.pending.append(number)
            self.pipe.send(number)

    def poll(self) -> Answer | None:
        """What the next file came to; None while it reads."""
        try:
            if self.pipe.poll(0.05):
                answer: Answer = self.pipe.recv()
                self.since = time.monotonic()
                self.pending.popleft()
                return answer
        except (EOFError, OSError):
            self.process.join()
            return self._replace(Outcome("crash", f"exit status {self.process.exitcode}"), 0.0)
        if time.monotonic() - self.since > SLOWEST:
            self.process.kill()
            self.process.join()
            return self._replace(Outcome("hang", f"more than {SLOWEST:.0f} s"), SLOWEST)
        return None

    def _replace(self, outcome: Outcome, seconds: float) -> Answer:
        number = self.pending.popleft()
        name = mutate(self.seeds, self.seed, number)[1]
        self._start()
        return Answer(number, name, outcome, seconds, 0)


def run(args: argparse.Namespace, seeds: list[bytes]) -> Iterator[Answer]:
    """Yield what became of every file, in no fixed order."""
    workers = [Worker(seeds, args.seed) for _ in range(args.workers)]
    numbers = iter(range(args.first, args.first + args.files))
    while True:
        for worker in workers:
            worker.fill(numbers)
        if not (busy := [worker for worker in workers if worker.pending]):
            return
        yield from (answer for worker in busy if (answer := worker.poll()))


def main() -> int:
    """Run, print the counts, write them, and keep the files behind every fault."""
    args = _parse()
    seeds = list(collect_seeds().values())
    kinds: Counter[str] = Counter()
    coloured: Counter[str] = Counter()
    by_mutation: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    faults, slowest, peak, start = [], (0.0, -1), 0, time.monotonic()
    for number, name, outcome, seconds, memory in run(args, seeds):
        kinds[outcome.kind] += 1
        coloured[outcome.kind] += in_colour(number)
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
        "in_colour": dict((+coloured).most_common()),
        "seconds": round(time.monotonic() - start),
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

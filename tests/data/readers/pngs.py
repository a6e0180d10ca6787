"""A PNG encoder for tests, written from ISO/IEC 15948: any colour type, depth, filter, interlaced or not."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Pass of each pixel of an 8 x 8 tile (figure 4.8 of the standard).
ADAM7 = np.array(
    [
        [1, 6, 4, 6, 2, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [3, 6, 4, 6, 3, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
    ]
)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(columns: int, rows: int, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, interlaced))


def rows_of(samples: np.ndarray, depth: int) -> list[bytes]:
    """Each row's samples ``[H, W, C]`` as packed bits, the first in the highest."""
    texts = ("".join(format(value, f"0{depth}b") for value in row.ravel().tolist()) for row in samples)
    return [int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big") for text in texts]


def filter_rows(rows: list[bytes], pixel_bytes: int, kinds: list[int]) -> bytes:
    """Clause 9.2, byte by byte; the kinds of filter take turns."""
    result = bytearray()
    before = bytes(len(rows[0])) if rows else b""
    for number, row in enumerate(rows):
        kind = kinds[number % len(kinds)]
        result.append(kind)
        for k, x in enumerate(row):
            a, c = (row[k - pixel_bytes], before[k - pixel_bytes]) if k >= pixel_bytes else (0, 0)
            b = before[k]
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            result.append((x - (0, a, b, (a + b) // 2, near)[kind]) % 256)
        before = row
    return bytes(result)


def pixel_data(samples: np.ndarray, depth: int, interlaced: bool = False, kinds: tuple[int, ...] = (0,)) -> bytes:
    """Filtered bytes of ``[H, W, C]`` before they are deflated."""
    pixel_bytes = max(1, samples.shape[2] * depth // 8)
    parts = [samples]
    if interlaced:
        passes = np.tile(ADAM7, [-(-side // 8) for side in samples.shape[:2]])[: len(samples), : samples.shape[1]]
        parts = []
        for number in range(1, 8):
            rows, columns = (np.unique(where) for where in np.nonzero(passes == number))
            parts.append(samples[np.ix_(rows, columns)])
    return b"".join(filter_rows(rows_of(part, depth), pixel_bytes, list(kinds)) for part in parts if part.size)


def png(
    samples: np.ndarray,
    depth: int = 8,
    colour: int = 0,
    interlaced: bool = False,
    kinds: tuple[int, ...] = (0,),
    before: bytes = b"",
    pieces: int = 1,
) -> bytes:
    """A whole file; ``before`` are chunks that stand in front of the data, which is cut in ``pieces``."""
    data = zlib.compress(pixel_data(samples, depth, interlaced, kinds))
    size = -(-len(data) // pieces)
    idat = b"".join(chunk(b"IDAT", data[k : k + size]) for k in range(0, len(data), size))
    first = header(samples.shape[1], len(samples), depth, colour, int(interlaced))
    return SIGNATURE + first + before + idat + chunk(b"IEND")

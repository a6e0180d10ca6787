"""What a compressed stream says of itself, read before any decoder sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BOX: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_LONGEST_BOXES: Final = 1 << 16
_END: Final = b"\xff\xd9"  # end of image (JPEG, JPEG-LS) and of the codestream (JPEG 2000)
#: start of frame: baseline, extended, lossless (ITU-T T.81 table B.1), JPEG-LS (ITU-T T.87 C.1.1).
_FRAMES: Final = {0xC0: "baseline", 0xC1: "extended", 0xC3: "lossless", 0xF7: "jpeg-ls"}
_LONGEST_PADDING: Final = 16
_BARE: Final = (0x01, *range(0xD0, 0xD8))  # markers without a length


@dataclass(frozen=True)
class Stream:
    """One compressed frame.

    Args:
        data: the frame from its first to its last marker.
        kind: ``baseline``, ``extended``, ``lossless``, ``jpeg-ls`` or ``jpeg2000``.
        rows: height in pixels.
        columns: width in pixels.
        samples: components a pixel.
        precision: bits of a component.
        signed: whether components are signed (JPEG 2000 only).
        explained: whether the stream says what its components are: by a marker or their names (JPEG), or because they
            were mixed from RGB (JPEG 2000).
    """

    data: bytes
    kind: str
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    explained: bool = False


def read_stream(frame: bytes) -> Stream | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 stream; None where it is none, or ends before its end."""
    if frame.startswith(_BOX):
        start = frame.find(_CODESTREAM, 0, _LONGEST_BOXES)
        frame = frame[start:] if start > 0 else b""
    end = frame.rfind(_END)
    if end < 0 or len(frame) - end > _LONGEST_PADDING:  # a picture within a comment ends with the same marker
        return None
    frame = frame[: end + 2]
    return _read_jpeg2000(frame) if frame.startswith(_CODESTREAM) else _read_jpeg(frame)


def _read_jpeg2000(frame: bytes) -> Stream | None:
    """Image and tile size, coding style (ITU-T T.800 A.5.1 and A.6.1)."""

    def number(position: int, size: int) -> int:
        return int.from_bytes(frame[position : position + size], "big")

    length, samples = number(4, 2), number(40, 2)
    right, bottom, left, top = (number(position, 4) for position in (8, 12, 16, 20))
    parts = [frame[position : position + 3] for position in range(42, 42 + 3 * samples, 3)]
    if not 1 <= samples <= 4 or length != 38 + 3 * samples or len(set(parts)) != 1 or parts[0][1:] != b"\1\1":
        return None
    style = frame.find(b"\xff\x52", 4 + length, 4 + length + _LONGEST_BOXES)
    depth = parts[0][0]
    mixed = style > 0 and number(style + 8, 1) == 1
    return Stream(frame, "jpeg2000", bottom - top, right - left, samples, (depth & 127) + 1, depth > 127, mixed)


def _read_jpeg(frame: bytes) -> Stream | None:
    position, explained = 2, False
    while frame.startswith(b"\xff\xd8") and position + 10 <= len(frame) and frame[position] == 0xFF:
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker in _FRAMES:
            rows, columns = (int.from_bytes(frame[position + at : position + at + 2], "big") for at in (5, 7))
            named = frame[position + 10 : position + 19 : 3] == b"RGB"
            depth, samples = frame[position + 4], frame[position + 9]
            return Stream(frame, _FRAMES[marker], rows, columns, samples, depth, explained=explained or named)
        explained |= marker in (0xE0, 0xEE) and frame[position + 4 : position + 8] in (b"JFIF", b"Adob")
        position += 1 if marker == 0xFF else 2 if marker in _BARE else 2 + max(length, 2)
    return None

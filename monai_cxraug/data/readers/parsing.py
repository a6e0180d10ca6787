"""From the bytes of a DICOM file to its attributes and the place of its pixels, with bounded time and memory."""

from __future__ import annotations

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.attributes import first

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

_UNDEFINED: Final = 0xFFFFFFFF
_PIXEL_DATA: Final = 0x7FE00010
_FLOAT_PIXELS: Final = (0x7FE00008, 0x7FE00009)
_PREAMBLE: Final = 128
#: Bytes of attributes that are read before the pixels, skipped ones not counted; look-up tables need the most.
_MOST_READ: Final = 2**22
_LONGEST_VALUE: Final = 2**20
#: Bytes of pixels that a deflated file may inflate to; the largest radiographs take 100 MB.
_MOST_INFLATED: Final = 2**28
_PART: Final = 2**25  # each part copies what is left to inflate
_MOST_FRAGMENTS: Final = 2**17
_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data lie.

    Args:
        start: first byte of the value in :attr:`Parsed.content`.
        length: bytes of the value; None where it is a sequence of fragments.
        is_float: whether the element is Float Pixel Data or Double Float Pixel Data.
        in_words: whether bytes were written as words (VR OW), which matters for big-endian ones.
    """

    start: int
    length: int | None
    is_float: bool
    in_words: bool


@dataclass(frozen=True)
class Parsed:
    """Attributes before the pixel data.

    Args:
        dataset: the attributes asked for; nothing else was kept.
        syntax: transfer syntax; empty where the file names none.
        pixels: place of the pixel data; None where there are none.
        content: bytes that ``pixels`` points into; empty where only the header was read.
    """

    dataset: Dataset
    syntax: str
    pixels: PixelElement | None
    content: bytes

    @property
    def little_endian(self) -> bool:
        """Whether words have their low byte first."""
        return self.syntax != BIG_ENDIAN


class _Frugal:
    """A stream that refuses to be read for long: skipping is free, reading is counted."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, _MOST_READ
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left + 1 if size < 0 else size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLongError
        return data


class _TooLongError(Exception):
    """More attributes than any radiograph has."""


_QUIET: Final = threading.RLock()  # what silences a library is shared by all threads


@contextmanager
def silenced() -> Iterator[None]:
    """Keep back pydicom's warnings and log lines: they quote attributes, and print tracebacks of what we refuse."""
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings():
        before = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.handlers, logger.propagate = before


def is_dicom(content: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does, or as one whose preamble was lost."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM" or _bare_syntax(content) is not None


@contextmanager
def open_dicom(data: Path | bytes, name: object, keywords: Sequence[str]) -> Iterator[Parsed]:
    """Parse a file up to its pixel data, and turn whatever goes wrong until the block ends into one line.

    Args:
        data: the file, of which only the beginning is read, or its bytes.
        name: what to call the file in errors.
        keywords: the attributes wanted; no other is looked at.

    Raises:
        InputError: the file is missing, is not DICOM or cannot be parsed, or an attribute cannot be understood.
        ConfigError: a keyword is unknown.
    """
    tags = [_tag(keyword) for keyword in keywords]
    try:
        with silenced():
            if isinstance(data, bytes):
                yield _parse(io.BytesIO(data), data, name, tags)
            else:
                with data.open("rb") as stream:
                    yield _parse(stream, b"", name, tags)
    except ConfigError:
        raise
    except InputError as error:
        if error.where == str(name):
            raise
        raise type(error)(name, f"{error.where} {error.rule}", error.found, error.mend) from None
    except _TooLongError:
        mend = "leave the file out"
        raise InputError(name, "attributes must take less than 4 MiB", "more", mend) from None
    except Exception as error:  # pydicom raises nearly anything on broken files; its words may quote attributes
        if isinstance(error, OSError) and error.strerror:
            raise InputError(name, "must be a readable file", error.strerror, "check the path") from None
        rule = "must have DICOM attributes that can be understood"
        raise InputError(name, rule, type(error).__name__, "fetch the file again") from None


def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ConfigError("patient_key", "must be the keyword of a DICOM attribute", repr(keyword), "try PatientID")
    return tag


def _parse(stream: BinaryIO, content: bytes, name: object, tags: list[int]) -> Parsed:
    start = stream.read(_PREAMBLE + 12)
    has_preamble = start[_PREAMBLE : _PREAMBLE + 4] == b"DICM"
    bare = None if has_preamble else _bare_syntax(start)
    if not has_preamble and bare is None:
        raise InputError(name, "must be a DICOM file", "another kind of file", "fetch or convert the file")
    stream.seek(_PREAMBLE + 4 if has_preamble else 0)
    syntax = bare or _transfer_syntax(stream)
    if syntax == DEFLATED:
        return _parse_deflated(stream, bool(content), name, tags)
    if not syntax:  # the attributes themselves tell how they are written, but not how the pixels are
        position = stream.tell()
        syntax = _bare_syntax(stream.read(12)) or ""
        stream.seek(position)
    dataset, pixels = _read_attributes(stream, syntax, tags)
    return Parsed(dataset, syntax, pixels, content)


def _read_attributes(stream: BinaryIO, syntax: str, tags: list[int]) -> tuple[Dataset, PixelElement | None]:
    from pydicom.filereader import read_dataset

    found: list[PixelElement] = []

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA or tag in _FLOAT_PIXELS:
            known = None if length == _UNDEFINED else length
            found.append(PixelElement(stream.tell(), known, tag in _FLOAT_PIXELS, vr == "OW"))
        return tag > _PIXEL_DATA or bool(found)

    dataset = read_dataset(
        cast(BinaryIO, _Frugal(stream)),
        is_implicit_VR=syntax in (IMPLICIT, ""),
        is_little_endian=syntax != BIG_ENDIAN,
        stop_when=stop,
        defer_size=_LONGEST_VALUE,
        specific_tags=cast(Any, tags),
    )
    return dataset, found[0] if found else None


def _parse_deflated(stream: BinaryIO, whole: bool, name: object, tags: list[int]) -> Parsed:
    """Inflate what follows the file meta information (PS3.5 A.5): the attributes, and then no more than the pixels."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    head = inflater.decompress(stream.read() if whole else stream.read(_MOST_READ), _MOST_READ)
    dataset, pixels = _read_attributes(io.BytesIO(head), DEFLATED, tags)
    if not whole or pixels is None or pixels.length is None:
        return Parsed(dataset, DEFLATED, pixels, b"")
    rest = pixels.start + pixels.length - len(head)
    if rest > _MOST_INFLATED:
        raise InputError(name, "pixel data must take at most 256 MiB", f"{pixels.length} bytes", "leave the file out")
    parts = [head]
    while rest > 0 and (part := inflater.decompress(inflater.unconsumed_tail, min(rest, _PART))):
        parts.append(part)
        rest -= len(part)
    if rest > 0:
        raise InputError(name, "must inflate to its pixel data", "a file that was cut off", "fetch the file again")
    return Parsed(dataset, DEFLATED, pixels, b"".join(parts))


def _transfer_syntax(stream: BinaryIO) -> str:
    """Read the file meta information (PS3.10 7.1), always explicit VR little endian; the stream stops behind it."""
    from pydicom.filereader import read_dataset

    meta = read_dataset(
        cast(BinaryIO, _Frugal(stream)),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        defer_size=_LONGEST_VALUE,
        specific_tags=cast(Any, [0x00020010]),
    )
    return text_of(meta, "TransferSyntaxUID")


def _bare_syntax(start: bytes) -> str | None:
    """How a data set is written that begins with its first attribute, group 0002 or 0008; None where none does.

    The empty text says that file meta information comes first, which names the transfer syntax itself.
    """
    little, big = (int.from_bytes(start[:2], order) for order in ("little", "big"))
    explicit = start[4:6] in _VRS
    if little == 2 and explicit:
        return ""
    if little == 8:
        short = int.from_bytes(start[4:8], "little") < 2**16 and int.from_bytes(start[2:4], "little") < 2**12
        return EXPLICIT if explicit else IMPLICIT if short and len(start) >= 12 else None
    return BIG_ENDIAN if big == 8 and explicit else None


def read_fragments(parsed: Parsed, name: object) -> tuple[list[int], list[memoryview]]:
    """Read encapsulated pixel data (PS3.5 A.4).

    Args:
        parsed: a file whose pixel element has no length.
        name: what to call the file in errors.

    Returns:
        Offsets of the frames, as far as the file tells them, and the fragments.

    Raises:
        InputError: the items are cut off or broken.
    """
    content = memoryview(parsed.content)
    position = parsed.pixels.start if parsed.pixels else 0
    items: list[memoryview] = []
    while position + 8 <= len(content):
        tag = bytes(content[position : position + 4])
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        if tag == b"\xfe\xff\xdd\xe0":
            break
        position += 8
        if tag != b"\xfe\xff\x00\xe0" or position + length > len(content) or len(items) > _MOST_FRAGMENTS:
            raise InputError(name, "compressed pixel data must be whole", "a broken item", "fetch the file again")
        items.append(content[position : position + length])
        position += length
    if len(items) < 2:
        raise InputError(name, "a DICOM image needs pixel data", "none", "fetch the file again")
    offsets = [int.from_bytes(items[0][place : place + 4], "little") for place in range(0, len(items[0]) // 4 * 4, 4)]
    return offsets, items[1:]


def text_of(dataset: Dataset, keyword: str) -> str:
    """First value of an attribute as text; empty where it is absent, empty or no plain value."""
    value = first(dataset, keyword)
    if value is None or isinstance(value, bytes) or hasattr(value, "walk"):  # bytes, or an item of a sequence
        return ""
    return str(value).strip(" \0")

"""Where an image's bytes lie: a file of its own, or a member of a zip archive. Nothing outside is ever followed."""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from monai_cxraug.errors import InputError

#: bytes a single file may have: the largest radiographs have about 100 MB.
MOST_BYTES = 2**30
#: bytes that an archive may unfold into for each of its own, and in any case; deflate packs a thousand zeros into one.
_MOST_UNFOLDED, _SPARE = 200, 2**30
_HIDDEN = (".", "__MACOSX")
#: what zipfile raises on a missing, damaged, encrypted or strangely compressed member, and the system on a file.
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OverflowError,
)
#: methods that are inflated piece by piece; a small member of another method could fill the memory at once.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8_NAME = 0x800
_DRIVE = re.compile(r"[A-Za-z]:")
#: before the data of a member: a header, and the name.
_HEADER = 30


@dataclass(frozen=True)
class FileRef:
    """One image file.

    Args:
        path: the file, or the archive that holds it.
        member: name inside the archive; empty for a plain file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def read(self, limit: int = MOST_BYTES) -> bytes:
        """Return the bytes.

        Args:
            limit: bytes to read at most, however much the file or the archive holds or claims to hold.

        Raises:
            InputError: the file or member cannot be read, is no regular file, or is larger than the limit.
        """
        try:
            content = self._read_member(limit) if self.member else self._read_file(limit)
        except InputError:
            raise
        except _UNREADABLE as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InputError(self, "must be a readable file", reason, "fetch the file again") from None
        self._require_size(len(content), limit)
        return content

    def read_text(self) -> str:
        """Return the content as text.

        Raises:
            InputError: the file or member cannot be read, or is not UTF-8.
        """
        try:
            return self.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(self, "must be text in UTF-8", error, "fetch or convert the file") from None

    def stamp(self) -> tuple[int, str]:
        """Return what tells an unchanged file without reading it.

        Returns:
            Its bytes, and the times of the last change of its content and of its place in the system, which sees a
            changed content whose time was put back (of a member: those of the archive, and the member's checksum).
            A missing one has 0 and the empty text.
        """
        try:
            status = self.path.stat()
            changed = f"{status.st_mtime_ns}-{status.st_ctime_ns}"
            if not self.member:
                return status.st_size, changed
            info = open_archive(self.path).getinfo(self.member)
        except _UNREADABLE:
            return 0, ""
        return info.file_size, f"{changed}-{info.CRC:08x}"

    def _read_file(self, limit: int) -> bytes:
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would never end
            raise InputError(self, "must be a readable file", "no regular file", "check the path")
        self._require_size(status.st_size, limit)
        with self.path.open("rb") as stream:
            return stream.read(limit + 1)

    def _read_member(self, limit: int) -> bytes:
        archive = open_archive(self.path)
        info = archive.getinfo(self.member)
        self._require_size(info.file_size, limit)
        if info.compress_type not in _METHODS:
            found, mend = f"compression method {info.compress_type}", "pack the archive again"
            raise InputError(self, "a member must be stored or deflated", found, mend)
        with archive.open(info) as stream:
            return stream.read(limit + 1)

    def _require_size(self, size: int, limit: int) -> None:
        if size > limit:
            raise InputError(self, f"must have at most {limit} bytes", size, "leave it out, or fetch it again")


class Tree:
    """A folder or a zip archive, addressed by relative names with forward slashes.

    Names are in Unicode's composed form (NFC), as tables write them; macOS stores decomposed ones. The root may be a
    symbolic link; inside it, links to files of the same tree are files and all other links are left out, as are special
    files and the members of an archive that point outside of it or share their name.

    Args:
        path: the folder or archive.

    Raises:
        InputError: nothing is there, or it is neither a folder nor a zip archive; or, once names are asked for, the
            archive is damaged, its members lie in one another, or it unfolds into very much more than it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(self.path, "folder or zip archive must exist", "nothing there", "check the path")
        self.is_archive = self.path.is_file()
        if not self.path.is_dir() and not (self.is_archive and zipfile.is_zipfile(self.path)):
            raise InputError(self.path, "must be a folder or a zip archive", "another kind of file", "check the path")

    def names(self) -> list[str]:
        """Return every file's relative name, sorted; what systems hide (``.DS_Store``, ``__MACOSX``) is left out."""
        return sorted(self._listed[0])

    @property
    def left_out(self) -> dict[str, str]:
        """Names that are there but must not be followed or cannot be read, each with the reason."""
        return self._listed[1]

    def ref(self, name: str) -> FileRef:
        """Return the reference of a relative name; of one that is not listed too, whose reading then tells.

        Raises:
            InputError: the name leads out of the folder.
        """
        stored = self._listed[0].get(compose(name))
        if self.is_archive:
            return FileRef(self.path, stored or name)
        return FileRef(inside(self.path, name) if stored is None else self.path / stored)

    @cached_property
    def _listed(self) -> tuple[dict[str, str], dict[str, str]]:
        """Stored name by composed name, and what is left out."""
        stored: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for raw, shown, reason in self._members() if self.is_archive else _walk(self.path):
            name = compose(shown)
            if not reason and name in stored and stored[name] != raw:
                name, reason = shown, "the same name as another file's, written in other Unicode characters"
            if reason:
                left_out[_printable(name)] = reason
            else:
                stored[name] = raw
        return stored, left_out

    def _members(self) -> Iterator[tuple[str, str, str]]:
        """Stored name, readable name and reason to leave out, of each member that is no folder."""
        try:
            members = open_archive(self.path).infolist()
            self._refuse_bomb(members)
        except InputError:
            raise
        except _UNREADABLE as error:
            raise InputError(self.path, "must be a readable zip archive", error, "fetch the archive again") from None
        times = Counter(info.filename for info in members)
        for info in members:
            name = _readable(info)
            reason = _refused_member(info, name)
            if times[info.filename] > 1:
                reason = reason or "a name that the archive holds more than once"
            if not name.endswith("/") and (reason or not any(part.startswith(_HIDDEN) for part in name.split("/"))):
                yield info.filename, name, reason

    def _refuse_bomb(self, members: list[zipfile.ZipInfo]) -> None:
        """Refuse members that share bytes, as in a bomb of Fifield's kind (WOOT 2019), and more zeros than anything."""
        mend = "fetch it again, or pack the files again"
        size, claimed = self.path.stat().st_size, sum(info.file_size for info in members)
        if claimed > _MOST_UNFOLDED * size + _SPARE:
            rule = f"may unfold into {_MOST_UNFOLDED} times its bytes at most"
            raise InputError(self.path, rule, f"{claimed} bytes out of {size}", mend)
        end = 0
        for info in sorted(members, key=lambda one: one.header_offset):
            if info.header_offset < end:
                raise InputError(self.path, "members of an archive may not lie in one another", info.filename, mend)
            end = info.header_offset + _HEADER + len(info.filename) + info.compress_size


def inside(folder: Path, name: str) -> Path:
    """Path below a folder of a name that somebody else's file gives.

    Args:
        folder: that holds it.
        name: a name, or several with slashes between them.

    Raises:
        InputError: it leads out of the folder.
    """
    if _leads_out(name):
        raise InputError(folder, "names must lead below the folder", repr(name)[:100], "mend the file that names it")
    return folder / name


def compose(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), in which names are matched."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _walk(root: Path) -> Iterator[tuple[str, str, str]]:
    """Stored name twice, and the reason to leave it out, of all below a folder; folder links are not entered."""
    inside = os.path.realpath(root)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield folder, folder, f"a folder that cannot be opened: {error.strerror}"
            continue
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(_HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            else:
                yield name, name, _refused_entry(entry, inside)


def _refused_entry(entry: os.DirEntry[str], inside: str) -> str:
    if entry.is_file(follow_symlinks=False):
        return "" if _printable(entry.name) == entry.name else "a name that is no text in UTF-8"
    if not entry.is_symlink():
        return "neither a file nor a folder"
    target = os.path.realpath(entry.path)
    if not Path(target).is_relative_to(inside):
        return "a symbolic link that leads out of the folder"
    if os.path.isfile(target):
        return ""
    return "a symbolic link to a folder" if os.path.isdir(target) else "a symbolic link that leads nowhere"


def _printable(name: str) -> str:
    """Write bytes of a name that are no UTF-8, which systems allow and tables do not, as escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def _readable(info: zipfile.ZipInfo) -> str:
    """Name of a member; macOS writes UTF-8 without the mark that says so."""
    if info.flag_bits & _UTF8_NAME or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _refused_member(info: zipfile.ZipInfo, name: str) -> str:
    if _leads_out(name):
        return "a name that leads out of the archive"
    # the upper half holds the mode of the file where it was packed
    return "a symbolic link inside an archive" if stat.S_ISLNK(info.external_attr >> 16) else ""


def _leads_out(name: str) -> bool:
    """Whether a name leads out of a folder, on any system: upwards, from a root, or from a drive."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or _DRIVE.match(name) is not None or "\0" in name


def open_archive(path: Path) -> zipfile.ZipFile:
    """Return a zip archive, opened once for as long as the file stays the same."""
    status = path.stat()
    return _opened(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)

"""Where an image's bytes lie: a file of its own, or a member of a zip archive."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monai_cxraug.errors import InputError

_HIDDEN = (".", "__MACOSX")
#: what zipfile raises on a missing, damaged, encrypted or strangely compressed member, and the system on a file.
_UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


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

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            InputError: the file or member cannot be read.
        """
        try:
            return open_archive(self.path).read(self.member) if self.member else self.path.read_bytes()
        except _UNREADABLE as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InputError(self, "must be a readable file", reason, "fetch the file again") from None

    def read_text(self) -> str:
        """Return the content as text.

        Raises:
            InputError: the file or member cannot be read, or is not UTF-8.
        """
        try:
            return self.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(self, "must be text in UTF-8", error, "fetch or convert the file") from None


class Tree:
    """A folder or a zip archive, addressed by relative names with forward slashes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(self.path, "folder or zip archive must exist", "nothing there", "check the path")
        self.is_archive = self.path.is_file()
        if self.is_archive and not zipfile.is_zipfile(self.path):
            raise InputError(self.path, "must be a folder or a zip archive", "another kind of file", "check the path")

    def names(self) -> list[str]:
        """Return every file's relative name, sorted; what systems hide (``.DS_Store``, ``__MACOSX``) is left out."""
        if self.is_archive:
            names = [name for name in open_archive(self.path).namelist() if not name.endswith("/")]
        else:
            names = [file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()]
        return sorted(name for name in names if not any(part.startswith(_HIDDEN) for part in name.split("/")))

    def ref(self, name: str) -> FileRef:
        """Return the reference of a relative name."""
        return FileRef(self.path, name) if self.is_archive else FileRef(self.path / name)


def open_archive(path: Path) -> zipfile.ZipFile:
    """Return a zip archive, opened once for as long as the file stays the same."""
    status = path.stat()
    return _opened(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)

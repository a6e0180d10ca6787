"""Where an image's bytes lie: a file of its own, or a member of a zip archive."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monai_cxraug.errors import InputError


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
            return _archive(self.path).read(self.member) if self.member else self.path.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InputError(self, "must be a readable file", error, "fetch the file again") from None


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
        """Return every file's relative name, sorted."""
        if self.is_archive:
            return sorted(name for name in _archive(self.path).namelist() if not name.endswith("/"))
        return sorted(file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())

    def ref(self, name: str) -> FileRef:
        """Return the reference of a relative name."""
        return FileRef(self.path, name) if self.is_archive else FileRef(self.path / name)


@lru_cache(maxsize=8)
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)

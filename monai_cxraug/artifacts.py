"""Files between stages: written under a temporary name and renamed, carrying a schema, the version and input hashes."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from monai_cxraug import __version__
from monai_cxraug.errors import InputError, StateError

Json = Any
#: what file systems say that have no locks, as some over a network; there, nobody is locked out.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
#: a temporary file's name: its target's name, what ``mkstemp`` draws, and the target's suffix again.
_TEMPORARY = re.compile(r"\.[^.].*?(?P<suffix>\.[^.]+)\.[a-z0-9_]{8}(?P=suffix)")


@contextmanager
def atomic_path(path: str | os.PathLike[str], private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; rename it to the target on success, remove it on failure.

    Args:
        path: the final file. Its folder is made when missing.
        private: only the owner may read the file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if not private:
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner reads
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files of :func:`atomic_path` that killed processes left, here and one folder below.

    Args:
        folder: where nobody else writes now.
    """
    for file in (*folder.glob(".*"), *folder.glob("*/.*")):
        if _TEMPORARY.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], schema: str, content: Mapping[str, Json]) -> None:
    """Write a JSON artifact atomically, with ``schema`` and ``version`` first.

    Args:
        path: file to write.
        schema: name and version of the layout, for example ``"cxraug.manifest/1"``.
        content: JSON-serialisable mapping; NaN is refused, write None.
    """
    document = {"schema": schema, "version": __version__, **content}
    write_text(path, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str], schema: str) -> dict[str, Json]:
    """Read a JSON artifact and check its schema.

    Args:
        path: file to read.
        schema: the schema it must carry.

    Returns:
        The document, ``schema`` and ``version`` included.

    Raises:
        InputError: the file is missing or not JSON.
        StateError: the file carries another schema.
    """
    document = load_json(path)
    if not isinstance(document, dict) or document.get("schema") != schema:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise StateError(path, f"must carry schema {schema!r}", repr(found), "was it made by this tool and version?")
    return document


def load_json(path: str | os.PathLike[str]) -> Json:
    """Read any JSON file.

    Raises:
        InputError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "file must exist", "nothing there", "check the path") from None
    except (ValueError, RecursionError, OSError) as error:  # a number of 5000 digits and 5000 brackets are JSON too
        raise InputError(path, "must be a readable JSON file", str(error), "mend or remake the file") from None


class _LineFeeds:
    """Ends with a line feed what a csv writer ends with a carriage return and a line feed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically: UTF-8, ``\\n`` line ends, a header row."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        # a carriage return in a text is quoted only where it is part of a line's end; unquoted, no reader takes it
        writer = csv.writer(_LineFeeds(stream), lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows(rows)


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock file, so that two processes never write into one folder.

    The operating system holds the lock and frees it when the process ends in whatever way: a file that a killed process
    left behind locks nobody out.

    Args:
        path: the lock file; it holds the number of the process, and goes when the lock is given back.

    Raises:
        StateError: another process holds it.
    """
    path = Path(path)
    handle = _open_locked(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        with suppress(OSError):  # where open files cannot be removed, it stays and locks nobody out
            path.unlink()
        os.close(handle)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
            # the last holder may have removed the file between our opening and our locking it
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace") if hasattr(os, "pread") else ""
            os.close(handle)
            raise StateError(
                path.parent,
                "only one process may write here at a time",
                f"process {holder} at work" if holder else "another one at work",
                "wait for it to end, or choose another folder",
            ) from None
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 2**30, os.SEEK_SET)  # beyond the content, which others may read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def content_hash(content: Json) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces): equal content, equal hash."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()

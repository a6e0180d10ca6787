"""The SQLite file of a study's answers: what is acknowledged is on the disk, and it belongs to one study."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monai_cxraug.errors import InputError, StateError

SCHEMA: Final = "cxraug.answers/1"
DATABASE: Final = "answers.sqlite"

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS readers (
    code TEXT PRIMARY KEY, role TEXT NOT NULL DEFAULT 'other', years INTEGER NOT NULL DEFAULT -1,
    language TEXT NOT NULL DEFAULT 'en', simulated INTEGER NOT NULL DEFAULT 0, created_utc TEXT NOT NULL,
    started_utc TEXT NOT NULL DEFAULT '', finished_utc TEXT NOT NULL DEFAULT '', seen_utc TEXT NOT NULL DEFAULT '',
    tab TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS assigned (
    reader TEXT NOT NULL REFERENCES readers (code), position INTEGER NOT NULL, trial TEXT NOT NULL,
    shown_utc TEXT NOT NULL DEFAULT '', showings INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (reader, position), UNIQUE (reader, trial)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    reader TEXT NOT NULL, position INTEGER NOT NULL, answer TEXT NOT NULL, confidence INTEGER NOT NULL,
    reaction_ms REAL NOT NULL, answered_utc TEXT NOT NULL, display TEXT NOT NULL,
    PRIMARY KEY (reader, position), FOREIGN KEY (reader, position) REFERENCES assigned (reader, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    digest TEXT PRIMARY KEY, holder TEXT NOT NULL, used_utc TEXT NOT NULL
) WITHOUT ROWID;
"""


def now_utc() -> str:
    """The time, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Database:
    """One connection for all threads of the server: each waits its turn, each change is a transaction.

    Args:
        path: of the file; it is made when missing, readable by its owner alone.
        identity: of the study whose answers it holds.

    Raises:
        StateError: the file holds answers to another study.
        InputError: the file is no database, or cannot be written.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._lock = path, threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._prepare(identity)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                path, "must be a database of answers that can be written", error, "see its folder"
            ) from None

    def _prepare(self, identity: str) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=1", "foreign_keys=1", "trusted_schema=0"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(f"BEGIN; {_TABLES} COMMIT;")
        if not self.fact("study"):
            self.set_fact("schema", SCHEMA)
            self.set_fact("study", identity)
        check_identity(self.path, self.fact("schema"), self.fact("study"), identity)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Change something: all of it is on the disk when the block ends, or none of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Look something up."""
        with self._lock:
            yield self._connection

    def fact(self, name: str) -> str:
        """A value of the whole study; "" where it was never set."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_fact(self, name: str, value: str) -> None:
        """Set a value of the whole study."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Write the log into the file and let go of it."""
        with self._lock:
            self._connection.close()


def check_identity(path: Path, schema: str, found: str, wanted: str) -> None:
    """Refuse a database of another layout or another study.

    Raises:
        StateError: it is one.
    """
    if schema != SCHEMA:
        raise StateError(path, f"must carry schema {SCHEMA!r}", repr(schema), "was it made by this version?")
    if found != wanted:
        raise StateError(
            path, "holds answers to another study", f"{found[:12]} instead of {wanted[:12]}", "choose another folder"
        )

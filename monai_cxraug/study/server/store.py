"""Readers, the trials each is asked, and their answers."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monai_cxraug.study.files import Answer, Reader, Study, Trial
from monai_cxraug.study.server.codes import draw_code
from monai_cxraug.study.server.database import Database, now_utc
from monai_cxraug.study.server.order import choose_judged, order_trials

#: a reader who has not come back for so long is not counted on to answer the rest.
ABSENT: Final = timedelta(days=7)


class ConflictError(Exception):
    """What a page asks does not fit what is stored.

    Args:
        reason: ``other_tab``, ``not_started``, ``already_answered`` or ``out_of_order``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Given:
    """An answer as a page sends it.

    Args:
        position: of the trial in the reader's order.
        answer: one of the task's choices.
        confidence: 1 to 4 where it is asked, else 0.
        reaction_ms: measured by the browser.
        display: what the reader looked at.
    """

    position: int
    answer: str
    confidence: int
    reaction_ms: float
    display: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where a reader stands.

    Args:
        reader: who.
        position: of the trial to answer next; the number of answers.
        total: trials of this reader; 0 before the questionnaire.
    """

    reader: Reader
    position: int
    total: int

    @property
    def started(self) -> bool:
        """Whether trials were assigned."""
        return self.total > 0

    @property
    def finished(self) -> bool:
        """Whether every trial is answered."""
        return self.started and self.position >= self.total


class Store:
    """What the pages do with the database.

    Args:
        database: of the study.
        study: whose trials are asked.
    """

    def __init__(self, database: Database, study: Study) -> None:
        self.database, self.study = database, study
        self.trials: Mapping[str, Trial] = {one.trial: one for one in study.trials}
        self._orders: dict[str, tuple[str, ...]] = {}  # of readers who began; an order never changes

    def create_readers(self, count: int, simulated: bool = False, language: str = "en") -> list[str]:
        """Enrol readers; two never get one code, since the code is the table's key."""
        codes: list[str] = []
        while len(codes) < count:
            code = draw_code()
            try:
                with self.database.writing() as connection:
                    connection.execute(
                        "INSERT INTO readers (code, role, simulated, language, created_utc) VALUES (?, ?, ?, ?, ?)",
                        (code, "simulated" if simulated else "other", int(simulated), language, now_utc()),
                    )
            except sqlite3.IntegrityError:
                continue
            codes.append(code)
        return codes

    def progress(self, code: str) -> Progress | None:
        """Where a reader stands; None where there is no such reader."""
        with self.database.reading() as connection:
            row = connection.execute(f"{_SELECT_READER} WHERE code = ?", (code,)).fetchone()
            if row is None:
                return None
            return Progress(Reader(*row), _count(connection, "answers", code), len(self.order(code)))

    def start(self, code: str, role: str, years: int, language: str) -> None:
        """Take a reader's questionnaire, and decide which trials they are asked and in which order; once.

        Raises:
            ConflictError: there is no such reader, or the trials were assigned before.
        """
        with self.database.writing() as connection:
            reader = connection.execute(f"{_SELECT_READER} WHERE code = ?", (code,)).fetchone()
            if reader is None or _count(connection, "assigned", code):
                raise ConflictError("already_answered")
            simulated = Reader(*reader).simulated
            order = self._draw_order(connection, code, simulated)
            connection.executemany(
                "INSERT INTO assigned (reader, position, trial) VALUES (?, ?, ?)",
                [(code, position, one.trial) for position, one in enumerate(order)],
            )
            connection.execute(
                "UPDATE readers SET role = ?, years = ?, language = ?, started_utc = ?, seen_utc = ? WHERE code = ?",
                ("simulated" if simulated else role, years, language, now_utc(), now_utc(), code),
            )

    def set_language(self, code: str, language: str) -> None:
        """Remember the language of a reader's page."""
        with self.database.writing() as connection:
            connection.execute("UPDATE readers SET language = ? WHERE code = ?", (language, code))

    def open_tab(self, code: str) -> str:
        """Give the study to the page that asks now; from here on, pages opened before are refused."""
        tab = secrets.token_urlsafe(9)
        with self.database.writing() as connection:
            connection.execute("UPDATE readers SET tab = ?, seen_utc = ? WHERE code = ?", (tab, now_utc(), code))
            _note_showing(connection, code, _count(connection, "answers", code))
        return tab

    def upcoming(self, code: str, position: int, count: int) -> list[Trial]:
        """Trials of a reader from a position on, at most so many."""
        return [self.trials[name] for name in self.order(code)[position : position + count]]

    def order(self, code: str) -> tuple[str, ...]:
        """Names of the trials that a reader is asked, in order; none before the questionnaire."""
        if code not in self._orders:
            query = "SELECT trial FROM assigned WHERE reader = ? ORDER BY position"
            with self.database.reading() as connection:
                order = tuple(name for (name,) in connection.execute(query, (code,)).fetchall())
            if not order:
                return ()
            self._orders[code] = order
        return self._orders[code]

    def record(self, code: str, tab: str, given: Given) -> Trial:
        """Commit an answer; when this returns, it is on the disk. The same answer sent again changes nothing.

        Args:
            code: of the reader.
            tab: which of their pages it comes from.
            given: the answer.

        Returns:
            The trial that was answered.

        Raises:
            ConflictError: from an older page, not the trial that is next, or another answer than the stored one.
        """
        with self.database.writing() as connection:
            if connection.execute("SELECT 1 FROM readers WHERE code = ? AND tab = ?", (code, tab)).fetchone() is None:
                raise ConflictError("other_tab")
            row = connection.execute(
                "SELECT trial, showings FROM assigned WHERE reader = ? AND position = ?", (code, given.position)
            ).fetchone()
            if row is None:
                raise ConflictError("out_of_order")
            current = _count(connection, "answers", code)
            if given.position == current:
                _insert(connection, code, given, showings=row[1])
            else:
                _require_same(connection, code, given, current)
            return self.trials[row[0]]

    def answers(self) -> Iterator[Answer]:
        """All answers, by reader and position."""
        with self.database.reading() as connection:
            yield from read_answers(connection, self.study.identity)

    def readers(self) -> list[Reader]:
        """All readers who have begun."""
        with self.database.reading() as connection:
            return read_readers(connection)

    def _draw_order(self, connection: sqlite3.Connection, code: str, simulated: int) -> Sequence[Trial]:
        seed, limit = self.study.info.get("seed", 0), self.study.info.get("per_reader")
        chosen = None
        if limit:
            counts = _count_asked(connection, simulated)
            chosen = set(choose_judged(self.study.trials, limit, counts, seed, code))
        return order_trials(self.study.trials, seed, code, chosen)


_SELECT_READER: Final = "SELECT code, role, years, language, simulated, started_utc, finished_utc FROM readers"


def read_answers(connection: sqlite3.Connection, identity: str) -> Iterator[Answer]:
    """Read all answers of a database as rows of ``answers.csv``."""
    rows = connection.execute(
        "SELECT reader, trial, answer, confidence, reaction_ms, position, shown_utc, answered_utc, display"
        " FROM answers JOIN assigned USING (reader, position) ORDER BY reader, position"
    )
    for row in rows.fetchall():
        yield Answer(identity, *row)


def read_readers(connection: sqlite3.Connection) -> list[Reader]:
    """Read all readers of a database who have begun, as rows of ``readers.csv``."""
    rows = connection.execute(f"{_SELECT_READER} WHERE started_utc <> '' ORDER BY started_utc, code")
    return [Reader(*row) for row in rows.fetchall()]


def _count(connection: sqlite3.Connection, table: str, code: str) -> int:
    query = f"SELECT COUNT(*) FROM {table} WHERE reader = ?"  # nosec B608: the table is named by us, the code is bound
    return int(connection.execute(query, (code,)).fetchone()[0])


def _count_asked(connection: sqlite3.Connection, simulated: int) -> dict[str, int]:
    """How often each trial was answered, or is about to be by somebody who still comes; people and programs apart."""
    since = (datetime.now(UTC) - ABSENT).isoformat(timespec="milliseconds")
    rows = connection.execute(
        "SELECT assigned.trial, COUNT(*) FROM assigned JOIN readers ON readers.code = assigned.reader"
        " LEFT JOIN answers USING (reader, position)"
        " WHERE readers.simulated = ? AND (answers.reader IS NOT NULL OR readers.seen_utc > ?) GROUP BY assigned.trial",
        (simulated, since),
    )
    return dict(rows.fetchall())


def _note_showing(connection: sqlite3.Connection, code: str, position: int) -> None:
    connection.execute(
        "UPDATE assigned SET shown_utc = ?, showings = showings + 1 WHERE reader = ? AND position = ?",
        (now_utc(), code, position),
    )


def _insert(connection: sqlite3.Connection, code: str, given: Given, showings: int) -> None:
    display = json.dumps({**given.display, "showings": showings}, separators=(",", ":"), sort_keys=True)
    now = now_utc()
    connection.execute(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
        (code, given.position, given.answer, given.confidence, given.reaction_ms, now, display),
    )
    _note_showing(connection, code, given.position + 1)
    connection.execute("UPDATE readers SET seen_utc = ? WHERE code = ?", (now, code))
    if given.position + 1 == _count(connection, "assigned", code):
        connection.execute("UPDATE readers SET finished_utc = ? WHERE code = ?", (now, code))


def _require_same(connection: sqlite3.Connection, code: str, given: Given, current: int) -> None:
    if given.position > current:
        raise ConflictError("out_of_order")
    query = "SELECT answer, confidence, reaction_ms FROM answers WHERE reader = ? AND position = ?"
    stored = connection.execute(query, (code, given.position)).fetchone()
    if stored != (given.answer, given.confidence, given.reaction_ms):
        raise ConflictError("already_answered")

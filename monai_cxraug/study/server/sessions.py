"""Who is signed in: random values in cookies, of which the database holds only the hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from monai_cxraug.study.server.database import Database, now_utc

#: the holder of an administrator's session; no reader's code looks like it.
ADMIN: Final = "*admin"
#: an idle session ends; a reader then types the code again.
IDLE: Final = timedelta(hours=12)


def digest(secret: str) -> str:
    """What is stored of a secret. Our secrets are random and long, hence one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same_secret(given: str, stored_digest: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(digest(given).encode(), stored_digest.encode())


def csrf_token(session: str) -> str:
    """What a page of ours must send along with each change: known to whoever reads our answers, not to other sites."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()


class Sessions:
    """Sessions of readers and administrators.

    Args:
        database: where they are kept, so that a restart signs no reader out.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, holder: str) -> str:
        """Begin a session and return its value for the cookie; a reader's earlier ones end."""
        session = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            if holder != ADMIN:
                connection.execute("DELETE FROM sessions WHERE holder = ?", (holder,))
            connection.execute("INSERT INTO sessions VALUES (?, ?, ?)", (digest(session), holder, now_utc()))
        return session

    def holder(self, session: str) -> str:
        """Who holds a session: a reader's code, :data:`ADMIN`, or "" where there is none or it ended."""
        if not session:
            return ""
        with self._database.reading() as connection:
            query = "SELECT holder, used_utc FROM sessions WHERE digest = ?"
            row = connection.execute(query, (digest(session),)).fetchone()
        if row is None:
            return ""
        idle = datetime.now(UTC) - datetime.fromisoformat(row[1])
        if idle > IDLE:
            self.end(session)
            return ""
        if idle > IDLE / 24:
            with self._database.writing() as connection:
                connection.execute("UPDATE sessions SET used_utc = ? WHERE digest = ?", (now_utc(), digest(session)))
        return str(row[0])

    def end(self, session: str) -> None:
        """Sign out."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE digest = ?", (digest(session),))

    def end_all(self, holder: str) -> None:
        """Sign a holder out everywhere."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE holder = ?", (holder,))

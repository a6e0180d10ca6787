"""Codes that stand for readers: drawn by the server, spoken on the telephone, never a name."""

from __future__ import annotations

import secrets
from typing import Final

#: no vowels, hence no words; no I, L, O, which look like digits.
ALPHABET: Final = "BCDFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 8


def draw_code() -> str:
    """Draw a code: 8 letters, about 35 bits; guesses are counted and slowed (``security.Limiter``)."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def read_code(text: str) -> str:
    """Return the code that somebody typed, with spaces, hyphens or small letters; "" where it cannot be one."""
    letters = "".join(text.split()).replace("-", "").upper()
    return letters if len(letters) == LENGTH and set(letters) <= set(ALPHABET) else ""

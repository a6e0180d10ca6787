"""Errors a user can mend: each is one line that names the place, the rule, what was found and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

#: letters of what was found that fit into one line; a damaged file can hold thousands of wrong values.
_LONGEST: Final = 500


class CxrAugError(ValueError):
    """Base of every error this package raises for bad input.

    Args:
        where: file, key or argument at fault, for example ``"manifest.csv row 12"``.
        rule: the rule that was broken.
        found: what was found instead.
        mend: what the user can do.
    """

    exit_status = 2

    def __init__(self, where: object, rule: str, found: object = "", mend: str = "") -> None:
        self.where, self.rule, self.found, self.mend = str(where), rule, str(found), mend
        parts = [f"{where}: {rule}"]
        if self.found:
            parts.append(f"found {self.found[:_LONGEST]}{' …' if len(self.found) > _LONGEST else ''}")
        if mend:
            parts.append(mend)
        super().__init__(" ".join("; ".join(parts).split()))

    def __reduce__(self) -> tuple[type[CxrAugError], tuple[str, str, str, str]]:
        """Pickle by the parts, so that an error survives the way from a worker process."""
        return type(self), (self.where, self.rule, self.found, self.mend)


class InputError(CxrAugError):
    """A file or folder that is missing, unreadable or not what it should be."""


class ConfigError(CxrAugError):
    """A configuration key or value that is unknown or out of range."""


class LabelError(CxrAugError):
    """A finding or label value outside the vocabulary."""


class LeakageError(CxrAugError):
    """Training and evaluation data share patients, or synthetic images stand where only real ones may."""


class StateError(CxrAugError):
    """A run folder, checkpoint or artifact that does not fit what is asked of it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name closest to a misspelt one.

    Args:
        name: the name as given.
        known: the valid names.

    Returns:
        ``"did you mean 'x'?"``, or ``"known: a, b, c"`` when nothing is close.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)[:_LONGEST] or 'none'}"


def find_cause(error: BaseException | None) -> CxrAugError | None:
    """Find our error in a chain of exceptions that other libraries have wrapped around it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, CxrAugError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None

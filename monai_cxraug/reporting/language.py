"""The languages of the page: every sentence, heading and caption by its key, and words of a run that are translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.reporting import english, korean


@dataclass(frozen=True)
class Language:
    """What the page says in one language.

    Args:
        code: for the page's ``lang`` attribute.
        words: key to text, with names in braces for what is filled in.
        given: words that runs write, such as verdicts and findings, in this language; others stay as they are.
    """

    code: str
    words: Mapping[str, str]
    given: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text, its names filled in."""
        return self.words[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in self.words

    def known(self, text: str) -> str:
        """Return a word of the run in this language, where it is known."""
        return self.given.get(text, text)


ENGLISH: Final = Language("en", english.WORDS, english.GIVEN)
KOREAN: Final = Language("ko", korean.WORDS, korean.GIVEN)
LANGUAGES: Final[Mapping[str, Language]] = {one.code: one for one in (ENGLISH, KOREAN)}


def find_language(code: str, languages: Mapping[str, Language] | None = None) -> Language:
    """Return the language of a code.

    Args:
        code: as of ``--language``.
        languages: that a page is written in; None are those of a run's report.

    Raises:
        ConfigError: the page is not written in it.
    """
    languages = LANGUAGES if languages is None else languages
    if code not in languages:
        raise ConfigError("--language", f"must be one of {', '.join(languages)}", repr(code), nearest(code, languages))
    return languages[code]

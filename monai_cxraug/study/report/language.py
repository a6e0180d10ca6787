"""The languages of the page of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.reporting.language import Language
from monai_cxraug.study.report import english, korean

ENGLISH: Final = Language("en", english.WORDS, english.GIVEN)
KOREAN: Final = Language("ko", korean.WORDS, korean.GIVEN)
LANGUAGES: Final[Mapping[str, Language]] = {one.code: one for one in (ENGLISH, KOREAN)}


def find_language(code: str) -> Language:
    """Return the language of a code.

    Raises:
        ConfigError: the page is not written in it.
    """
    if code not in LANGUAGES:
        raise ConfigError("--language", f"must be one of {', '.join(LANGUAGES)}", repr(code), nearest(code, LANGUAGES))
    return LANGUAGES[code]

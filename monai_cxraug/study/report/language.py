"""The languages of the page of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monai_cxraug.reporting import language
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
    return language.find_language(code, LANGUAGES)

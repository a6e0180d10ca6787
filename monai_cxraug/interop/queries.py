"""Which images are asked for: conditions ``Keyword=value``, checked before and after the archive has seen them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from monai_cxraug.errors import ConfigError, InputError, nearest

Attributes = Mapping[str, str]

#: what studies are asked for by (PS3.4 table C.6-5, PS3.18 table 10.6.1-5).
_OF_STUDIES: Final = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "PatientID"),
    *("PatientName", "PatientSex", "PatientBirthDate", "ReferringPhysicianName", "ModalitiesInStudy"),
)
#: conditions on a series; a study is asked for by its modalities, and its series are looked through here.
_OF_SERIES: Final = ("Modality", "SeriesInstanceUID")
#: those that an archive's answer is held against: it may not have known the condition (PS3.18 8.3.4.1).
_CHECKED: Final = ("StudyInstanceUID", "AccessionNumber", "PatientID")
_DAY: Final = r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_DAYS: Final = re.compile(rf"{_DAY}|{_DAY}-|-{_DAY}|{_DAY}-{_DAY}", re.ASCII)
#: plain radiographs, where no modality is asked for.
RADIOGRAPHS: Final = ("CR", "DX")


@dataclass(frozen=True)
class Query:
    """Conditions; a keyword with several values means any of them.

    Args:
        studies: keyword to the values that a study may have.
        modalities: that a series may have.
        series: Series Instance UIDs; empty means any.
    """

    studies: Mapping[str, Sequence[str]]
    modalities: Sequence[str] = RADIOGRAPHS
    series: Sequence[str] = ()

    @classmethod
    def parse(cls, texts: Sequence[str] | str) -> Query:
        """Read conditions as they are written on the command line.

        Args:
            texts: ``Keyword=value`` each; a single one may stand alone.

        Raises:
            ConfigError: no condition at all, an unknown keyword, or no date where one must stand.
        """
        found: dict[str, list[str]] = {}
        for text in [texts] if isinstance(texts, str) else texts:
            keyword, _, value = str(text).partition("=")
            _check_condition(keyword, value.strip(), text)
            found.setdefault(keyword, []).append(value.strip())
        if not found:
            mend = "give --query StudyDate=20260101-20260131 or another"
            raise ConfigError("--query", "at least one condition is required", "none", mend)
        modalities, series = found.pop("Modality", list(RADIOGRAPHS)), found.pop("SeriesInstanceUID", [])
        return cls(found, tuple(modalities), tuple(series))

    def filters(self) -> Iterator[dict[str, str]]:
        """Return what the archive is asked, one question after the other."""
        wanted = dict(self.studies)
        wanted.setdefault("ModalitiesInStudy", self.modalities)
        for values in product(*wanted.values()):
            yield dict(zip(wanted, values, strict=True))

    def wants_series(self, series: Attributes) -> bool:
        """Whether a series is asked for."""
        return series.get("Modality") in self.modalities and (
            not self.series or series.get("SeriesInstanceUID") in self.series
        )

    def refuse_unasked(self, study: Attributes, where: str) -> None:
        """Refuse an answer that breaks a condition: nobody is to load a whole archive by mistake.

        Args:
            study: attributes of a study that the archive sent.
            where: the archive.

        Raises:
            InputError: the archive did not keep to the condition.
        """
        for keyword in (*_CHECKED, "StudyDate"):
            asked, value = self.studies.get(keyword), study.get(keyword)
            if asked and value and not any(_meets(keyword, value, one) for one in asked):
                rule = f"must answer the condition on {keyword}"
                mend = "this archive does not know it; ask for something else"
                raise InputError(where, rule, "a study that does not meet it", mend)

    def describe(self) -> dict[str, list[str]]:
        """Return the conditions as plain values."""
        return {**{name: [*values] for name, values in self.studies.items()}, "Modality": [*self.modalities]} | (
            {"SeriesInstanceUID": [*self.series]} if self.series else {}
        )


def _check_condition(keyword: str, value: str, text: object) -> None:
    if not value:
        raise ConfigError(f"--query {text}", "must read Keyword=value", repr(str(text)), "for example Modality=DX")
    if keyword not in (*_OF_STUDIES, *_OF_SERIES):
        hint = nearest(keyword, (*_OF_STUDIES, *_OF_SERIES))
        raise ConfigError(f"--query {text}", "unknown keyword", repr(keyword), hint)
    if keyword == "StudyDate" and not _DAYS.fullmatch(value):
        mend = "write 20260131, 20260101-20260131, or one end of it"
        raise ConfigError(f"--query {text}", "must be a day or a range of days", repr(value), mend)


def _meets(keyword: str, value: str, asked: str) -> bool:
    if "*" in asked or "?" in asked:
        return True
    if keyword != "StudyDate":
        return value == asked or value in re.split(r"[,\\]", asked)
    first, dash, last = asked.partition("-")
    day = value.replace(".", "")  # as ACR-NEMA wrote dates
    return first <= day <= (last or "9") if dash else day == first

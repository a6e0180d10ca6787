"""The section on what the training sets were made of: every class before and after, and the shares of made images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.forest import clip, write
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import absent, folded, note, ratio_text, responsive, section, table
from monai_cxraug.reporting.records import Composition, Results
from monai_cxraug.reporting.tables import NONE, amount, finding_title

#: origins with the number of their colour, in the order of the bar.
ORIGINS: Final = {"real": 0, "duplicate": 1, "filtered": 3, "synthetic": 2, "external": 4}
_ROW, _TOP, _EDGE = 25, 34, 14


def composition_part(results: Results, say: Language) -> Markup:
    """Write the figure of the endpoint's arm, the table at the endpoint's data, and, folded, every row."""
    rows = _equal_over_seeds(results.composition)
    if not rows:
        return absent("classes", say, say("classes.none"))
    here = [(row, seeds) for row, seeds in rows if _is_at_endpoint(row, results)]
    studied = [(row, seeds) for row, seeds in here if row.finding in results.studied()]
    others = [pair for pair in rows if pair not in studied]
    drawn = _before_and_after(here, results, say)
    title = say("classes.others", count=len(others))
    return section(
        "classes",
        say,
        drawn,
        element("h3", say("classes.shares")),
        _table(studied, results, say, say("classes.shares")) if studied else "",
        note(say("classes.note")),
        folded(title, _table(others, results, say, title)) if others else "",
    )


def _is_at_endpoint(row: Composition, results: Results) -> bool:
    primary = results.primary
    return primary is None or (row.fraction == primary.fraction and row.ratio in (None, primary.ratio))


def _equal_over_seeds(rows: Sequence[Composition]) -> list[tuple[Composition, str]]:
    """Bring together rows that differ in nothing but the seed, and list their seeds."""
    together: dict[Composition, list[str]] = {}
    for row in rows:
        together.setdefault(replace(row, seed="all"), []).append(str(row.seed))
    return [(row, ", ".join(seeds)) for row, seeds in together.items()]


def _table(rows: Sequence[tuple[Composition, str]], results: Results, say: Language, label: str) -> Markup:
    origins = [name for name in ORIGINS if name in _ALWAYS or any(getattr(row, name) for row, _ in rows)]
    names = ("arm", "finding", "data", "ratio", "seeds")
    head = [*(say(f"head.{name}") for name in names), *(say(f"origin.{name}") for name in origins), say("head.share")]
    cells = [
        [
            row.arm,
            finding_title(row.finding, say),
            amount(row.fraction, results.scale, say),
            ratio_text(row.ratio),
            seeds,
            *(getattr(row, name) for name in origins),
            NONE if row.share is None else f"{100 * row.share:.1f} %",
        ]
        for row, seeds in rows
    ]
    return table(head, cells, {0, 1}, label)


#: origins whose columns stay even where they are empty.
_ALWAYS: Final = frozenset({"real", "duplicate", "synthetic"})


def _before_and_after(rows: Sequence[tuple[Composition, str]], results: Results, say: Language) -> Markup:
    """Bars of every class in the training set of the endpoint's arm: what is real, and what the arm adds."""
    arm = results.primary.arm if results.primary else None
    bars = list({row.finding: row for row, _ in reversed(rows) if row.arm == arm}.values())[::-1]
    if not bars:
        return Markup("")
    most = max(row.total for row in bars) or 1
    caption = say("classes.caption", arm=arm)
    named = [name for name in ORIGINS if any(getattr(row, name) for row in bars)]
    wide, narrow = (_bars(bars, most, named, width, caption, say) for width in (780, 360))
    return join(element("h3", say("classes.before")), responsive(wide, narrow, caption))


def _bars(
    rows: Sequence[Composition], most: int, named: Sequence[str], width: int, caption: str, say: Language
) -> Markup:
    left = 214 if width > 500 else 128
    axis = Axis(0, most, left, width - 92)
    height = _TOP + _ROW * len(rows) + 8
    marks = [_key(named, say)]
    for k, row in enumerate(rows):
        y = _TOP + k * _ROW
        marks.append(write(_EDGE, y + 15, clip(finding_title(row.finding, say), 30 if width > 500 else 17)))
        start = 0
        for name in named:
            if count := getattr(row, name):
                marks.append(_bar(axis(start), axis(start + count), y, ORIGINS[name]))
                start += count
        text = str(row.total) if row.total == row.real else f"{row.real} → {row.total}"
        marks.append(write(axis(start) + 6, y + 15, text, "num small"))
    ground = element("rect", width=width, height=height, class_="paper")
    size = {"viewBox": f"0 0 {width} {height}"}
    return element("svg", ground, *marks, class_="cx", role="img", aria_label=caption, **size)


def _bar(start: float, end: float, y: float, colour: int) -> Markup:
    wide = f"{max(end - start, 0.8):.1f}"
    return element("rect", x=f"{start:.1f}", y=y + 3, width=wide, height=_ROW - 9, fill=f"var(--c{colour})")


def _key(named: Sequence[str], say: Language) -> Markup:
    parts, x = [], float(_EDGE)
    for name in named:
        text = say(f"origin.{name}")
        parts.append(element("rect", x=f"{x:g}", y=8, width=12, height=12, rx=2, fill=f"var(--c{ORIGINS[name]})"))
        parts.append(write(x + 17, 18, text, "small soft"))
        x += 34 + sum(12 if ord(letter) > 0x1100 else 6.6 for letter in text)
    return join(*parts)

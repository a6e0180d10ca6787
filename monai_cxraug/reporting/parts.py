"""What pages are made of: sections, figures, tables, facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from monai_cxraug.reporting import words
from monai_cxraug.reporting.language import ENGLISH, Language
from monai_cxraug.reporting.markup import Markup, element, join

_HASH: Final = 64


def badge(verdict: str, say: Language = ENGLISH) -> Markup:
    """Write a verdict as a badge, told apart by sign and colour."""
    sign = element("span", words.verdict_sign(verdict) + " ", aria_hidden="true")
    return element("span", sign, say.known(verdict), class_=f"badge {words.verdict_class(verdict)}")


def section(name: str, say: Language, *children: object) -> Markup:
    """Write a section under its title; its name is its address on the page."""
    return element("section", element("h2", say(f"section.{name}")), *children, id=name)


def absent(name: str, say: Language, line: str) -> Markup:
    """Write a section that says what is not there."""
    return section(name, say, element("p", line, class_="soft"))


def figure(picture: Markup, caption: str, label: str) -> Markup:
    """Write one picture over its caption; the reader may push a wide one sideways."""
    framed = element("div", picture, class_="scroll", tabindex="0", role="group", aria_label=label)
    return element("figure", framed, element("figcaption", caption))


def responsive(wide: Markup, narrow: Markup, caption: str) -> Markup:
    """Write a figure in two layouts, of which a reader gets the one for the width at hand."""
    pair = (element("div", wide, class_="wide"), element("div", narrow, class_="narrow"))
    return element("figure", *pair, element("figcaption", caption))


def note(text: str) -> Markup:
    """Write a line of small print."""
    return element("p", text, class_="note")


def folded(title: str, content: object, unfolded: bool = False) -> Markup:
    """Write content that unfolds under a line, or can be folded away."""
    return element("details", element("summary", title), content, open="" if unfolded else None)


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    left: set[int],
    label: str,
    total: bool = False,
    span: str = "",
) -> Markup:
    """Write a table.

    Args:
        head: names of the columns.
        rows: cells; the first of each names its row.
        left: columns that hold text.
        label: what it shows, for those who do not see it.
        total: whether the last row is set apart.
        span: what the columns after the first have in common, written over them.
    """
    written = list(rows)
    columns = [element("th", name, scope="col", class_=_side(k, left)) for k, name in enumerate(head)]
    body = [_table_row(cells, left, total and k == len(written) - 1) for k, cells in enumerate(written)]
    named = element("caption", label, class_="unseen")
    above = element("th", span, scope="colgroup", colspan=len(columns) - 1, class_="span") if span else ""
    first = element("tr", element("td", class_="text"), above) if span else ""
    inner = element("table", named, element("thead", first, element("tr", *columns)), element("tbody", *body))
    return element("div", inner, class_="scroll", tabindex="0", role="group", aria_label=label)


def _table_row(cells: Sequence[object], left: set[int], total: bool) -> Markup:
    first = element("th", cells[0], scope="row", class_=_side(0, left))
    rest = (element("td", cell, class_=_side(k, left)) for k, cell in enumerate(cells[1:], start=1))
    return element("tr", first, *rest, class_="total" if total else None)


def _side(column: int, left: set[int]) -> str | None:
    return "text" if column in left else None


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Write pairs of a name and a value; a hash is shortened."""
    return element(
        "dl", *(join(element("dt", name), element("dd", _fact(value))) for name, value in pairs), class_="facts"
    )


def _fact(value: object) -> Markup | str:
    if isinstance(value, Markup):
        return value
    text = str(value)
    if len(text) == _HASH and all(letter in "0123456789abcdef" for letter in text):
        return element("code", element("abbr", text[:12], title=text))
    return text


def over(first: object, second: object) -> Markup:
    """Write a value, and under it what qualifies it."""
    return element("span", first, element("br"), element("span", second, class_="soft"))


def ratio_text(ratio: float | None) -> str:
    """Write a ratio of added to real images; a dash where an arm adds none."""
    return f"{ratio:g}" if ratio else "–"


def flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Turn nested settings into pairs of a dotted name and a value; lists of plain values stay on one line."""
    pairs: list[tuple[str, object]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            pairs += flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
            pairs += flatten({str(k): item for k, item in enumerate(value)}, f"{name}.")
        else:
            pairs.append((name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return pairs

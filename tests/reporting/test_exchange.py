"""The section with the exchange rate: numbers, words for what lies beyond, and marks in their places."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monai_cxraug.reporting.exchange import exchange_part
from monai_cxraug.reporting.language import ENGLISH
from monai_cxraug.reporting.plots import SMALL
from monai_cxraug.reporting.records import Exchanged, load_results
from monai_cxraug.reporting.report import write_report
from tests.reporting.test_grid import cells, raw

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]


def part(run: Path) -> str:
    return str(exchange_part(load_results(run), ENGLISH))


def test_what_every_arm_is_worth(topped: Path) -> None:
    (over, head, *rows), _ = cells(part(topped))
    assert over == ["", "Real images of Edema in training"]
    assert head == ["Arm", "10", "50", "100", "250"]
    assert rows == [
        ["weighted_loss", "14 ≤ 28", "47 23–93", "107 54–214", "261 ≥ 131"],
        ["gan", "< 10 ≤ 20", "33 17–67", "89 44–178", "204 ≥ 102"],
        ["infogan", "37 19–75", "122 61–244", "274 ≥ 137", "> all ≥ 150"],
    ]


def test_every_rate_is_listed(topped: Path) -> None:
    _, (head, *rows) = cells(part(topped))
    assert head[2:] == [
        "Real images",
        "Ratio",
        "AUROC",
        "Worth",
        "95 % interval",
        "95 % bootstrap interval",
        "Worth / real",
        "Worth - real",
    ]
    listed = {(row[0], row[2]): row for row in rows}
    for row in raw(topped)["exchange"]:
        assert listed[row["arm"], str(row["real"])][4] == f"{row['auroc']:.3f}"
    assert listed["infogan", "50"][5:] == ["122", "61–244", "85–158", "×2.44", "+72"]
    assert listed["infogan", "250"][5:] == ["> all", "≥ 150", "≥ 210", "> ×1.20", "> +50"]
    assert listed["gan", "10"][5:] == ["< 10", "≤ 20", "7–13", "< ×1.00", "< +0"]


def test_an_interval_may_be_open_on_both_sides_or_lie_beyond(topped: Path, edit: Edit) -> None:
    def beyond(document: dict[str, Any]) -> None:
        first, second, third = document["exchange"][:3]
        first.update(low=10.0, low_censored="below", high=300.0, high_censored="above")
        second.update(low=300.0, low_censored="above", high=300.0, high_censored="above")
        third.update(low=None, low_censored=None, high=None, high_censored=None)

    edit("results", beyond)
    (_, _, row, *_), _ = cells(part(topped))
    assert row[1:4] == ["14 any", "47 > all", "107"]


def test_marks_stand_where_the_numbers_are(topped: Path) -> None:
    """Places on the logarithmic axes; the dashed line is where both numbers are one; beyond them, triangles."""
    figures = re.findall(r"<svg.*?</svg>", part(topped), re.DOTALL)
    assert len(figures) == 3
    low, high = math.log(10) - 0.28, math.log(300) + 0.28

    def place(images: float, first: float, last: float) -> float:
        return first + (math.log(images) - low) / (high - low) * (last - first)

    document = raw(topped)
    for text, arm in zip(figures, ("weighted_loss", "gan", "infogan"), strict=True):
        figure = ElementTree.fromstring(text)
        rows = [row for row in document["exchange"] if row["arm"] == arm]
        inside = [row for row in rows if row["censored"] is None]
        dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in figure.iter("circle")]
        assert dots == [
            pytest.approx(
                (
                    place(row["real"], SMALL.left, SMALL.right),
                    place(row["equivalent"], SMALL.bottom, SMALL.top),
                ),
                abs=0.051,
            )
            for row in inside
        ]
        (way,) = (line for line in figure.iter("polyline") if not line.get("stroke-opacity"))
        assert [tuple(map(float, place.split(","))) for place in way.get("points", "").split()] == dots
        assert len(list(figure.iter("polygon"))) == len(rows) - len(inside)
        arrows = [line for line in figure.iter("polyline") if line.get("stroke-opacity")]
        assert len(arrows) == sum((row[f"{end}_censored"] is not None) for row in rows for end in ("low", "high"))
        zero = next(line for line in figure.iter("line") if line.get("class") == "zero")
        ends = [float(zero.get(name, "")) for name in ("x1", "y1", "x2", "y2")]
        assert ends == [SMALL.left, SMALL.bottom, SMALL.right, SMALL.top]
        assert f"50: {inside[-3 if arm == 'weighted_loss' else 0 if arm == 'gan' else 1]['equivalent']:.0f}" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"interval": [-0.01, 0.2]},
            "is not shown to gain from more real images (from 10 to 300: +0.171 [-0.010, +0.200])",
        ),
        ({"interval": None}, "is not shown to gain"),
        (
            {"rising": [0.7] * 5, "rise": -0.0201, "interval": [-0.05, 0.01]},
            "does not rise from 10 to 300 real images (-0.020",
        ),
        ({"rising": [None] * 5, "auroc": [None] * 5, "rise": None, "interval": None}, "the images lack a class"),
    ],
)
def test_a_reference_that_does_not_rise_is_said(topped: Path, edit: Edit, change: dict[str, Any], words: str) -> None:
    assert 'class="warning"' not in part(topped)
    edit("results", lambda document: document["exchange_curves"][0].update(change))
    page = part(topped).replace("−", "-")
    assert words in page
    assert 'class="warning"' in page


def test_the_answer_says_what_the_endpoints_arm_is_worth(topped: Path, edit: Edit) -> None:
    words = "Given 50 real images, “infogan” does as well as “plain” with 122 real images (95 % interval 61–244)."
    assert words in write_report(topped).read_text()

    def widen(document: dict[str, Any]) -> None:
        row = next(row for row in document["exchange"] if (row["arm"], row["real"]) == ("infogan", 50))
        row.update(low=10.0, low_censored="below")

    edit("results", widen)
    opened = "(95 % interval ≤ 244, which holds the 50 that it was given: it may be worth nothing)."
    assert opened in write_report(topped).read_text()
    edit("results", lambda document: document["exchange_curves"][0].update(interval=[-0.01, 0.2]))
    assert "Given 50 real images" not in write_report(topped).read_text()


@pytest.mark.parametrize(
    ("low", "high", "is_open"),
    [
        ((20, None), (80, None), True),
        ((50, None), (80, None), True),
        ((51, None), (80, None), False),
        ((10, "below"), (49, None), False),
        ((10, "below"), (300, "above"), True),
        ((10, "below"), (10, "below"), False),
        ((300, "above"), (300, "above"), False),
        ((None, None), (None, None), True),
    ],
)
def test_an_interval_that_holds_the_arms_own_number_is_open(
    low: tuple[float | None, str | None], high: tuple[float | None, str | None], is_open: bool
) -> None:
    ends = {"low": low[0], "low_censored": low[1], "high": high[0], "high_censored": high[1]}
    assert Exchanged("gan", "plain", "Edema", 50, **ends).is_open == is_open  # type: ignore[arg-type]


def test_no_figure_and_no_table_without_a_rate(topped: Path, edit: Edit) -> None:
    def flatten(document: dict[str, Any]) -> None:
        for row in document["exchange"]:
            row.update(equivalent=None, censored="flat", low=None, high=None, gain=None, more=None)

    edit("results", flatten)
    page = part(topped)
    assert "<svg" not in page
    ((_, *rows),) = cells(page)
    assert {tuple(row[5:7]) for row in rows} == {("n/a", "n/a")}


def test_nothing_where_nothing_was_asked(newer: Path) -> None:
    assert part(newer) == ""
    page = write_report(newer).read_text()
    assert 'id="exchange"' not in page
    assert 'id="grid"' not in page


def test_tables_have_every_rate(topped: Path) -> None:
    write_report(topped)
    with (topped / "report" / "tables" / "exchange.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, given in zip(rows, raw(topped)["exchange"], strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in given.items()}


def test_the_long_table_has_them_too(topped: Path) -> None:
    write_report(topped)
    with (topped / "results.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["measure"].startswith(("equivalent", "exchange"))]
    found = {(row["arm"], float(row["fraction"]), row["measure"]): row for row in rows}
    assert len(found) == len(rows) == 3 * 12
    for row in raw(topped)["exchange"]:
        beyond = f"_{row['censored']}" if row["censored"] else ""
        line = found[row["arm"], row["fraction"], f"equivalent_images{beyond}"]
        assert (line["reference"], line["finding"]) == ("plain", "Edema")
        assert float(line["value"]) == row["equivalent"]
        for end in ("low", "high"):
            assert line[end] == ("" if row[f"{end}_censored"] else str(row[end]))
        assert float(found[row["arm"], row["fraction"], f"exchange_gain{beyond}"]["value"]) == row["gain"]


def test_the_curves_against_numbers_of_images(topped: Path) -> None:
    page = write_report(topped).read_text()
    section = re.search(r'<section id="sweep".*?</section>', page, re.DOTALL)
    assert section is not None
    assert "real images of Edema in training" in section[0]
    wide, narrow = (
        ElementTree.fromstring(text) for text in re.findall(r'<svg viewBox.*?role="img".*?</svg>', section[0])
    )
    for figure, ticks in ((wide, ["10", "50", "100", "250", "all"]), (narrow, ["10", "50", "100", "", "all"])):
        marks = [node.text or "" for node in figure.iter("text") if node.get("text-anchor") == "middle"]
        assert marks[:-1] == ticks
        assert len(list(figure.iter("circle"))) == 5 + 5 + 4 + 4

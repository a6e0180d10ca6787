"""The page of a run of version 0.2: its numbers, its harm side, its curves, and what a reader needs to find them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monai_cxraug.reporting import load_results
from monai_cxraug.reporting.plots import draw_panel
from monai_cxraug.reporting.report import write_report

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]


def part(page: str, name: str) -> str:
    """One section of the page, minus signs made plain."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None, name
    return found[0].replace("−", "-")


def parsed(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r"<(meta|img|br)\b([^>]*)>", r"<\1\2/>", page.split("\n", 1)[1]))


def three(value: float) -> str:
    return f"{value:.3f}"


def test_numbers_on_the_page_are_those_of_the_results(newer: Path) -> None:
    raw, page = json.loads((newer / "results.json").read_text()), write_report(newer).read_text()
    first = raw["primary"]
    answer = part(page, "answer")
    assert "[{:+.3f}, {:+.3f}]".format(*first["bootstrap_interval"]) in answer
    assert f"A true difference below {first['detectable']:.3f} would probably have been missed" in answer
    assert "<dt>Skipped (unknown)</dt><dd>3</dd>" in answer
    results = part(page, "results")
    for row in raw["comparisons"]:
        low, high = (f"{end:+.3f}" for end in row["bootstrap_interval"])
        adjusted = f"<td>{row['p_holm']:.3f}</td><td>{row['p_bh']:.3f}</td><td>{row['detectable']:.3f}</td>"
        assert f"{adjusted}<td>[{low}, {high}]</td>" in results
    measures = part(page, "measures")
    for row in raw["operating"]:
        if row["seed"] == "all":
            for name in ("auprc", "sensitivity_90", "accuracy", "all_negative", "brier", "slope"):
                low, high = row[f"{name}_interval"]
                assert f'{three(row[name])}<br><span class="soft">[{three(low)}, {three(high)}]' in measures
    assert measures.count("(34 positive of 1842, 5 skipped)") == 3
    groups = part(page, "subgroups")
    for row in raw["subgroups"]:
        shown = (
            f'{three(row["auroc"])}<br><span class="soft">[{three(row["interval"][0])}, {three(row["interval"][1])}]'
        )
        assert (shown in groups) == (row["arm"] != "plain")
    assert groups.count(" †") == 3 + 1  # three groups of 9 positives, and what the sign means
    assert "<td>25</td>" not in page
    assert "20 / 25</td><td>80 %</td><td>1 (5.0 %) [0.1, 24.9]</td><td>1.2 %</td>" in part(page, "synthetic")


def test_every_origin_of_the_training_images_is_shown(newer: Path) -> None:
    classes = part(write_report(newer).read_text(), "classes")
    for row in json.loads((newer / "results.json").read_text())["composition"]:
        values = (row[name] for name in ("real", "duplicate", "filtered", "synthetic", "external"))
        assert "".join(f"<td>{value}</td>" for value in values) in classes
    assert "60 → 138" in classes


def test_much_harm_is_counted_in_the_verdict(newer: Path, edit: Edit) -> None:
    def worsen(document: dict[str, Any]) -> None:
        for row in document["primary"]["harm"]:
            row.update(difference=-0.1, interval=[-0.2, -0.05], worse=row["measure"] in ("sensitivity", "brier"))

    edit("results", worsen)
    findings = ", ".join(
        dict.fromkeys(row["finding"] for row in json.loads((newer / "results.json").read_text())["primary"]["harm"])
    )
    answer = part(write_report(newer).read_text(), "answer")
    count = findings.count(",") + 1
    assert f"this got worse: sensitivity for {count} ({findings}), Brier score for {count} ({findings})." in answer


def test_harm_is_in_the_verdict(newer: Path, edit: Edit) -> None:
    answer = part(write_report(newer).read_text(), "answer")
    assert "sensitivity, specificity and calibration were not shown to get worse." in answer

    def worsen(document: dict[str, Any]) -> None:
        row = document["primary"]["harm"][4]
        row.update(difference=-0.1234, interval=[-0.2, -0.0471], worse=True)

    edit("results", worsen)
    page = write_report(newer).read_text()
    assert "this got worse: sensitivity for Emphysema (-0.123 [-0.200, -0.047])." in part(page, "answer")
    rows = re.findall(r"<tr>(.*?)</tr>", part(page, "harm"))
    assert "sensitivity" in rows[1]
    assert "▼" in rows[1]
    assert sum("▼" in row for row in rows) == 1
    edit("results", lambda document: document["primary"].pop("harm"))
    page = write_report(newer).read_text()
    assert "was not measured by this run" in part(page, "answer")
    assert 'id="harm"' not in page


def test_harm_of_every_finding_is_on_the_page(newer: Path) -> None:
    harm = part(write_report(newer).read_text(), "harm")
    for row in json.loads((newer / "results.json").read_text())["primary"]["harm"]:
        digits = 4 if row["measure"] in ("brier", "ece") else 3
        low, high = (f"{end:+.{digits}f}" for end in row["interval"])
        assert f'{row["difference"]:+.{digits}f}<br><span class="soft">[{low}, {high}]' in harm


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"before": True, "cells_done": 0, "earlier": 0}, "before any cell was done."),
        ({"before": True, "cells_done": 0, "earlier": 2}, "in the place of 2 earlier endpoint(s)"),
        ({"before": False, "cells_done": 7, "earlier": 1}, "when 7 cell(s) were already done"),
        (None, "no record of when it was declared"),
    ],
)
def test_the_page_says_when_the_endpoint_was_declared(
    newer: Path, edit: Edit, declared: dict[str, Any] | None, words: str
) -> None:
    edit("results", lambda document: document.update(declared=declared))
    assert words in part(write_report(newer).read_text(), "answer")


def test_curves_go_through_their_points(newer: Path) -> None:
    root = parsed(write_report(newer).read_text())
    section = next(node for node in root.iter("section") if node.get("id") == "curves")
    panels = [node for node in section.iter("svg") if node.get("role") == "img"]
    assert len(panels) == 3 * 3  # findings, kinds of curves
    for panel in panels:
        lines = list(panel.iter("polyline"))
        assert len(lines) == 3 * 2  # arms, seeds
        assert {line.get("points") for line in lines} == {"42.0,218.0 104.0,116.0 166.0,82.0 290.0,48.0"}


def test_auroc_against_fractions_has_every_arm_at_every_fraction(newer: Path) -> None:
    page = write_report(newer).read_text()
    section = next(node for node in parsed(page).iter("section") if node.get("id") == "sweep")
    panels = [node for node in section.iter("svg") if node.get("role") == "img"]
    assert len(panels) == 4  # findings and their mean; one ratio draws nothing
    for panel in panels:
        assert len(list(panel.iter("circle"))) == 3 * 2
    assert "ratio of added" not in part(page, "sweep")


def test_ratio_curves_hold_the_fraction_still(newer: Path, edit: Edit) -> None:
    def add(document: dict[str, Any]) -> None:
        document["arms"] += [{**row, "ratio": 2.0} for row in document["arms"] if row["ratio"]]

    edit("results", add)
    section = part(write_report(newer).read_text(), "sweep").split("ratio of added to real images</h3>")[1]
    assert section.count("<circle") == 4 * 2 * 2  # panels, arms that add images, ratios


def test_refused_images_are_counted_by_reason(newer: Path) -> None:
    limits = part(write_report(newer).read_text(), "limits")
    assert "broken &lt;zip&gt;</td><td>2</td>" in limits
    assert "empty</td><td>1</td>" in limits
    assert "lateral</td><td>1</td>" in limits
    assert "Effusion</td><td>15</td>" in limits


def test_a_run_that_refused_nothing_says_so(run: Path) -> None:
    assert "No image was refused" in part(write_report(run).read_text(), "limits")


def test_training_curves_come_from_event_files(newer: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    assert 'id="training"' not in write_report(newer).read_text()
    for seed, scale in ((1, 1.0), (2, 3.0)):
        with SummaryWriter(str(newer / "cells" / f"gan-seed{seed}" / "tensorboard")) as writer:
            for step in range(0, 1000, 2):
                writer.add_scalar("loss", scale / (1 + step), step)
            writer.add_scalar("loss", float("nan"), 1000)
    training = part(write_report(newer).read_text(), "training")
    (panel,) = re.findall(r'<svg (?=[^>]*role="img").*?</svg>', training)
    assert panel.count("<polyline") == 2
    assert "gan" in panel
    assert "nan" not in panel.lower().replace("finding", "")
    assert all(len(points.split()) <= 80 for points in re.findall(r'points="([^"]*)"', panel))


def test_an_evaluation_shows_how_prevalence_and_calibration_move(newer: Path, edit: Edit) -> None:
    named = {"arm": "gan", "fraction": 1.0, "ratio": 1.0, "finding": "Edema"}
    rows = [
        {**named, "measure": "prevalence", "before": 0.0311, "here": 0.2567},
        {**named, "measure": "slope", "before": 1.234, "here": None},
        {**named, "fraction": 0.1, "measure": "slope", "before": 0.777, "here": 0.666},
    ]
    edit("results", lambda document: document.update(shift=rows))
    (newer / "plan.json").unlink()
    shift = part(write_report(newer).read_text(), "shift")
    assert "0.031 → 0.257" in shift
    assert "1.234 → n/a" in shift
    assert "0.777" not in shift


def test_everyone_can_find_their_way(newer: Path) -> None:
    root = parsed(write_report(newer).read_text())
    identifiers = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(identifiers) == len(set(identifiers))
    for link in root.iter("a"):
        assert (link.get("href") or "").removeprefix("#") in identifiers
    assert all(image.get("alt") for image in root.iter("img"))
    for picture in root.iter("svg"):
        named = picture.get("aria-label") or picture.get("aria-labelledby")
        assert picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and named)
    for table in root.iter("table"):
        caption = table.find("caption")
        assert caption is not None
        assert caption.text
        assert {cell.get("scope") for cell in table.iter("th")} == {"col", "row"}
    levels = [int(node.tag[1]) for node in root.iter() if re.fullmatch(r"h\d", str(node.tag))]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_hostile_names_are_escaped_in_what_is_new(newer: Path, edit: Edit) -> None:
    hostile = '<script>x</script>&"\x00'

    def spoil(document: dict[str, Any]) -> None:
        for name in ("operating", "subgroups", "curves", "arms", "comparisons", "composition", "synthetic"):
            for row in document[name]:
                row.update({key: hostile for key in ("arm", "group", "column") if row.get(key) in ("gan", "F", "sex")})
                row["finding"] = hostile if row["finding"] == "Edema" else row["finding"]
        document["primary"].update(arm=hostile)
        document["primary"]["harm"][0].update(finding=hostile)
        document["synthetic"][0].update(id=hostile, rejected={hostile: 1}, audit={"not_run": hostile})

    edit("results", spoil)
    page = write_report(newer).read_text()
    parsed(page)
    assert "<script" not in page
    assert "\x00" not in page


def test_missing_lists_leave_their_sections_out(newer: Path, edit: Edit) -> None:
    lists = ("operating", "subgroups", "curves", "synthetic")
    edit("results", lambda document: [document.pop(name) for name in lists])
    page = write_report(newer).read_text()
    for name in ("measures", "subgroups", "curves", "training", "maps", "shift"):
        assert f'id="{name}"' not in page
    assert page.count("not in this run") > 3


def test_both_widths_of_a_figure_show_the_same(newer: Path) -> None:
    root = parsed(write_report(newer).read_text())
    for figure in root.iter("figure"):
        pair = [node for node in figure.iter("div") if node.get("class") in ("wide", "narrow")]
        shown = [
            [node.text for node in one.iter("text") if re.match(r"[+−0]?\d?\.\d{3}", node.text or "")] for one in pair
        ]
        assert not pair or shown[0] == shown[1]


def test_a_panel_survives_hostile_values() -> None:
    from monai_cxraug.reporting.plots import Line, Panel, Ticks

    line = Line("<b>", [0, 1], [0, 0], 9, [None, (0, 0)], dots=True)
    drawn = draw_panel(Panel("<t>", "", Ticks(0, 1, "x"), Ticks(0, 1e-9, "y"), [line], rising=True, level=5))
    ElementTree.fromstring(drawn)
    assert "nan" not in drawn


def test_records_of_other_kinds_are_refused(newer: Path, edit: Edit) -> None:
    from monai_cxraug.errors import StateError

    edit("results", lambda document: document["primary"]["harm"][0].update(worse=1))
    with pytest.raises(StateError, match="'worse' must be bool"):
        load_results(newer)

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monai_cxraug.reporting import figures, load_results
from monai_cxraug.reporting.axis import Axis, span
from monai_cxraug.reporting.forest import NARROW, WIDE

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure: str | None) -> ElementTree.Element:
    assert figure is not None
    return ElementTree.fromstring(figure)


def texts(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{SVG}text")]


def labels(root: ElementTree.Element) -> list[str]:
    return [text for text in texts(root) if " − " in text]


@pytest.mark.parametrize(("low", "high"), [(-0.05, 0.05), (0, 1), (-0.0013, 0.0009), (0.62, 0.91), (-3, 40)])
def test_axis_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    axis = Axis(low, high, 100, 300)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 10
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert len({f"{tick:.{axis.decimals}f}" for tick in ticks}) == len(ticks)
    assert (axis(low), axis(high), axis((low + high) / 2)) == (100, 300, 200)


def test_span_keeps_a_least_width() -> None:
    assert span([0.3], least=0.1, margin=0) == pytest.approx((0.25, 0.35))
    assert span([0, 2], least=0.1, margin=0.1) == pytest.approx((-0.2, 2.2))


def test_every_comparison_is_a_mark_at_its_value(run: Path) -> None:
    results = load_results(run)
    root = drawn(figures.differences(results))
    marks = [float(node.get("cx", "")) for node in root.iter(f"{SVG}circle")]
    lines = [node for node in root.iter(f"{SVG}line") if node.get("stroke-linecap")]
    assert (len(marks), len(list(root.iter(f"{SVG}polygon"))), len(lines)) == (7, 1, 8)
    ordered = [
        row
        for name in results.studied()
        for reference in ("duplicate_real", "plain")
        for row in results.comparisons
        if (row.finding, row.reference) == (name, reference)
    ]
    secondary = [row for row in ordered if (row.finding, row.reference) != ("macro", "duplicate_real")]
    zero = next(float(node.get("x1", "")) for node in root.iter(f"{SVG}line") if node.get("class") == "zero")
    scale = (marks[0] - zero) / (secondary[0].difference or 1)
    for mark, row in zip(marks, secondary, strict=True):
        assert mark - zero == pytest.approx(scale * (row.difference or 0), abs=0.3)
    for line, row in zip(lines, ordered, strict=True):
        assert row.interval is not None
        ends = [float(line.get(key, "")) - zero for key in ("x1", "x2")]
        assert ends == pytest.approx([scale * end for end in row.interval], abs=0.3)


def test_every_arm_and_seed_is_a_mark(run: Path) -> None:
    root = drawn(figures.areas(load_results(run)))
    radii = [node.get("r") for node in root.iter(f"{SVG}circle")]
    assert (radii.count("4.6"), radii.count("2.2")) == (12, 24)
    assert "0.861  [0.820, 0.898]" in texts(root)
    assert texts(root).count("34 positive of 1842") == 1


def test_fractions_are_named_only_when_they_differ(run: Path, edit: Edit) -> None:
    assert not any("%" in text for text in labels(drawn(figures.differences(load_results(run)))))
    edit("results", lambda d: d["comparisons"].append({**d["comparisons"][1], "fraction": 0.1}))
    found = labels(drawn(figures.differences(load_results(run))))
    assert found[:3] == ["gan − duplicate_real, 100 %", "gan − duplicate_real, 10 %", "gan − plain, 100 %"]
    assert found.count("gan − plain, 100 %") == 4


def test_comparisons_beside_the_endpoint_stand_first_and_others_apart(run: Path, edit: Edit) -> None:
    def add(document: dict[str, Any]) -> None:
        row = document["comparisons"][0]
        document["comparisons"] += [{**row, "fraction": 0.1}, {**row, "arm": "duplicate_real"}]

    assert figures.differences(load_results(run), others=True) is None
    edit("results", add)
    results = load_results(run)
    assert labels(drawn(figures.differences(results)))[:2] == ["gan − duplicate_real", "gan − plain"]
    others = labels(drawn(figures.differences(results, others=True)))
    assert others == ["duplicate_real − plain, 100 %", "gan − plain, 10 %"]


def test_impossible_ends_of_an_interval_stay_on_the_axis(run: Path, edit: Edit) -> None:
    edit("results", lambda d: d["comparisons"][0].update(interval=[-1.8, 2.3]))
    for layout in (WIDE, NARROW):
        root = drawn(figures.differences(load_results(run), layout=layout))
        lines = [node for node in root.iter(f"{SVG}line") if node.get("stroke-linecap")]
        ends = [float(line.get(key, "")) for line in lines for key in ("x1", "x2")]
        assert (min(ends), max(ends)) == (layout.left, layout.right)


def test_narrow_texts_do_not_run_into_one_another(run: Path, edit: Edit) -> None:
    def rename(document: dict[str, Any]) -> None:
        for row in document["comparisons"]:
            row["reference"] = "label_shuffled_and_filtered" if row["reference"] == "plain" else row["reference"]

    edit("results", rename)
    root = drawn(figures.differences(load_results(run), layout=NARROW))
    heights: dict[str, list[int]] = {}
    for node in root.iter(f"{SVG}text"):
        heights.setdefault(node.get("y", ""), []).append(len(node.text or ""))
    assert all(sum(lengths) <= 50 for y, lengths in heights.items() if float(y) > 44)


def test_seeds_of_another_fraction_stay_with_it(run: Path, edit: Edit) -> None:
    def add(document: dict[str, Any]) -> None:
        row = next(row for row in document["arms"] if row["seed"] == 1)
        document["arms"].append({**row, "fraction": 0.1})

    edit("results", add)
    root = drawn(figures.areas(load_results(run)))
    assert [node.get("r") for node in root.iter(f"{SVG}circle")].count("2.2") == 24


def test_unknown_values_leave_the_row_without_a_mark(run: Path, edit: Edit) -> None:
    edit("results", lambda d: d["comparisons"][0].update(difference=None, interval=None))
    root = drawn(figures.differences(load_results(run)))
    assert len(list(root.iter(f"{SVG}circle"))) == 6
    assert "n/a  n/a" in texts(root)


def test_nothing_to_draw_is_no_figure(run: Path, edit: Edit) -> None:
    edit("results", lambda d: d.update(comparisons=[], arms=[]))
    assert figures.differences(load_results(run)) is None
    assert figures.areas(load_results(run)) is None


def test_figures_have_a_name_for_those_who_do_not_see_them(run: Path) -> None:
    root = drawn(figures.differences(load_results(run)))
    identifiers = {node.get("id") for node in root.iter() if node.get("id")}
    assert set((root.get("aria-labelledby") or "").split()) == identifiers
    assert root.get("role") == "img"

"""The grid of a top-up experiment: its tables, its winners, what was reported, and numbers of images in every place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.errors import StateError
from monai_cxraug.reporting.forecast import describe
from monai_cxraug.reporting.grid import grid_part
from monai_cxraug.reporting.language import ENGLISH, KOREAN
from monai_cxraug.reporting.published import published_part
from monai_cxraug.reporting.records import Scale, load_plan, load_results
from monai_cxraug.reporting.report import write_report
from monai_cxraug.reporting.synthetic import synthetic_part
from monai_cxraug.reporting.tables import amount, amount_of, bracket, signed

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]
COUNTS = (10, 50, 100, 250, 300)


def cells(html: str) -> list[list[list[str]]]:
    """Tables of a part of the page: rows of cells as text, minus signs made plain."""
    tables = re.findall(r"<table>(.*?)</table>", html, re.DOTALL)
    rows = [re.findall(r"<tr[^>]*>(.*?)</tr>", table) for table in tables]
    return [[[_text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in some] for some in rows]


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html))).strip().replace("−", "-")


def grid(run: Path) -> list[list[list[str]]]:
    return cells(str(grid_part(load_results(run), load_plan(run), ENGLISH)))


def raw(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "results.json").read_text())
    return document


# --- numbers of images in place of shares ---

SCALE = Scale("Edema", [(0.1, 30), (1.0, 300), (1 / 3, 100)], 300)


def test_an_amount_is_a_share_or_a_number_of_images() -> None:
    assert amount(0.1, None) == "10 %"
    assert amount(0.1, SCALE) == "30 images"
    assert amount(100 / 300, SCALE) == "100 images"
    assert amount(1.0, SCALE) == "all 300 images"
    assert amount(0.2, SCALE) == "20 %"  # none of the scale's
    assert amount(None, SCALE) == "n/a"
    assert amount(0.1, SCALE, KOREAN) == "영상 30개"
    assert amount_of(0.1, SCALE) == "30 images of Edema"
    assert amount_of(0.1, None) == "10 % of the training data"
    assert SCALE.fraction(100) == 1 / 3
    assert SCALE.fraction("all") == 1
    assert SCALE.fraction(31) is None


def test_a_page_never_writes_a_share_for_a_number_of_images(topped: Path) -> None:
    page = write_report(topped).read_text()
    body = re.sub(r"<style>.*?</style>|<summary>Experiment file.*?</details>", "", page, flags=re.DOTALL)
    for count in COUNTS[:-1]:
        assert f"{100 * count / 300:.3g} %" not in body, count
        assert str(count / 300)[:8] not in body, count
    assert "AUROC of Edema, “infogan” less “plain”, 50 images of Edema." in body
    assert "The primary endpoint is for 50 images of Edema." in body
    assert "infogan − plain, 100 images" in body
    assert "infogan, all 300 images" not in body
    for section in ("results", "classes"):
        found = re.search(rf'<section id="{section}".*?</section>', body, re.DOTALL)
        assert found is not None
        assert ">10 images<" in found[0]
    assert "<dt>top_up.real</dt><dd>10, 50, 100, 250, all</dd>" in body
    assert "<dt>fractions</dt>" not in body


def test_a_forecast_counts_images_too() -> None:
    told = {
        "name": "c", "title": "C",
        "endpoint": {"metric": "auroc", "finding": "Edema", "arm": "gan", "reference": "plain", "fraction": 0.1},
        "arms": {"gan": 6}, "seeds": [0, 1, 2], "fractions": [0.1, 1.0], "missing": [], "shares": [], "seconds": 60.0,
        "threads": 1, "prospects": [], "assumed": {},
    }  # fmt: skip
    scale = {"finding": "Edema", "images": [[0.1, 30], [1.0, 300]], "total": 300}
    counted, shared = "\n".join(describe({**told, "scale": scale})), "\n".join(describe(told))
    assert "AUROC of Edema, gan less plain, 30 images of Edema" in counted
    assert "(3 seeds, 2 numbers of real images)" in counted
    assert "gan less plain, 10 % of the training data" in shared
    assert "(3 seeds, 2 fractions)" in shared


# --- the tables ---


def test_every_arm_at_every_number(topped: Path) -> None:
    document, tables = raw(topped), grid(topped)
    assert len(tables) == 3
    for measure, table in zip(("auroc", "accuracy", "balanced_accuracy"), tables, strict=True):
        over, head, *rows = table
        assert over == ["", "Real images of Edema in training"]
        assert head == ["Arm", "10", "50", "100", "250", "all 300"]
        listed = document["arms" if measure == "auroc" else "operating"]
        ends = "interval" if measure == "auroc" else f"{measure}_interval"
        found = {
            (row["arm"], round(300 * row["fraction"])): "{:.3f} {:.3f}–{:.3f}".format(row[measure], *row[ends])
            for row in listed
            if row["seed"] == "all" and row["finding"] == "Edema"
        }
        arms = [row for row in rows if row[0] != "reported"]
        assert [row[0] for row in arms] == ["plain", "weighted_loss", "gan", "infogan"]
        for arm, *values in arms:
            assert values == [found.get((arm, count), "") for count in COUNTS]
        assert arms[2][-1] == ""  # nothing is to be added


def test_what_was_reported_stands_under_its_arm(topped: Path) -> None:
    areas, rates, balanced = grid(topped)
    places = {name: [row[0] for row in table] for name, table in (("areas", areas), ("rates", rates))}
    assert places["areas"][2:] == ["plain", "reported", "weighted_loss", "gan", "infogan", "reported"]
    assert areas[3] == ["reported", "0.612", "0.701", "", "", ""]
    assert areas[7] == ["reported", "0.654", "0.735", "", "", ""]
    assert rates[3] == ["reported", "0.502", "0.591", "", "", ""]
    assert "reported" not in [row[0] for row in balanced]
    assert "Reported by Doe." in str(grid_part(load_results(topped), load_plan(topped), ENGLISH))


def test_an_arm_that_only_others_have(topped: Path, edit: Edit) -> None:
    edit("plan", lambda plan: plan["experiment"]["published"][3].update(arm="stylegan"))
    edit("plan", lambda plan: plan["experiment"]["published"][2].update(real=77))  # a number that the run has not
    areas = grid(topped)[0]
    assert [row[0] for row in areas[2:]] == [
        "plain",
        "reported",
        "weighted_loss",
        "gan",
        "infogan",
        "stylegan",
        "reported",
    ]
    assert areas[-2][1:] == [""] * 5


def test_nothing_reported_for_a_smoke_run_and_nothing_without_a_scale(topped: Path, edit: Edit) -> None:
    edit("plan", lambda plan: plan.update(smoke=True))
    assert "reported" not in [row[0] for table in grid(topped) for row in table]
    edit("results", lambda document: document.update(scale=None))
    assert grid_part(load_results(topped), load_plan(topped), ENGLISH) == ""


# --- winners ---


def best(run: Path) -> list[tuple[int, str, int]]:
    """Marked cells: table, arm and number of images."""
    return [
        (k, row[0], COUNTS[column - 1])
        for k, table in enumerate(grid(run))
        for row in table
        for column, cell in enumerate(row)
        if cell.startswith("▲")
    ]


def _decide(document: dict[str, Any], arm: str, count: int, others: int = 9) -> None:
    """Let an arm be clearly better than the others at a number of images, than so many of them."""
    rows = [
        row
        for row in document["comparisons"]
        if row["fraction"] == count / 300 and row["finding"] == "Edema" and arm in (row["arm"], row["reference"])
    ]
    for row in rows[:others]:
        sign = 1 if row["arm"] == arm else -1
        row.update(difference=0.1 * sign, interval=sorted((0.05 * sign, 0.15 * sign)), p_holm=0.01)


def test_the_largest_number_is_no_winner(topped: Path) -> None:
    assert best(topped) == []


@pytest.mark.parametrize("arm", ["plain", "gan", "infogan"])
def test_a_winner_beats_every_other_arm_of_its_column(topped: Path, edit: Edit, arm: str) -> None:
    edit("results", lambda document: _decide(document, arm, 50))
    assert best(topped) == [(0, arm, 50)]


def test_all_but_one_are_not_enough(topped: Path, edit: Edit) -> None:
    edit("results", lambda document: _decide(document, "infogan", 50, others=2))
    assert best(topped) == []


@pytest.mark.parametrize("change", [{"p_holm": 0.06}, {"interval": [-0.01, 0.2]}, {"interval": None}])
def test_an_open_comparison_is_none(topped: Path, edit: Edit, change: dict[str, Any]) -> None:
    def open_one(document: dict[str, Any]) -> None:
        _decide(document, "infogan", 50)
        next(row for row in document["comparisons"] if row["arm"] == "infogan" and row["fraction"] == 50 / 300).update(
            change
        )

    edit("results", open_one)
    assert best(topped) == []


def test_rates_are_told_apart_by_their_intervals(topped: Path, edit: Edit) -> None:
    def part(document: dict[str, Any], low: float) -> None:
        for row in document["operating"]:
            if (row["arm"], row["fraction"], row["seed"]) == ("gan", 100 / 300, "all"):
                row["accuracy_interval"] = [low, 0.9]

    edit("results", lambda document: part(document, 0.8))
    assert best(topped) == [(1, "gan", 100)]
    edit("results", lambda document: part(document, 0.66))
    assert best(topped) == []


# --- what others reported, by numbers ---


def test_reported_values_by_number_of_images(topped: Path) -> None:
    ((head, *rows),) = cells(str(published_part(load_results(topped), load_plan(topped), ENGLISH)))
    assert head == ["Real images", "AUROC, reported", "AUROC, here", "Accuracy, reported", "Accuracy, here"]
    assert [row[0] for row in rows] == ["10", "50"]
    document = raw(topped)
    area = {
        (row["arm"], round(300 * row["fraction"])): row["auroc"]
        for row in document["arms"]
        if row["seed"] == "all" and row["finding"] == "Edema"
    }
    for row, count in zip(rows, (10, 50), strict=True):
        before, after = area["plain", count], area["infogan", count]
        gap = round(after - before, 4)
        assert row[2] == f"{before:.3f} → {after:.3f} {signed(gap)} {bracket((gap - 0.02, gap + 0.02))}"
    assert rows[0][1] == "0.612 → 0.654 +0.042"
    assert rows[0][3] == "0.502 → 0.544 +0.042"
    assert rows[0][4].startswith(f"{area['plain', 10] - 0.07:.3f} → {area['infogan', 10] - 0.07:.3f}")


def test_reported_numbers_that_the_run_has_not(topped: Path, edit: Edit) -> None:
    def move(plan: dict[str, Any]) -> None:
        for entry in plan["experiment"]["published"]:
            entry.update(real={10: 20, 50: "all"}[entry["real"]])

    edit("plan", move)
    ((_, first, last),) = cells(str(published_part(load_results(topped), load_plan(topped), ENGLISH)))
    assert (first[0], first[2], first[4]) == ("20", "n/a", "n/a")
    assert last[0] == "all 300"
    assert last[2].endswith("→ n/a")  # no arm that adds images is trained with all of them


# --- near copies ---


def near(run: Path) -> list[list[str]]:
    section = str(synthetic_part(load_results(run), load_plan(run), None, (), (), ENGLISH))
    return cells(section)[0]


def test_near_copies_by_generator_and_number(topped: Path) -> None:
    _, head, *rows = near(topped)
    assert head == ["Generator", "10", "50", "100", "250"]
    assert [row[0] for row in rows] == ["gan", "infogan"]
    made = raw(topped)["synthetic"]
    for kind, *values in rows:
        for count, text in zip(COUNTS, values, strict=False):
            own = [row for row in made if row["id"].startswith(f"{kind}-{count}-")]
            assert len(own) == 3
            n = sum(row["n"] for row in own)
            shares = (sum(row["audit"][key] for row in own) / n for key in ("near", "copies"))
            assert text == " ".join(f"{100 * share:.1f} %" for share in shares)


def test_screened_and_filtered_sets_have_lines_of_their_own(topped: Path, edit: Edit) -> None:
    edit("plan", lambda plan: plan["synthetic"][0].update(judges=["judge0of1"]))
    edit("plan", lambda plan: plan["generators"][1].update(filtered=True))
    assert [row[0] for row in near(topped)[2:]] == ["gan+screened", "filtered_gan", "gan", "infogan"]


def test_no_table_without_an_audit_or_a_scale(topped: Path, edit: Edit) -> None:
    edit("results", lambda document: document.update(scale=None))
    assert near(topped)[0][0] == "Finding"

    def forget(document: dict[str, Any]) -> None:
        document["scale"] = {"finding": "Edema", "images": [[1.0, 300]], "total": 300}
        for row in document["synthetic"]:
            row["audit"] = {"not_run": "made before there was an audit"}

    edit("results", forget)
    assert near(topped)[0][0] == "Finding"


@pytest.mark.parametrize(
    "scale",
    [{"finding": "Edema"}, {"finding": "Edema", "images": [[0.1]]}, {"finding": "Edema", "images": [[0.1, 2.5]]}, 3],
)
def test_an_odd_scale_is_refused(topped: Path, edit: Edit, scale: object) -> None:
    edit("results", lambda document: document.update(scale=scale))
    with pytest.raises(StateError, match="scale"):
        load_results(topped)

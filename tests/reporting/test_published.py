"""What others reported, beside the results of a run."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.reporting.language import ENGLISH, find_language
from monai_cxraug.reporting.published import published_part
from monai_cxraug.reporting.records import load_plan, load_results

SYSTEMS = Path(__file__).parents[2] / "configs" / "experiments"
BEFORE = {"arm": "plain", "auroc": {"Edema": 0.9, "Hernia": 0.65, "Fibrosis": 0.7}, "source": "Doe"}
AFTER = {"arm": "gan", "auroc": {"Edema": 0.896, "Hernia": 0.877, "Fibrosis": 0.8}, "source": "Doe"}


def write(run: Path, *entries: dict[str, Any], **more: Any) -> list[list[str]]:
    """Declare what was published, and read the rows of the section's tables as text."""
    path = run / "plan.json"
    document = {**json.loads(path.read_text()), **more}
    document["experiment"]["published"] = list(entries)
    path.write_text(json.dumps(document))
    text = str(published_part(load_results(run), load_plan(run), ENGLISH))
    rows = re.findall(r"<tr>(.*?)</tr>|<tr class=\"total\">(.*?)</tr>", text)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", a or b) for a, b in rows]
    return [[re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", cell))).strip() for cell in row] for row in cells]


def test_reported_values_stand_beside_those_of_the_run(run: Path) -> None:
    head, edema, hernia, fibrosis, mean = write(run, BEFORE, AFTER)
    assert head == ["Finding", "Reported", "Here"]
    assert edema == ["Edema 34 / 1842", "0.900 → 0.896 −0.004", "0.842 → 0.861 +0.019 [+0.002, +0.037]"]
    assert hernia == ["Hernia n/a", "0.650 → 0.877 +0.227", "n/a"]
    assert fibrosis[1:] == ["0.700 → 0.800 +0.100", "0.694 → 0.688 −0.006 [−0.023, +0.012]"]
    # of what both have: (0.9 + 0.7) / 2, not Hernia's
    assert mean == ["Mean of these 2", "0.800 → 0.848 +0.048", "0.768 → 0.774 +0.006"]


def test_a_turned_pair_turns_the_interval(run: Path) -> None:
    rows = write(run, AFTER, BEFORE)
    assert rows[1][2] == "0.861 → 0.842 −0.019 [−0.037, −0.002]"


def test_one_arm_alone_and_each_source_by_itself(run: Path) -> None:
    rows = write(run, BEFORE, {**AFTER, "source": "Roe"})
    assert [row[1:] for row in rows if row[0].startswith("Edema")] == [["0.900", "0.842"], ["0.896", "0.861"]]


def test_a_fraction_that_the_run_has_not(run: Path) -> None:
    rows = write(run, {**BEFORE, "fraction": 0.1}, {**AFTER, "fraction": 0.1})
    assert [row[2] for row in rows[1:]] == ["n/a"] * 3


def test_nothing_for_a_smoke_run_or_where_nothing_was_published(run: Path) -> None:
    assert write(run) == []
    assert write(run, BEFORE, smoke=True) == []


def test_the_page_has_it_in_both_languages(run: Path) -> None:
    write(run, BEFORE, AFTER)
    results, plan = load_results(run), load_plan(run)
    assert "Reported by Doe; 100 % of the training data" in str(published_part(results, plan, ENGLISH))
    assert "Doe 발표" in str(published_part(results, plan, find_language("ko")))


def test_system_a_has_its_published_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRAUG_DATA", "/data")
    before, after = load_experiment([SYSTEMS / "system_a_nih_pggan.yaml"]).published
    areas = [list(entry.auroc.values()) for entry in (before, after)]
    assert [round(sum(some) / 14, 4) for some in areas] == [0.7848, 0.8412]
    gains = [b - a for a, b in zip(*areas, strict=True)]
    assert round(sum(gains[:6]) / 6, 4) == 0.0375

"""The sections on thresholds and on class activation maps."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from monai_cxraug.errors import InputError, StateError
from monai_cxraug.reporting.report import write_report

Edit = Callable[[str, Callable[[dict[str, Any]], Any]], None]


def row(seed: int | str, **changes: Any) -> dict[str, Any]:
    rates = {"accuracy": 0.812, "sensitivity": 0.9, "specificity": None, "brier": 0.123}
    intervals = {f"{name}_interval": None if value is None else [0.7, 0.95] for name, value in rates.items()}
    errors = {"ece": 0.031, "ece_before": 0.074}
    who = {"arm": "gan", "fraction": 1.0, "ratio": 1.0, "seed": seed, "finding": "Edema", "n": 60, "positives": 12}
    chosen = {"rule": "youden", "threshold": None, "temperature": None}
    if seed != "all":
        chosen |= {"threshold": 0.417, "temperature": 1.52}
    return {**who, **chosen, **rates, **intervals, **errors, **changes}


def test_rates_are_shown_with_their_rule_and_every_threshold(run: Path, edit: Edit) -> None:
    edit("results", lambda document: document.update(operating=[row(1), row(2), row("all")]))
    page = write_report(run).read_text()
    section = page.split("<h2>Measures beside AUROC</h2>")[1].split("</section>")[0]
    for text in ("0.812", "[0.700, 0.950]", "n/a", "0.074 → 0.031", "youden", "All 2 thresholds", "0.417", "1.52"):
        assert text in section, text
    with (run / "report" / "tables" / "operating.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [line["seed"] for line in rows] == ["1", "2", "all"]
    assert (rows[2]["accuracy_low"], rows[2]["accuracy_high"], rows[2]["specificity_low"]) == ("0.7", "0.95", "")


def test_thresholds_that_were_not_chosen_are_called_so(run: Path, edit: Edit) -> None:
    edit("results", lambda document: document.update(operating=[row("all", rule="threshold=0.5")]))
    assert "at 0.5, as no images were left to choose one on" in write_report(run).read_text()


def test_without_thresholds_there_is_no_section(run: Path) -> None:
    page = write_report(run).read_text()
    assert "Measures beside AUROC" not in page
    assert "Where the networks look" not in page


@pytest.fixture
def maps(run: Path) -> Path:
    folder = run / "cells" / "gan-seed1" / "maps"
    (folder / "Edema").mkdir(parents=True)
    entries = []
    for number in (1, 2):
        Image.new("RGB", (9, 4)).save(folder / "Edema" / f"{number}.png")
        entries.append(
            {"file": f"Edema/{number}.png", "finding": "Edema", "image": f"<{number}>.png", "kind": "thought likeliest"}
            | {"prob": 0.25, "label": None}
        )
    document = {"schema": "cxraug.maps/1", "version": "0", "layer": "x", "places": 4, "maps": entries}
    (folder / "maps.json").write_text(json.dumps(document))
    return folder


def test_maps_are_in_the_page_under_what_they_show(run: Path, maps: Path) -> None:
    page = write_report(run).read_text()
    section = page.split("<h2>Where the networks look</h2>")[1].split("</section>")[0]
    assert section.count("<img") == 2
    assert "gan-seed1: Edema thought likeliest" in section
    assert "&lt;1&gt;.png, 0.250" in section
    assert "4 × 4 places" in section


def test_a_lost_picture_or_another_content_is_refused(run: Path, maps: Path) -> None:
    (maps / "Edema" / "2.png").unlink()
    with pytest.raises(InputError, match="picture of a map must exist"):
        write_report(run)
    (maps / "maps.json").write_text(json.dumps({"schema": "cxraug.maps/1", "version": "0", "maps": [{"file": 3}]}))
    with pytest.raises(StateError, match="'file' must be"):
        write_report(run)

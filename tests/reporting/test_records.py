import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.errors import StateError
from monai_cxraug.reporting import load_plan, load_results

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]


def test_results_are_read_as_written(run: Path) -> None:
    results, raw = load_results(run), json.loads((run / "results.json").read_text())
    assert results.findings() == ["Edema", "Emphysema", "Fibrosis", "macro"]
    assert results.primary is not None
    assert results.primary.interval == tuple(raw["primary"]["interval"])
    assert [row.auroc for row in results.arms] == [row["auroc"] for row in raw["arms"]]
    assert {row.seed for row in results.overall()} == {"all"}


def test_plan_is_optional(run: Path) -> None:
    plan = load_plan(run)
    assert plan is not None
    assert (len(plan.cells), len(plan.generators), [made.n for made in plan.synthetic]) == (6, 3, [20, 20, 20])
    (run / "plan.json").unlink()
    assert load_plan(run) is None


def test_absent_roles_and_unknown_keys_are_left_alone(run: Path, edit: Edit) -> None:
    edit("plan", lambda document: document["data"].update(test=None))
    edit("results", lambda document: document["arms"][0].update(later="addition"))
    plan = load_plan(run)
    assert plan is not None
    assert list(plan.data) == ["train", "validation"]
    assert load_results(run).arms[0].arm == "plain"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda d: d["arms"][2].pop("positives"), r"arms\[2\]: must have the key 'positives'"),
        (lambda d: d["arms"][0].update(auroc="0.9"), r"arms\[0\]: 'auroc' must be"),
        (lambda d: d["arms"][0].update(auroc=float("nan")), "'auroc' must be"),
        (lambda d: d["arms"][0].update(n=True), "'n' must be int"),
        (lambda d: d["arms"][0].update(n=3.5), "'n' must be int"),
        (lambda d: d["arms"][0].update(seed="each"), "'seed' must be"),
        (lambda d: d["comparisons"][1].update(interval=[0.1]), r"comparisons\[1\]: 'interval' must be"),
        (lambda d: d["comparisons"].append("row"), "must be an object; found str"),
        (lambda d: d["primary"].pop("verdict"), "primary: must have the key 'verdict'"),
        (lambda d: d.update(missing="plain"), "'missing' must be"),
        (lambda d: d.update(arms={}), "'arms' must be"),
        (lambda d: d.pop("name"), "must have the key 'name'"),
    ],
)
def test_odd_content_is_refused_with_its_place(
    run: Path, edit: Edit, break_it: Callable[[dict[str, Any]], None], words: str
) -> None:
    edit("results", break_it)
    with pytest.raises(StateError, match=words):
        load_results(run)

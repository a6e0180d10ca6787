"""A figure works the order of the arms out once, however many rows it draws."""

from __future__ import annotations

import pytest

from monai_cxraug.reporting import figures
from monai_cxraug.reporting.records import ArmResult, Comparison, Results


@pytest.mark.parametrize("count", [1, 60])
def test_the_order_of_arms_is_worked_out_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    calls = []

    def counted(results: Results) -> list[str]:
        calls.append(1)
        return order(results)

    order = figures.order_arms
    monkeypatch.setattr(figures, "order_arms", counted)
    places = [(k + 1) / count for k in range(count)]
    arms = [ArmResult(arm, "all", "Edema", 90, 30, place) for arm in ("plain", "gan") for place in places]
    rows = [
        Comparison("gan", "plain", "Edema", "no evidence", place, None, 0.01, (-0.02, 0.04), n=90, positives=30)
        for place in places
    ]
    results = Results("many", "Many", "test", None, arms, rows, [], [], [], [], [], {})
    drawn = figures.differences(results)
    assert drawn is not None
    assert str(drawn).count("gan − plain") >= count
    assert len(calls) == 1

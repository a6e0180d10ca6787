"""The order of arms and findings is worked out once, however many rows are drawn."""

from __future__ import annotations

from collections.abc import Iterator

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


def test_findings_are_worked_out_once_and_each_caller_has_its_own_list() -> None:
    class Watched(list[ArmResult]):
        reads = 0

        def __iter__(self) -> Iterator[ArmResult]:
            self.reads += 1
            return super().__iter__()

    arms = Watched(ArmResult("plain", "all", name, 90, 30, 1.0) for name in ("macro", "Edema", "Mass"))
    compared = [Comparison("gan", "plain", name, "no evidence", 1.0, None, 0.01) for name in ("Edema", "Mass", "macro")]
    results = Results("many", "Many", "test", None, arms, compared, [], [], [], [], [], {})
    for _ in range(20):
        results.studied().append("another")
        results.findings().clear()
    assert (results.findings(), results.studied()) == (["Edema", "Mass", "macro"], ["Edema", "Mass", "macro"])
    assert results.listed_arms == ("plain",)
    assert arms.reads == 2  # findings, arms

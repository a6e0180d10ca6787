"""A record's annotations are worked out once, not once a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_cxraug.errors import StateError
from monai_cxraug.reporting import fields
from monai_cxraug.reporting.records import Operating


def test_hints_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def count(record: type) -> dict[str, object]:
        calls.append(record)
        return hints(record)

    hints = fields.get_type_hints
    monkeypatch.setattr(fields, "get_type_hints", count)
    fields._hints.cache_clear()
    row = {"arm": "gan", "seed": 1, "finding": "Edema", "n": 9, "positives": 3, "rule": "youden"}
    rows = [{**row, "accuracy": k / 50, "accuracy_interval": [0.1, 0.2]} for k in range(50)]
    built = fields.build_all(Operating, {"operating": rows}, "operating", Path("results.json"))
    assert [one.accuracy for one in built] == [k / 50 for k in range(50)]
    assert built[0].accuracy_interval == (0.1, 0.2)
    assert calls == [Operating]
    rows[7]["accuracy_interval"] = [0.1]
    with pytest.raises(StateError, match=r"operating\[7\]"):
        fields.build_all(Operating, {"operating": rows}, "operating", Path("results.json"))

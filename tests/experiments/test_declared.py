"""Was the endpoint declared before the run?"""

from __future__ import annotations

from pathlib import Path

from monai_cxraug.experiments.declared import describe_endpoint, record_endpoint
from monai_cxraug.experiments.experiment import make_experiment
from tests.experiments.conftest import document


def _declare(run: Path, **endpoint: str) -> None:
    record_endpoint(run, make_experiment(document(endpoint={"arm": "gan", "reference": "plain", **endpoint}), "x"))


def test_an_endpoint_stands_before_the_run_until_it_is_changed_after_a_cell(tmp_path: Path) -> None:
    assert describe_endpoint(tmp_path) is None
    _declare(tmp_path)
    assert describe_endpoint(tmp_path) == {"before": True, "cells_done": 0, "earlier": 0}
    _declare(tmp_path, finding="Effusion")
    assert describe_endpoint(tmp_path) == {"before": True, "cells_done": 0, "earlier": 1}
    for name in ("a", "b"):
        (tmp_path / "cells" / name).mkdir(parents=True)
        (tmp_path / "cells" / name / "run.json").write_text("{}")
    _declare(tmp_path, finding="Effusion")  # the same again changes nothing
    assert describe_endpoint(tmp_path) == {"before": True, "cells_done": 0, "earlier": 1}
    _declare(tmp_path)
    assert describe_endpoint(tmp_path) == {"before": False, "cells_done": 2, "earlier": 2}

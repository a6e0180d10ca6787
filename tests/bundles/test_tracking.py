"""``--tracking mlflow``: a training goes on with it or without it, and MLflow gets every loss of either bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_cxraug.handlers.progress import scalars
from monai_cxraug.tracking import fit_tracking, without_tracking
from tests.bundles.conftest import ROOT, Start

EACH = pytest.mark.parametrize("bundle", ["chest_xray_classification", "chest_xray_pggan", "image_infogan"])
OWN: dict[str, dict[str, Any]] = {
    "chest_xray_classification": {"size": 32, "architecture": "small_cnn"},
    "chest_xray_pggan": {"finding": "Edema"},
    "image_infogan": {"finding": "Edema"},
}
LOSSES = {
    "chest_xray_classification": {"loss"},
    "chest_xray_pggan": {"critic_loss", "generator_loss"},
    "image_infogan": {"critic_loss", "generator_loss", "information", "generator_information"},
}


def files_of(bundle: str) -> list[str]:
    return [str(ROOT / "bundles" / bundle / "configs" / f"{name}.json") for name in ("train", "smoke")]


def fingerprint(bundle: str, folder: Path, manifest: Path, tracking: str | None) -> str:
    place = {"bundle_root": str(ROOT / "bundles" / bundle), "output_dir": str(folder), "device": "cpu"}
    given = {**place, "manifest": str(manifest), "threads": 1, "run": ["$@fingerprint"], **OWN[bundle]}
    workflow = ConfigWorkflow(files_of(bundle), logging_file=False, workflow_type="train", tracking=tracking, **given)
    workflow.initialize()
    (key,) = workflow.run()
    return str(key)


@EACH
def test_tracking_changes_no_fingerprint(bundle: str, manifest: Path, tmp_path: Path) -> None:
    with_it = fingerprint(bundle, tmp_path, manifest, "mlflow")
    assert with_it == fingerprint(bundle, tmp_path, manifest, None)


def test_what_tracking_added_is_left_out_and_nothing_else() -> None:
    own = {"train": {"handlers": [{"_target_": "Own"}], "rate": 0.1}, "evaluator": {"_target_": "Engine"}}
    tracked = {
        "train": {"handlers": [{"_target_": "Own"}, {"_target_": "MLFlowHandler", "tag_name": "x"}], "rate": 0.1},
        "evaluator": {"_target_": "Engine"},
        "tracking_uri": "$f()",
        "save_execute_config": "$'x'",
    }
    assert without_tracking(tracked) == own
    assert without_tracking(own) == own


@pytest.mark.parametrize(
    ("written", "resolved"),
    [("output/x + '/config_1.json'", "output/x/config_1.json"), ("$'output' + '/config_1.json'", None), (None, None)],
)
def test_handler_reads_all_numbers_and_the_saved_configuration_is_a_path(written: Any, resolved: Any) -> None:
    handler = {"_target_": "MLFlowHandler", "output_transform": "$lambda output: 1"}
    parser = ConfigParser({"train": {"handlers": [{"_target_": "Other"}, handler]}, "save_execute_config": written})
    parser.parse(reset=True)
    fit_tracking(parser)
    content = parser.ref_resolver.resolved_content
    assert content.pop("train::handlers::1::output_transform") is scalars
    assert content == ({} if resolved is None else {"save_execute_config": resolved})


@pytest.mark.service
@EACH
def test_mlflow_gets_every_loss(bundle: str, manifest: Path, tmp_path: Path, start: Start) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install 'monai-cxraug[tracking]' to run this test")
    own = [text for name, value in OWN[bundle].items() for text in (f"--{name}", str(value))]
    place = ["--bundle_root", f"bundles/{bundle}", "--output_dir", str(tmp_path), "--manifest", str(manifest)]
    files = repr(files_of(bundle))
    process = start(["monai.bundle", "run", "--config_file", files, *place, *own, "--tracking", "mlflow"])
    assert process.wait(timeout=300) == 0, process.communicate()[1]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= LOSSES[bundle]
    saved = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert [name for name in saved if name.startswith("config_")]

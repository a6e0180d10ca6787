"""A whole experiment on phantoms with a tiny budget, trained for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.artifacts import file_hash, load_json
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import ConfigError, LeakageError, StateError
from monai_cxraug.experiments.evaluation import evaluate
from monai_cxraug.experiments.experiment import DataSpec, Experiment, make_experiment
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.experiments.runner import Runner
from monai_cxraug.experiments.work import check_budget
from tests.experiments.conftest import document, smoke_run

pytestmark = pytest.mark.e2e


def test_every_promised_file_is_there(run: Path) -> None:
    plan = read_plan(run)
    for one in plan.generators:
        assert (run / "generators" / one.id / "model.pt").is_file()
    for one in plan.synthetic:
        for name in ("manifest.csv", "manifest.json", "pack.npy", "pack.json", "provenance.json"):
            assert (run / "synthetic" / one.id / name).is_file()
    for one in plan.cells:
        for name in ("model.pt", "run.json", "predictions.csv", "timing.json"):
            assert (run / "cells" / one.id / name).is_file()
    found = load_json(run / "results.json")
    assert {"primary", "arms", "comparisons", "provenance", "composition", "cost"} <= set(found)


def test_arms_have_the_positives_they_declare(run: Path) -> None:
    counts = {
        cell.arm: load_json(run / "cells" / cell.id / "run.json")["about"]["composition"]
        for cell in read_plan(run).cells
    }
    gan = next(cell for cell in read_plan(run).cells if cell.arm == "gan")
    for finding, n in gan.counts.items():
        assert counts["plain"][finding] == {**counts["gan"][finding], "synthetic": 0}
        assert counts["gan"][finding]["synthetic"] == n
        # a duplicated image may carry the other studied finding too
        assert counts["duplicate_real"][finding]["duplicate"] >= n
        assert counts["duplicate_real"][finding]["synthetic"] == 0


def test_generators_saw_training_patients_only(run: Path) -> None:
    for one in read_plan(run).synthetic:
        seen = set(load_json(run / "synthetic" / one.id / "provenance.json")["patients_seen"])
        manifest = read_manifest(next((run / "data").glob("*/manifest.csv")))
        positive = (manifest.label(one.finding) == 1) & (manifest["split"] == "train")
        assert seen == set(manifest["patient_id"][positive])


def test_a_second_run_does_nothing(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("model.pt")}
    _, lines = smoke_run(run)
    assert all(line.endswith("done before") for line in lines)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("model.pt")}


def test_what_repeats_exactly_repeats_exactly(run: Path, tmp_path: Path) -> None:
    again, _ = smoke_run(tmp_path / "again")
    for one in read_plan(run).cells:
        for name in ("run.json", "predictions.csv", "model.pt"):
            assert file_hash(run / "cells" / one.id / name) == file_hash(again / "cells" / one.id / name), name


def test_a_lost_cell_is_trained_again_and_alone(run: Path) -> None:
    plan = read_plan(run)
    before = file_hash(run / "cells" / plan.cells[0].id / "predictions.csv")
    shutil.rmtree(run / "cells" / plan.cells[0].id)
    _, lines = smoke_run(run)
    assert [line for line in lines if not line.endswith("done before")] == [
        line for line in lines if plan.cells[0].id in line
    ]
    assert file_hash(run / "cells" / plan.cells[0].id / "predictions.csv") == before


def test_cells_answer_about_images_never_seen(run: Path, tmp_path: Path) -> None:
    plan = read_plan(run)
    manifest = next((run / "data").glob("*/manifest.csv"))
    spec = DataSpec(manifest=str(manifest), split="test")
    found = load_json(evaluate(run, spec, tmp_path, lambda line: None))
    assert {path.stem for path in (tmp_path / "predictions").iterdir()} == {cell.id for cell in plan.cells}
    rows = read_manifest(manifest).rows("test")
    assert all(row["n"] == len(rows) for row in found["arms"] if row["finding"] == "Effusion")
    for split in ("train", None):
        with pytest.raises(LeakageError, match="never seen in training"):
            evaluate(run, DataSpec(manifest=str(manifest), split=split), tmp_path, lambda line: None)


def test_a_leaking_generator_stops_the_experiment(run: Path, tmp_path: Path) -> None:
    """The same synthetic set, its provenance edited to name one validation patient."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    plan = read_plan(copy)
    gan = next(cell for cell in plan.cells if cell.arm == "gan")
    provenance = copy / "synthetic" / gan.synthetic[0] / "provenance.json"
    content = json.loads(provenance.read_text())
    manifest = read_manifest(next((copy / "data").glob("*/manifest.csv")))
    content["patients_seen"].append(manifest["patient_id"][np.flatnonzero(manifest["split"] == "val")[0]])
    provenance.write_text(json.dumps(content))
    shutil.rmtree(copy / "cells" / gan.id)
    with pytest.raises(LeakageError, match="may only have seen training patients"):
        smoke_run(copy)


def test_a_misspelt_budget_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    experiment = make_experiment(document(budget={"classifier": {"stpes": 3}}), "x")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        Runner(experiment, tmp_path / "run").execute()
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="seed"):
        check_budget(make_experiment(document(budget={"generator": {"seed": 3}}), "x"))


def test_weights_that_are_not_there_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    weights = str(tmp_path / "densenet.pth")
    experiment = make_experiment(document(budget={"classifier": {"weights": weights}}), "x")
    with pytest.raises(ConfigError, match=r"'weights': must be a file; found .*densenet\.pth"):
        Runner(experiment, tmp_path / "run").execute()
    assert not (tmp_path / "run").exists()


def test_one_process_a_run_and_nothing_half_written_stays(
    tmp_path: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    litter = tmp_path / ".plan.json.abcd1234.json"
    litter.touch()

    def again(runner: Runner) -> Path:
        assert not litter.exists()
        with pytest.raises(StateError, match="only one process may write here"):
            Runner(experiment, tmp_path).execute()
        return tmp_path

    monkeypatch.setattr(Runner, "_execute", again)
    assert Runner(experiment, tmp_path).execute() == tmp_path


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    experiment = make_experiment(document(budget={"classifier": {"stepz": 3}}), "x")
    with pytest.raises(ConfigError, match="stepz"):
        Runner(experiment, tmp_path / "run").execute()
    assert not (tmp_path / "run").exists()

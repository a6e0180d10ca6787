"""What a run ships: its models in half precision, with calibration, and cards that say what it found."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cxraug.artifacts import file_hash, load_json, write_json
from monai_cxraug.calibration import read_calibration
from monai_cxraug.data.copies import COPIES
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import CxrAugError
from monai_cxraug.experiments import shipping
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.experiments.shipped import read_shipped
from monai_cxraug.experiments.shipping import Shipping
from monai_cxraug.networks.weights import load_model
from scripts import ship_models

pytestmark = pytest.mark.e2e
CLASSIFIERS = "chest_xray_classification/models/small"
GENERATORS = "chest_xray_pggan/models/small"


def test_generators_of_every_seed_and_a_classifier_of_each_arm(small_run: Path, bundles: Path) -> None:
    plan = read_plan(small_run)
    generators, classifiers = read_shipped(bundles / GENERATORS), read_shipped(bundles / CLASSIFIERS)
    assert [one.stage for one in generators.models] == list(plan.generators)
    assert [one.stage for one in classifiers.models] == [cell for cell in plan.cells if cell.seed == 0]
    assert (generators.experiment.seeds, classifiers.experiment.seeds) == ([0, 1], [0])
    for one in (*generators.models, *classifiers.models):
        one.require_whole()
        whole = small_run / one.stage.folder / one.stage.id / "model.pt"
        assert load_model(one.model).about == load_model(whole).about  # patients seen among it
        stored = torch.load(one.model, weights_only=True)["weights"].values()
        assert {tensor.dtype for tensor in stored if tensor.ndim > 1} == {torch.float16}
    assert {path.name for path in (bundles / CLASSIFIERS).rglob("*") if path.is_file()} == {
        "shipped.json", "model.pt", "calibration.json", "card.md",
    }  # fmt: skip


def test_no_path_of_the_machine_travels(small_run: Path, bundles: Path, phantom_manifest: Path) -> None:
    for file in (path for path in bundles.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for folder in (small_run, bundles, phantom_manifest.parent):
            assert str(folder).encode() not in content, file


def test_calibrations_are_those_of_the_run(small_run: Path, bundles: Path) -> None:
    for one in read_shipped(bundles / CLASSIFIERS).models:
        fitted = read_calibration(small_run / "cells" / one.stage.id / "calibration.json")
        assert read_calibration(one.folder / "calibration.json") == replace(fitted, model=file_hash(one.model))


def test_cards_say_what_the_run_found(small_run: Path, bundles: Path, phantom_manifest: Path) -> None:
    results = load_json(small_run / "results.json")
    sections = ["Intended use", "Training data", "Recipe", "Figures", "Limits", "Licence and credits"]
    cards = sorted(bundles.rglob("card.md"))
    assert len(cards) == 4
    for card in cards:
        text = card.read_text()
        assert re.findall(r"^## (.+)$", text, flags=re.M) == sections
        assert file_hash(card.with_name("model.pt")) in text
        assert "Not for diagnosis" in text
        assert "generated, no restriction" in text
        assert f"{results['primary']['difference']:+.3f}" in text
        assert not any(len(line) > 200 and not line.startswith("|") for line in text.splitlines())
    (gan,) = (bundles / CLASSIFIERS).glob("gan-*/card.md")
    every = next(
        row for row in results["arms"] if (row["arm"], row["seed"], row["finding"]) == ("gan", "all", "Effusion")
    )
    low, high = every["interval"]
    assert f"{every['auroc']:.3f} [{low:.3f}, {high:.3f}]" in gan.read_text()
    table = read_manifest(phantom_manifest)
    shown = table.rows("train")[table.label("Effusion")[table.rows("train")] == 1]
    made = next((bundles / GENERATORS).glob("*/card.md")).read_text()
    assert f"{len(shown)} images of {len(table.patients(shown))} patients" in made


def refuse(run: Path, bundles: Path, *words: str, **settings: Any) -> None:
    with pytest.raises(CxrAugError) as caught:
        Shipping(run, bundles, **{"names_are_public": True, **settings}).ship()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not list(bundles.rglob("*.pt"))


def test_what_may_not_be_given_away_is_refused(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(small_run, tmp_path, "hashed, or public", "--salt", names_are_public=False)
    refuse(small_run, tmp_path, "must be of the experiment", "known: 0, 1", seed=5)
    with monkeypatch.context() as patch:
        patch.setitem(shipping.LARGEST, "cell", 1000)
        refuse_cells = Shipping(small_run, tmp_path / "large", names_are_public=True)
        with pytest.raises(CxrAugError, match="a shipped cell may have"):
            refuse_cells.ship()
        assert not list((tmp_path / "large" / "chest_xray_classification").rglob("*.pt"))
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy, ignore=shutil.ignore_patterns("tensorboard", "data"))
    content = load_json(copy / "results.json")
    content["synthetic"][0]["audit"]["verdict"] = COPIES
    monkeypatch.setattr(Shipping, "results", content)
    refuse(copy, tmp_path / "none", "may not make copies")
    (copy / "results.json").unlink()
    refuse(copy, tmp_path / "none", "must be finished")
    plan = load_json(copy / "plan.json")
    write_json(copy / "plan.json", plan.pop("schema"), {**plan, "smoke": True})
    refuse(copy, tmp_path / "none", "a smoke run")


def test_the_script_ships_or_says_in_one_line_why_not(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ship(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["ship_models", *words, "--bundles", str(tmp_path / "bundles")])
        return ship_models.main()

    assert ship(str(tmp_path / "nothing")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ship_models: error: ")
    assert "plan.json" in line
    assert ship(str(small_run), "--names-are-public", "--credit", "Images: nobody's.") == 0
    assert capsys.readouterr().out.count(": 2 models, ") == 2
    assert "- Images: nobody's." in next((tmp_path / "bundles" / CLASSIFIERS).glob("*/card.md")).read_text()


def test_shipping_again_replaces_and_a_failure_leaves_what_was(
    small_run: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    folder = tmp_path / "bundles" / CLASSIFIERS
    (folder / "older").mkdir()
    first = file_hash(folder / "shipped.json")
    with monkeypatch.context() as patch:
        patch.setitem(shipping.LARGEST, "cell", 1000)
        with pytest.raises(CxrAugError):
            Shipping(small_run, tmp_path / "bundles", names_are_public=True).ship()
    assert (folder / "older").is_dir()
    assert file_hash(folder / "shipped.json") == first
    Shipping(small_run, tmp_path / "bundles", seed=1, names_are_public=True).ship()
    assert {path.name.split("-s")[1][0] for path in folder.iterdir() if path.is_dir()} == {"1"}
    assert not list(folder.parent.glob(".ship.*"))

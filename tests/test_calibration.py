"""What is fitted on validation images, kept beside the model, and refused when it is not that model's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.artifacts import file_hash
from monai_cxraug.calibration import (
    FILE,
    FitCalibration,
    find_calibration,
    fit_calibration,
    read_calibration,
)
from monai_cxraug.errors import ConfigError, LeakageError, StateError
from monai_cxraug.metrics.calibration import fit_temperature
from monai_cxraug.metrics.operating import Rule, choose_threshold
from monai_cxraug.predictions import Predictions, read_predictions

FINDINGS = ("Edema", "Mass", "Hernia")


def table(n: int = 300) -> Predictions:
    rng = np.random.default_rng(0)
    odds = rng.normal(size=(n, 3))
    labels = (rng.random((n, 3)) < 1 / (1 + np.exp(-odds))).astype(float)
    labels[:5, 0] = np.nan
    labels[:, 2] = 0
    names = [str(k) for k in range(n)]
    return Predictions(names, names, FINDINGS, labels, 1 / (1 + np.exp(-3 * odds)))


def test_each_finding_is_fitted_by_itself() -> None:
    answers = table()
    fitted = fit_calibration(answers, "youden", "0" * 64)
    for column, name in enumerate(FINDINGS[:2]):
        one = fitted.findings[name]
        assert one.temperature == fit_temperature(answers.probs[:, column], answers.labels[:, column])
        assert one.temperature == pytest.approx(3, rel=0.3)
        cooled = fitted.probabilities(answers)[:, column]
        assert one.threshold == choose_threshold(cooled, answers.labels[:, column], Rule("youden"))
        assert one.log_loss_after < one.log_loss
    edema = fitted.findings["Edema"]
    assert (edema.n, edema.positives) == (295, int(np.nansum(answers.labels[:, 0])))


def test_a_finding_without_positives_stays_as_it_is_and_is_not_called() -> None:
    answers = table()
    fitted = fit_calibration(answers, "youden", "0" * 64)
    assert (fitted.findings["Hernia"].temperature, fitted.findings["Hernia"].threshold) == (1.0, None)
    columns = fitted.columns(answers)
    assert_allclose(columns["calibrated"][:, 2], answers.probs[:, 2], rtol=1e-12)
    assert np.isnan(columns["call"][:, 2]).all()
    assert_array_equal(columns["call"][:, 0], columns["calibrated"][:, 0] >= fitted.findings["Edema"].threshold)


def test_findings_go_by_name() -> None:
    answers = table()
    fitted = fit_calibration(answers, "youden", "0" * 64)
    turned = Predictions(
        answers.images, answers.patients, FINDINGS[::-1], answers.labels[:, ::-1], answers.probs[:, ::-1]
    )
    assert_array_equal(fitted.probabilities(turned), fitted.probabilities(answers)[:, ::-1])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    table().write(tmp_path / "val.csv")
    FitCalibration(tmp_path / "val.csv", path, "sensitivity=0.9").run()
    return path


def test_it_lies_beside_its_model_and_comes_back(model: Path) -> None:
    found = find_calibration(model, {"findings": list(FINDINGS)})
    again = fit_calibration(read_predictions(model.with_name("val.csv")), "sensitivity=0.9", file_hash(model))
    assert found == again
    assert "Edema: temperature" in found.describe()
    assert "Hernia: temperature 1.00, no threshold" in found.describe()
    assert find_calibration(model.parent / "elsewhere" / "model.pt", {}) is None


def test_another_model_another_finding_or_another_choice_of_flips_is_refused(model: Path) -> None:
    with pytest.raises(StateError, match="every finding of the model; found no 'Nodule'"):
        find_calibration(model, {"findings": ["Nodule"]})
    with pytest.raises(StateError, match="fitted with flip_averaging true"):
        find_calibration(model, {}, flips=True)
    model.write_bytes(b"other weights")
    with pytest.raises(StateError, match="another model's hash; calibrate the model again"):
        find_calibration(model, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("rule"),
        lambda document: document["findings"]["Edema"].pop("temperature"),
        lambda document: document["findings"]["Edema"].update(more=1),
        lambda document: document.update(findings=[1]),
    ],
)
def test_a_broken_file_is_refused(model: Path, change) -> None:
    path = model.with_name(FILE)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(StateError, match="must hold a temperature and a threshold for each finding"):
        read_calibration(path)


@pytest.mark.parametrize(
    ("leak", "words"),
    [
        ({"seen": ["7", "x"]}, "not trained on; found 1 others, for example '7'"),
        ({"sources": ["real", "synthetic"]}, "'synthetic'"),
    ],
)
def test_training_patients_and_unreal_images_are_refused(tmp_path: Path, leak, words: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    table().write(tmp_path / "val.csv")
    with pytest.raises(LeakageError, match=words):
        FitCalibration(tmp_path / "val.csv", tmp_path / "model.pt", **leak).run()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_an_unknown_rule_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    table().write(tmp_path / "val.csv")
    with pytest.raises(ConfigError, match="must name a rule"):
        FitCalibration(tmp_path / "val.csv", tmp_path / "model.pt", "best").run()
    assert not (tmp_path / FILE).exists()

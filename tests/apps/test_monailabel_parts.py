"""The parts of the MONAI Label app that need no MONAI Label."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.data.readers import Radiograph
from monai_cxraug.errors import ConfigError, InputError, LabelError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import load_model, save_model
from tests.apps.conftest import FINDINGS, SIZE, write_chest

from lib.classifier import ChestClassifier, likeliest  # isort: skip
from lib.images import read_image  # isort: skip
from lib.overlay import draw, place_back  # isort: skip


def test_it_says_what_the_bundle_says(model: Path, studies: Path, tmp_path: Path) -> None:
    file = bundle_file("chest_xray_classification", "inference")
    given = {"bundle_root": str(file.parents[1]), "checkpoint": str(model), "output_dir": str(tmp_path / "out")}
    run_stage(file, {**given, "images": str(studies)})
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    classifier = ChestClassifier(model, "cpu")
    assert set(rows) == {"wide.png", "chest.dcm"}
    for name, row in rows.items():
        said = classifier.answer(classifier.prepare(read_image(studies / name).radiograph))
        assert_allclose([one.probability for one in said], [float(row[f"prob:{one}"]) for one in FINDINGS], atol=1e-6)
        assert_allclose([one.score for one in said], [float(row[f"calibrated:{one}"]) for one in FINDINGS], atol=1e-6)
        calls = {"1": True, "0": False, "": None}
        assert [one.present for one in said] == [calls[row[f"call:{one}"]] for one in FINDINGS]
        assert likeliest(said) == max(FINDINGS, key=lambda one: float(row[f"calibrated:{one}"]))


def test_without_a_calibration_nothing_is_decided(model: Path, studies: Path, tmp_path: Path) -> None:
    bare = tmp_path / "model.pt"
    bare.write_bytes(model.read_bytes())
    classifier = ChestClassifier(tmp_path)
    said = classifier.answer(classifier.prepare(read_image(studies / "wide.png").radiograph))
    assert {(one.calibrated, one.threshold, one.present) for one in said} == {(None, None, None)}
    assert [one.score for one in said] == [one.probability for one in said]
    assert classifier.describe()["calibration"] is None


def test_another_models_calibration_is_refused(model: Path, tmp_path: Path) -> None:
    loaded = load_model(model)
    save_model(tmp_path / "model.pt", "classifier", loaded.network, {**loaded.about, "seed": 1})
    (tmp_path / "calibration.json").write_bytes(model.with_name("calibration.json").read_bytes())
    with pytest.raises(StateError, match="must have been fitted for"):
        ChestClassifier(tmp_path)


def test_a_model_that_monai_would_evaluate_is_refused() -> None:
    with pytest.raises(ConfigError, match="may not begin with"):
        ChestClassifier("$__import__('os').getcwd()")


def test_a_model_of_colour_is_refused(model: Path, tmp_path: Path) -> None:
    colour, about = Classifier(len(FINDINGS), "small_cnn", channels=3), load_model(model).about
    save_model(tmp_path / "model.pt", "classifier", colour, about)
    with pytest.raises(StateError, match="must look at grey images; found 3 channels"):
        ChestClassifier(tmp_path)


def test_only_findings_of_the_model_have_maps(model: Path, studies: Path) -> None:
    classifier = ChestClassifier(model)
    image = classifier.prepare(read_image(studies / "wide.png").radiograph)
    heat = classifier.map(image, "Mass")
    assert (heat.shape, heat.min() >= 0, heat.max()) == ((SIZE, SIZE), True, 1)
    with pytest.raises(LabelError, match="did you mean 'Mass'"):
        classifier.map(image, "Mas")


def spot(shape: tuple[int, int], row: int, column: int, aspect: float = 1.0) -> Radiograph:
    """A black picture with one bright square of 11 pixels around a place."""
    stored = np.zeros(shape, dtype=np.uint8)
    stored[row - 5 : row + 6, column - 5 : column + 6] = 255
    return Radiograph(stored, np.linspace(0, 1, 256, dtype=np.float32), 8, "full range", aspect)


@pytest.mark.parametrize("shape", [(90, 150), (150, 90), (128, 128), (20, 20)])
@pytest.mark.parametrize("aspect", [1.0, 2.0, 0.5])
def test_a_map_comes_back_to_where_the_network_saw_it(shape: tuple[int, int], aspect: float) -> None:
    rows, columns = shape[0] // 2 - 3, shape[1] // 2 + 3
    radiograph = spot(shape, rows, columns, aspect)
    placed = place_back(radiograph.resized(64), shape, aspect)
    assert placed.shape == shape
    weights = placed / placed.sum()
    centre = (weights.sum(axis=1) @ np.arange(shape[0]), weights.sum(axis=0) @ np.arange(shape[1]))
    assert_allclose(centre, (rows, columns), atol=1.5)


def test_the_pictures_have_the_radiographs_grid() -> None:
    radiograph = spot((40, 60), 10, 20)
    heat = np.zeros((64, 64), dtype=np.float32)
    plain = draw(radiograph, heat, "overlay")
    assert (plain.mode, plain.size) == ("RGB", (60, 40))
    assert (np.asarray(plain) == radiograph.stored[..., None]).all()
    full = draw(radiograph, heat + 1, "map")
    assert (full.mode, full.size, full.getextrema()) == ("L", (60, 40), (255, 255))


def test_the_frontal_image_of_a_series_is_found(tmp_path: Path) -> None:
    write_chest(tmp_path / "1.1.dcm", "1", "1.1")
    write_chest(tmp_path / "1.2.dcm", "1", "1.2", view="LL", seed=1)
    assert read_image(tmp_path).name == "1.1.dcm"
    with pytest.raises(InputError, match="lateral"):
        read_image(tmp_path, "1.2")
    with pytest.raises(InputError, match="none of that name"):
        read_image(tmp_path, "1.9")
    write_chest(tmp_path / "1.3.dcm", "1", "1.3", seed=2)
    with pytest.raises(InputError, match=r"1\.1, 1\.3; name one as 'instance'"):
        read_image(tmp_path)
    assert read_image(tmp_path, "1.3").name == "1.3.dcm"
    assert read_image(tmp_path, "../1.3").name == "1.3.dcm"  # nothing outside of the series is reached

"""MONAI Deploy: the packaged bundle says all that a server asks, and the real runtime gives our own probabilities."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from numpy.testing import assert_allclose
from PIL import Image

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.calibration import Calibration, FindingCalibration
from monai_cxraug.errors import InputError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.predictions import read_predictions
from tests.apps.test_nvflare import load
from tests.data.readers.dicoms import encode, make_dicom, ramp

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "apps" / "monai_deploy"
BUNDLE = ROOT / "bundles" / "chest_xray_classification"
FINDINGS = ("Edema", "Mass", "Fibrosis")
SIZE = 32
#: Digital X-Ray Image Storage - For Presentation.
DX = "1.2.840.10008.5.1.4.1.1.1.1"
PATIENT = "a-patient-that-was-seen"

PACKAGING = load(APP / "package_bundle.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated classifier that averages flips and equalises, with weights drawn at random."""
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Classifier(len(FINDINGS), "small_cnn")
    with torch.no_grad():  # as drawn, the answers are near 0.5 whatever the image
        network.head.weight *= 40
    about = {"findings": list(FINDINGS), "size": SIZE, "contrast": "equalise", "flip_averaging": True}
    save_model(path, "classifier", network, {**about, "patients_seen": [PATIENT]})
    fitted = [FindingCalibration(2.0, threshold, 10, 5, 0.7, 0.6) for threshold in (0.1, 0.9, None)]
    calibration = Calibration(dict(zip(FINDINGS, fitted, strict=True)), "youden", file_hash(path), flips=True)
    calibration.write(path.with_name("calibration.json"))
    return path


@pytest.fixture(scope="module")
def packaged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "chest_xray_classification"
    PACKAGING.package(load_model(trained), out)
    return out


@pytest.fixture(scope="module", params=["MONOCHROME1", "MONOCHROME2"])
def radiograph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide 12-bit DICOM image with a rescale and a window; its pixels are not square."""
    file = tmp_path_factory.mktemp(request.param) / "chest.dcm"
    tags = {"PixelSpacing": [0.2, 0.15], "WindowCenter": 1200, "WindowWidth": 1800, "RescaleSlope": 1}
    more = {"RescaleIntercept": -300, "RescaleType": "US", "Modality": "DX", "SOPClassUID": DX}
    more |= {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "SOPInstanceUID": "2.25.3"}
    words = (ramp(0, 4095) * np.linspace(0.3, 1, ramp(0, 4095).shape[1])).astype(np.uint16)
    file.write_bytes(encode(make_dicom(words, PhotometricInterpretation=request.param, **tags, **more)))
    return file


def answers(model: Path, image: Path, out: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities of ``inference.json`` for one file, and its calibrated columns."""
    settings = {"checkpoint": str(model), "images": str(image), "output_dir": str(out), "device": "cpu", "threads": 1}
    run_stage(BUNDLE / "configs" / "inference.json", {"bundle_root": str(BUNDLE), **settings})
    table = read_predictions(out / "predictions.csv")
    calibration = PACKAGING.find_calibration(model, load_model(model).about, flips=True)
    return table.probs[0], {name: values[0] for name, values in calibration.columns(table).items()}


def parse(config: dict[str, Any]) -> ConfigParser:
    """The configuration as a server reads it: from anywhere, with no model file beside it."""
    parser = ConfigParser()
    parser.read_config(config)
    return parser


def test_folder_and_archive_say_the_same(packaged: Path) -> None:
    files = {"inference.json": "", "metadata.json": ""}
    torch.jit.load(packaged / "models" / "model.ts", _extra_files=files)
    for name, content in files.items():
        assert json.loads(content) == json.loads((packaged / "configs" / name).read_text())
    form = json.loads(files["metadata.json"])["network_data_format"]
    assert form["inputs"]["image"]["spatial_shape"] == [SIZE, SIZE]
    assert list(form["outputs"]["pred"]["channel_def"].values()) == list(FINDINGS)


def test_a_model_of_colour_says_so(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_model(path, "classifier", Classifier(len(FINDINGS), "small_cnn", channels=3), load_model(trained).about)
    PACKAGING.package(load_model(path), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "configs" / "inference.json").read_text())
    assert parse(config).get_parsed_content("preprocessing").transforms[-1].packed.channels == 3
    metadata = json.loads((tmp_path / "out" / "configs" / "metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], list(image["channel_def"].values())) == (3, ["red", "green", "blue"])


def test_no_patient_goes_along(packaged: Path) -> None:
    for file in packaged.rglob("*"):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes()
    with zipfile.ZipFile(packaged / "models" / "model.ts") as archive:
        assert not any(PATIENT.encode() in archive.read(name) for name in archive.namelist())


def test_sections_give_what_our_inference_gives(
    packaged: Path, trained: Path, radiograph: Path, tmp_path: Path
) -> None:
    parser = parse(json.loads((packaged / "configs" / "inference.json").read_text()))
    sample = parser.get_parsed_content("preprocessing")({"image": str(radiograph)})
    network = torch.jit.load(packaged / "models" / "model.ts")
    logits = parser.get_parsed_content("inferer")(torch.as_tensor(sample["image"])[None], network)
    found = parser.get_parsed_content("postprocessing")({"pred": logits[0].detach()})["pred"]
    expected, columns = answers(trained, radiograph, tmp_path / "out")
    assert_allclose(found.numpy(), expected, atol=1e-6)
    calibration = parser.get_parsed_content("calibration")
    assert calibration.findings["Edema"] == FindingCalibration(2.0, 0.1, 10, 5, 0.7, 0.6)
    assert set(columns) == {"calibrated", "call"}


@pytest.mark.e2e
def test_pictures_that_are_no_dicom(packaged: Path, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    Image.fromarray(ramp(0, 255).astype(np.uint8)).save(file)
    parser = parse(json.loads((packaged / "configs" / "inference.json").read_text()))
    sample = parser.get_parsed_content("preprocessing")({"image": str(file)})
    network = torch.jit.load(packaged / "models" / "model.ts")
    logits = parser.get_parsed_content("inferer")(torch.as_tensor(sample["image"])[None], network)
    expected, _ = answers(trained, file, tmp_path / "out")
    assert_allclose(torch.sigmoid(logits[0]).detach().numpy(), expected, atol=1e-6)


def test_what_is_there_stays(trained: Path, packaged: Path) -> None:
    with pytest.raises(InputError, match="must be a new folder"):
        PACKAGING.package(load_model(trained), packaged)


@pytest.fixture(scope="session")
def deploy() -> Path:
    """Python of the environment that ``make .venv-deploy`` makes."""
    folder = Path(os.environ.get("CXRAUG_DEPLOY_VENV", ROOT / ".venv-deploy"))
    program = folder / "bin" / "python"
    if not program.exists():
        pytest.skip(
            f"no MONAI Deploy in {folder}: run 'make .venv-deploy', or set CXRAUG_DEPLOY_VENV to its environment"
        )
    return program


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("place", [".", "models/model.ts"])
def test_the_application(
    place: str, deploy: Path, packaged: Path, trained: Path, radiograph: Path, tmp_path: Path
) -> None:
    command = [deploy, APP, "-i", radiograph.parent, "-o", tmp_path / "out", "-m", packaged / place]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = json.loads((tmp_path / "out" / "findings.json").read_text())
    expected, columns = answers(trained, radiograph, tmp_path / "own")
    assert (said["study"], said["series"]) == ("2.25.1", "2.25.2")
    found = said["findings"]
    assert [one["finding"] for one in found] == list(FINDINGS)
    assert_allclose([one["probability"] for one in found], expected, atol=1e-4)
    assert_allclose([one["calibrated"] for one in found], columns["calibrated"], atol=1e-4)
    assert [one["threshold"] for one in found] == [0.1, 0.9, None]
    calls = [None if np.isnan(call) else bool(call) for call in columns["call"]]
    assert [one["present"] for one in found] == calls

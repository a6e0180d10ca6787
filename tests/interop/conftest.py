"""What the tests of archives share: a small classifier, calibrated or not, and a synthetic set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.orthanc import MISSING, PLUGINS, PROGRAM, Orthanc

FINDINGS = ("Edema", "Hernia", "Pleural_Thickening")


@pytest.fixture(autouse=True)
def packages() -> None:
    """Skip, saying so, where the extra is not installed."""
    for name in ("highdicom", "dicomweb_client", "pynetdicom"):
        pytest.importorskip(name, reason="needs the extra pacs: pip install 'monai-cxraug[pacs]'")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep whoever runs the tests out of them, and a proxy out of the loopback."""
    for name in ("CXRAUG_PACS_USER", "CXRAUG_PACS_PASSWORD", "CXRAUG_PACS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def write_model(folder: Path) -> Path:
    """An untrained classifier, as a cell of a run holds one."""
    import torch

    from monai_cxraug.networks.classifiers import Classifier
    from monai_cxraug.networks.weights import save_model

    torch.manual_seed(0)
    about = {
        "findings": list(FINDINGS),
        "patients_seen": ["secret"],
        "manifest": "0" * 64,
        "images_seen": 0,
        "size": 32,
    }
    network = Classifier(len(FINDINGS), "small_cnn")
    torch.nn.init.normal_(network.head.weight, std=5.0)  # so that images differ
    save_model(folder / "model.pt", "classifier", network, about)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    """The classifier with a temperature and thresholds: the first finding is always called, the second never."""
    from monai_cxraug.artifacts import file_hash
    from monai_cxraug.calibration import FILE, Calibration, FindingCalibration

    folder = write_model(tmp_path / "calibrated")
    cuts = dict(zip(FINDINGS, (0.0, 1.0, None), strict=True))
    found = {name: FindingCalibration(2.0, cut, 10, 5, 0.7, 0.6) for name, cut in cuts.items()}
    Calibration(found, "youden", file_hash(folder / "model.pt")).write(folder / FILE)
    return folder


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running server; killed in the end."""
    if PROGRAM is None or not PLUGINS:
        pytest.skip(MISSING)
    server = Orthanc(tmp_path / "orthanc").start()
    yield server
    server.kill()

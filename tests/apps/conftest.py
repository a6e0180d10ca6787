"""A throw-away classifier, two radiographs, and processes that are ended with the test: MONAI Label and Orthanc."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "apps" / "monailabel_cxraug"
FINDINGS = ("Edema", "Mass", "Pleural_Thickening")
SIZE = 64
#: seconds for a server to come up on a busy machine.
_PATIENCE = 180

if str(APP) not in sys.path:
    sys.path.insert(0, str(APP))  # the app's own package is called lib, as MONAI Label wants it


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated classifier that averages flips and equalises, with weights drawn at random."""
    import torch

    from monai_cxraug.artifacts import file_hash
    from monai_cxraug.calibration import Calibration, FindingCalibration
    from monai_cxraug.networks.classifiers import Classifier
    from monai_cxraug.networks.weights import save_model

    path = tmp_path_factory.mktemp("model") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)  # draws one with evidence for every finding in both radiographs
        network = Classifier(len(FINDINGS), "small_cnn")
    with torch.no_grad():  # as drawn, the answers are near 0.5 whatever the image
        network.head.weight *= 40
    about = {"findings": list(FINDINGS), "size": SIZE, "contrast": "equalise", "flip_averaging": True}
    save_model(path, "classifier", network, {**about, "patients_seen": ["p1"]})
    fitted = [FindingCalibration(2.0, threshold, 10, 5, 0.7, 0.6) for threshold in (0.1, 0.9, None)]
    calibration = Calibration(dict(zip(FINDINGS, fitted, strict=True)), "youden", file_hash(path), flips=True)
    calibration.write(path.with_name("calibration.json"))
    return path


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with a wide 16-bit PNG and an inverted DICOM with a window: ``wide.png``, ``chest.dcm``."""
    from PIL import Image

    folder = tmp_path / "studies"
    folder.mkdir()
    rows, columns = np.mgrid[:90, :150].astype(np.float32)
    picture = 0.2 + 0.7 * np.exp(-((rows - 30) ** 2 + (columns - 110) ** 2) / 600)
    Image.fromarray(np.round(picture * 65535).astype(np.uint16)).save(folder / "wide.png")
    write_chest(folder / "chest.dcm", "1.2.3.1", "1.2.3.1.1")
    return folder


def write_chest(path: Path, series: str, instance: str, view: str = "PA", modality: str = "DX", seed: int = 0) -> None:
    """Write an inverted 12-bit chest of sorts: MONOCHROME1, a rescale slope, a window narrower than its values."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = UID(instance), ExplicitVRLittleEndian
    chest = FileDataset(str(path), {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
    chest.SOPClassUID, chest.SOPInstanceUID = meta.MediaStorageSOPClassUID, instance
    chest.StudyInstanceUID, chest.SeriesInstanceUID = "1.2.3", series
    chest.PatientName, chest.PatientID, chest.Modality = "Nobody^Anna", "4711", modality
    chest.ViewPosition, chest.BodyPartExamined = view, "CHEST"
    stored = _draw_chest(seed)
    chest.Rows, chest.Columns = stored.shape
    chest.SamplesPerPixel, chest.PhotometricInterpretation = 1, "MONOCHROME1"
    chest.BitsAllocated, chest.BitsStored, chest.HighBit, chest.PixelRepresentation = 16, 12, 11, 0
    chest.RescaleSlope, chest.RescaleIntercept = 2, -100
    chest.WindowCenter, chest.WindowWidth = 4000, 5000
    chest.PixelData = stored.astype("<u2").tobytes()
    chest["PixelData"].VR = "OW"
    dcmwrite(path, chest)


def _draw_chest(seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:128, :100] / 100.0
    lungs = np.exp(-((columns - 0.25) ** 2 * 30 + (rows - 0.6) ** 2 * 8))
    lungs += np.exp(-((columns - 0.75) ** 2 * 30 + (rows - 0.6) ** 2 * 8))
    noise = np.random.default_rng(seed).random(lungs.shape)
    return np.round(400 + 2800 * lungs + 300 * noise).astype(np.uint16)


# --- processes ---


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    kind: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(address: str, data: bytes | None = None, kind: str = "application/x-www-form-urlencoded") -> Reply:
    """Ask a server; with data, by POST."""
    headers = {"Content-Type": kind} if data is not None else {}
    try:
        with urlopen(Request(address, data, headers), timeout=_PATIENCE) as reply:
            return Reply(reply.status, reply.headers["Content-Type"], reply.read())
    except HTTPError as error:
        return Reply(error.code, error.headers["Content-Type"], error.read())


@dataclass(frozen=True)
class Server:
    """MONAI Label at work."""

    address: str

    def get(self, path: str) -> Any:
        return ask(self.address + path).json()

    def infer(self, image: str, output: str, **params: str) -> Reply:
        path = f"/infer/chest_xray_classification?image={quote(image, safe='')}&output={output}"
        return ask(self.address + path, urlencode({"params": json.dumps(params)}).encode())


Start = Callable[[Sequence[str | Path], Mapping[str, str]], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process whose words go to ``<its name>.log``; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: Sequence[str | Path], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*map(str, command)], cwd=tmp_path, env={**os.environ, **environment}, stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def label_python() -> Path:
    """The interpreter of the app's environment; without one, the test is skipped."""
    python = Path(os.environ.get("CXRAUG_LABEL_VENV") or ROOT / ".venv-label") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no MONAI Label at {python}: run 'make .venv-label/.installed', or set CXRAUG_LABEL_VENV")
    return python


@pytest.fixture
def serve(start: Start, label_python: Path, model: Path, tmp_path: Path) -> Callable[[Path | str], Server]:
    """Starts MONAI Label as a user does, with a folder or an address, and waits until it answers."""

    def begin(studies: Path | str) -> Server:
        port = free_port()
        command = [label_python, APP / "serve.py", model, studies, "--port", str(port)]
        own = {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
        process = start(command, own)
        wait_for(f"http://127.0.0.1:{port}/info/", process)
        return Server(f"http://127.0.0.1:{port}")

    return begin


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process answers at an address; fail when it has ended or takes too long."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args} ended with status {process.returncode}; see its log"
        try:
            if ask(address).status == 200:
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"nothing answered at {address} for {_PATIENCE} seconds")

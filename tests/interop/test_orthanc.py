"""Against a real Orthanc: the whole way there and back, with either side killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.errors import InputError
from monai_cxraug.interop.archive import open_archive
from monai_cxraug.interop.commands import ClassifyStudies, ExportSynthetic, PullStudies
from monai_cxraug.interop.device import Device
from tests.interop.objects import as_bytes, radiograph, require_valid
from tests.interop.orthanc import MISSING, PLUGINS, PROGRAM, Orthanc
from tests.interop.test_classify import code, items, probabilities
from tests.interop.test_synthetic_dicom import write_set

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(PROGRAM is None or not PLUGINS, reason=MISSING),
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL"),
]

ROOT = Path(__file__).resolve().parents[2]
QUERY = ["StudyDate=20260101-20260131"]


def fill(server: Orthanc, studies: int = 4) -> set[str]:
    """Two images a study; returns their identifiers."""
    wanted = [radiograph(number, study, f"P{study}") for study in range(1, studies + 1) for number in (1, 2)]
    for dataset in wanted:
        server.ask("/instances", as_bytes(dataset))
    return {str(dataset.SOPInstanceUID) for dataset in wanted}


def url_of(server: Orthanc, protocol: str) -> str:
    return server.url if protocol == "dicomweb" else server.dicom_url


def reports(server: Orthanc) -> dict[str, pydicom.Dataset]:
    """Source image to its report, as Orthanc's own interface gives them out."""
    found = {}
    for uid in server.uids():
        dataset = pydicom.dcmread(BytesIO(server.file(uid)))
        if dataset.Modality == "SR":
            sources = [
                str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
                for item in items(dataset)
                if item.ValueType == "IMAGE" and code(item) == "121112"
            ]
            assert sources[0] not in found
            found[sources[0]] = dataset
    return found


def require_complete(server: Orthanc, sources: set[str], device: Device) -> None:
    """One report and one map an image, nothing twice, nothing missing, nothing else."""
    uids = server.uids()
    assert len(uids) == len(set(uids))
    assert set(reports(server)) == sources
    assert {device.report(uid) for uid in sources} <= set(uids)
    assert len(uids) == 3 * len(sources)


@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
def test_there_and_back(orthanc: Orthanc, tmp_path: Path, calibrated: Path, protocol: str) -> None:
    sources, url, device = fill(orthanc), url_of(orthanc, protocol), Device.load(calibrated)
    folder = PullStudies(url, QUERY, tmp_path / "pulled").run()
    request = Request("dicom", str(folder), size=32, options={"patient_key": "PatientID"})
    manifest = read_manifest(prepare(request, tmp_path / "prepared"))
    assert {name.removesuffix(".dcm") for name in manifest["image"]} == sources
    assert manifest.patients() == {"P1", "P2", "P3", "P4"}

    ClassifyStudies(calibrated, url, QUERY, tmp_path / "out", store=True).run()
    require_complete(orthanc, sources, device)
    for path in (tmp_path / "out").rglob("objects/*/*/*.dcm"):
        dataset = pydicom.dcmread(path)
        received = tmp_path / "received.dcm"
        received.write_bytes(orthanc.file(str(dataset.SOPInstanceUID)))
        require_valid(received)
        assert pydicom.dcmread(received) == dataset
    # the archive is asked again, by DICOMweb, and finds the reports
    archive = open_archive(orthanc.url)
    for study in range(1, 5):
        found = archive.find_instances(f"1.2.3.{study}", device.reports_series(f"1.2.3.{study}"))
        assert {one["SOPInstanceUID"] for one in found} == {device.report(f"1.2.3.{study}.1.{n}") for n in (1, 2)}
    assert all(len(probabilities(one)) == len(device.findings) for one in reports(orthanc).values())


def test_a_second_run_changes_nothing(orthanc: Orthanc, tmp_path: Path, model: Path) -> None:
    sources = fill(orthanc, 2)
    for out in ("out", "out", "another"):
        ClassifyStudies(model, orthanc.url, QUERY, tmp_path / out, store=True).run()
        require_complete(orthanc, sources, Device.load(model))


@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
def test_what_is_pulled_is_what_was_stored(orthanc: Orthanc, tmp_path: Path, protocol: str) -> None:
    sources = fill(orthanc)
    PullStudies(url_of(orthanc, protocol), QUERY, tmp_path / "pulled").run()
    for uid in sources:
        stored, pulled = orthanc.file(uid), tmp_path / "pulled" / f"{uid}.dcm"
        assert pydicom.dcmread(pulled) == pydicom.dcmread(BytesIO(stored))


@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
def test_synthetic_images_come_back_with_the_same_pixels(orthanc: Orthanc, tmp_path: Path, protocol: str) -> None:
    made = write_set(tmp_path / "set", count=5, depth=16)
    for _ in range(2):
        table = ExportSynthetic(made, tmp_path / "dicom", url_of(orthanc, protocol)).run()
    files = {path.stem: path for path in table.parent.glob("*.dcm")}
    assert orthanc.uids() == sorted(files)
    pictures = {picture.tobytes() for picture in np.load(made / "pack.npy")}
    for uid, path in files.items():
        received = tmp_path / "received.dcm"
        received.write_bytes(orthanc.file(uid))
        require_valid(received)
        dataset = pydicom.dcmread(received)
        assert dataset.PixelData == pydicom.dcmread(path).PixelData
        assert dataset.pixel_array.astype("<u2").tobytes() in pictures
        assert dataset[0x0008, 0x001C].value == "YES"
        assert dataset.PatientID == ""


def test_synthetic_images_are_not_pulled_as_radiographs(orthanc: Orthanc, tmp_path: Path) -> None:
    sources = fill(orthanc, 1)
    ExportSynthetic(write_set(tmp_path / "set"), tmp_path / "dicom", orthanc.url).run()
    PullStudies(orthanc.url, ["Modality=CR", "Modality=OT"], tmp_path / "pulled").run()
    assert {path.stem for path in (tmp_path / "pulled").glob("*.dcm")} == sources
    assert (tmp_path / "pulled" / "left_out.csv").read_text().count("a synthetic image is no radiograph") == 3


# --- killed ---

#: Runs a command of ours; dies at the N-th time that it renames a file below its folder or sends something.
KILLED = """
import os, signal, sys
last, out, line = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
steps = 0

def count(event, arguments):
    global steps
    if (event == "os.rename" and str(arguments[1]).startswith(out)) or event == "http.client.send":
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
from monai_cxraug.cli import main
status = main(line)
print(steps)
sys.exit(status)
"""


def run(last: int, out: Path, *line: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(last), str(out), *line]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout


def test_pull_killed_half_way(orthanc: Orthanc, tmp_path: Path) -> None:
    """Killed twice, early and late, in one folder; the third run ends with what an undisturbed one has."""
    sources = fill(orthanc)
    line = ("pacs", "pull", "--url", orthanc.url, "--query", QUERY[0], "--out")
    status, said = run(0, tmp_path / "whole", *line, str(tmp_path / "whole"))
    assert status == 0
    steps = int(said.splitlines()[-1])
    out = tmp_path / "out"
    for share in (0.4, 0.3):
        assert run(round(steps * share), out, *line, str(out))[0] == -signal.SIGKILL
    assert run(0, out, *line, str(out))[0] == 0
    assert {path.stem for path in out.glob("*.dcm")} == sources
    for path in out.glob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert not list(out.glob(".*"))
    assert (out / "pulled.csv").read_bytes() == (tmp_path / "whole" / "pulled.csv").read_bytes()


def test_classify_killed_again_and_again(orthanc: Orthanc, tmp_path: Path, model: Path) -> None:
    """Killed at every eighth step until it gets through: each run goes further than the last."""
    sources, out = fill(orthanc), tmp_path / "out"
    line = ("pacs", "classify", str(model), "--url", orthanc.url, "--query", QUERY[0], "--out", str(out), "--store")
    killed = 0
    for last in range(20, 2000, 25):
        status, _ = run(last, out, *line)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        uids = orthanc.uids()
        assert len(uids) == len(set(uids))
        assert sources <= set(uids)
    assert killed >= 3
    assert not list(out.rglob(".*"))
    require_complete(orthanc, sources, Device.load(model))


def test_export_killed_half_way(orthanc: Orthanc, tmp_path: Path) -> None:
    made, out = write_set(tmp_path / "set", count=6), tmp_path / "out"
    line = ("pacs", "export", str(made), "--out", str(out), "--url", orthanc.url)
    assert run(8, out, *line)[0] == -signal.SIGKILL
    assert 0 < len(orthanc.uids()) < 6
    assert run(0, out, *line)[0] == 0
    assert orthanc.uids() == sorted(path.stem for path in out.glob("*.dcm"))
    assert len(orthanc.uids()) == 6
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("stage", ["pull", "classify"])
def test_orthanc_killed_and_restarted_is_waited_for(
    orthanc: Orthanc, tmp_path: Path, model: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the middle of the transfer and comes back two seconds later; the command notices and goes on."""
    sources, out = fill(orthanc, 6), tmp_path / "out"
    from monai_cxraug.interop.dicomweb import WebArchive

    name = "fetch" if stage == "pull" else "store"
    original, calls = getattr(WebArchive, name), [0]

    def counted(self: WebArchive, one: object) -> object:
        calls[0] += 1
        if calls[0] == 4:
            orthanc.kill()
            threading.Timer(2.0, orthanc.start).start()
        return original(self, one)

    monkeypatch.setattr(WebArchive, name, counted)
    if stage == "pull":
        PullStudies(orthanc.url, QUERY, out, patience=60).run()
        assert {path.stem for path in out.glob("*.dcm")} == sources
    else:
        ClassifyStudies(model, orthanc.url, QUERY, out, store=True, patience=60).run()
        require_complete(orthanc, sources, Device.load(model))
    assert calls[0] > 4


def test_orthanc_killed_for_good_is_one_line_and_the_next_run_goes_on(
    orthanc: Orthanc, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_cxraug.interop.dicomweb import WebArchive

    sources, out = fill(orthanc, 3), tmp_path / "out"
    original, calls = WebArchive.store, [0]

    def counted(self: WebArchive, dataset: pydicom.Dataset) -> None:
        calls[0] += 1
        if calls[0] == 3:
            orthanc.kill()
        original(self, dataset)

    monkeypatch.setattr(WebArchive, "store", counted)
    started = time.monotonic()
    with pytest.raises(InputError, match="must be a server that answers"):
        ClassifyStudies(model, orthanc.url, QUERY, out, store=True, patience=2).run()
    assert time.monotonic() - started < 60
    monkeypatch.undo()
    orthanc.start()
    ClassifyStudies(model, orthanc.url, QUERY, out, store=True).run()
    require_complete(orthanc, sources, Device.load(model))


# --- who asks, and how ---


def test_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Orthanc(tmp_path / "orthanc", {"me": "secret"}).start()
    try:
        sources = fill(server, 1)
        with pytest.raises(InputError, match="must let us in; found status 401"):
            PullStudies(server.url, QUERY, tmp_path / "out").run()
        assert not (tmp_path / "out").exists()
        monkeypatch.setenv("CXRAUG_PACS_USER", "me")
        monkeypatch.setenv("CXRAUG_PACS_PASSWORD", "wrong")
        with pytest.raises(InputError, match="must let us in; found status 401"):
            PullStudies(server.url, QUERY, tmp_path / "out").run()
        monkeypatch.setenv("CXRAUG_PACS_PASSWORD", "secret")
        PullStudies(server.url, QUERY, tmp_path / "out").run()
        assert {path.stem for path in (tmp_path / "out").glob("*.dcm")} == sources
    finally:
        server.kill()


def test_every_command_by_monai(orthanc: Orthanc, tmp_path: Path, model: Path) -> None:
    """``python -m monai.bundle run`` on each configuration, and a misspelt key refused in one line."""
    sources = fill(orthanc, 1)
    made = write_set(tmp_path / "set")

    def bundle(name: str, *settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"configs/{name}.json", *settings]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    asked = ("--url", orthanc.url, "--query", f"{QUERY}", "--out")
    assert bundle("pacs_pull", *asked, str(tmp_path / "pulled")).returncode == 0
    assert {path.stem for path in (tmp_path / "pulled").glob("*.dcm")} == sources
    settings = (*asked, str(tmp_path / "out"), "--checkpoint", str(model), "--store", "True")
    assert bundle("pacs_classify", *settings).returncode == 0
    require_complete(orthanc, sources, Device.load(model))
    assert bundle("pacs_export", "--synthetic", str(made), "--out", str(tmp_path / "dicom")).returncode == 0
    assert len(list((tmp_path / "dicom").glob("*.dcm"))) == 3
    refused = bundle("pacs_pull", *asked, str(tmp_path / "no"), "--querry", "x")
    assert refused.returncode == 2
    assert "unknown key; found 'querry'; did you mean 'query'?" in refused.stderr
    assert not (tmp_path / "no").exists()

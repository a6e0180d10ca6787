"""MONAI Label's real server with our app: what it says of a PNG, a DICOM and a series on a real DICOMweb server."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.readers import read_radiograph
from tests.apps.conftest import APP, FINDINGS, ROOT, Reply, Server, Start, ask, free_port, wait_for, write_chest

pytestmark = [pytest.mark.service, pytest.mark.slow]

Serve = Callable[["Path | str"], Server]
#: where Debian and Orthanc's own packages put it.
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")


def predict(model: Path, images: Path, out: Path) -> dict[str, dict[str, str]]:
    """What ``cxraug predict`` says, image to row."""
    command = [sys.executable, "-m", "monai_cxraug.cli", "predict", model, "--images", images, "--out", out]
    subprocess.run([*map(str, command)], cwd=ROOT, check=True, capture_output=True)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def agree(said: dict[str, Any], row: dict[str, str]) -> None:
    """Every probability, and every decision, is that of ``cxraug predict``."""
    assert [one["label"] for one in said["prediction"]] == list(FINDINGS)
    for one in said["prediction"]:
        name = one["label"]
        assert one["probability"] == pytest.approx(float(row[f"prob:{name}"]), abs=1e-4)
        assert one["calibrated"] == one["score"] == pytest.approx(float(row[f"calibrated:{name}"]), abs=1e-4)
        assert one["present"] == {"1": True, "0": False, "": None}[row[f"call:{name}"]]


def open_png(reply: Reply) -> Image.Image:
    assert (reply.status, reply.kind) == (200, "image/png"), reply.body[:500]
    return Image.open(io.BytesIO(reply.body))


def check_pictures(server: Server, image: str, file: Path) -> None:
    """The map lies on the radiograph's own grid, and leaves it as it is where there is no evidence."""
    pixels = read_radiograph(file).pixels
    heat = open_png(server.infer(image, "image", finding="Mass", picture="map"))
    overlay = open_png(server.infer(image, "image", finding="Mass"))
    assert (heat.mode, overlay.mode) == ("L", "RGB")
    assert heat.size == overlay.size == pixels.shape[::-1]
    light, drawn = np.asarray(heat), np.asarray(overlay).astype(int)
    assert light.max() > 200
    dark = light == 0
    assert dark.any()
    assert np.abs(drawn[dark] - np.rint(pixels[dark] * 255)[:, None]).max() <= 1
    tinted = drawn[light > 128]
    assert (tinted[:, 0] > tinted[:, 2]).all()


def test_a_folder_of_png_and_dicom(serve: Serve, model: Path, studies: Path, tmp_path: Path) -> None:
    expected = predict(model, shutil.copytree(studies, tmp_path / "asked"), tmp_path / "predicted")
    server = serve(studies)
    info = server.get("/info/")
    task = info["models"]["chest_xray_classification"]
    assert (info["labels"], task["type"], info["datastore"]["total"]) == ([*FINDINGS], "classification", 2)
    assert task["model"]["sha256"] == file_hash(model)

    answers = {image: server.infer(image, "json").json() for image in ("wide", "chest")}
    for image, said in answers.items():
        file = next(studies.glob(f"{image}.*"))
        agree(said, expected[file.name])
        assert said["model"]["sha256"] == file_hash(model)
        assert said["image"]["sha256"] == file_hash(file)
        check_pictures(server, image, file)
    # the agreement means something: images and findings are told apart
    probs = np.array([[one["probability"] for one in said["prediction"]] for said in answers.values()])
    assert np.ptp(probs, axis=0).max() > 0.01
    assert {one["present"] for said in answers.values() for one in said["prediction"]} == {True, False, None}
    assert "patients_seen" not in json.dumps(answers)
    check_refusals(server, studies)


def check_refusals(server: Server, studies: Path) -> None:
    for reply, words in (
        (server.infer("nobody", "json"), "no such id"),
        (server.infer(str(studies / "chest.dcm"), "json"), "found a path"),
        (server.infer("chest", "json", finding="Edma"), "did you mean 'Edema'?"),
        (server.infer("chest", "json", picture="red"), "known: map, none, overlay"),
    ):
        assert reply.status == 422
        assert words in reply.json()["detail"]
        assert "\n" not in reply.json()["detail"]
    assert ask(f"{server.address}/infer/other?image=chest&output=json", b"").status == 404
    assert ask(f"{server.address}/model/chest_xray_classification").status == 404  # it names the patients it has seen


CLIENT = """
import json, sys
from monailabel.client import MONAILabelClient
client, task, params = MONAILabelClient(sys.argv[1]), "chest_xray_classification", {"finding": "Mass"}
file, said = client.infer(task, "chest", params)
_, own = client.infer(task, "", {**params, "picture": "none"}, file=sys.argv[2])
print(json.dumps([file, said["map"], said["prediction"] == json.loads(own)["prediction"]]))
"""


def test_the_client_of_monai_label_gets_both_parts(serve: Serve, studies: Path, label_python: Path) -> None:
    server = serve(studies)
    command = [str(label_python), "-c", CLIENT, server.address, str(studies / "chest.dcm")]
    asked = subprocess.run(command, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    file, about, same_of_an_upload = json.loads(asked.stdout.splitlines()[-1])
    assert about == {"finding": "Mass", "picture": "overlay", "empty": False}
    assert same_of_an_upload
    with Image.open(file) as picture:
        assert picture.size == (100, 128)
    Path(file).unlink()


@pytest.fixture
def orthanc(start: Start, tmp_path: Path) -> str:
    """The address of an empty DICOM server that this machine alone can reach."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    plugin = next((file for place in PLUGINS for file in Path(place).glob("libOrthancDicomWeb.so*")), None)
    if program is None or plugin is None:
        pytest.skip("no Orthanc with its DICOMweb plug-in (Debian: apt install orthanc orthanc-dicomweb)")
    port, storage = free_port(), tmp_path / "orthanc"
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "Plugins": [str(plugin)],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    wait_for(f"http://127.0.0.1:{port}/system", start([program, tmp_path / "orthanc.json"], {}))
    return f"http://127.0.0.1:{port}"


def test_a_dicomweb_server(serve: Serve, orthanc: str, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    write_chest(folder / "frontal.dcm", "1.2.3.1", "1.2.3.1.1")
    write_chest(folder / "lateral.dcm", "1.2.3.1", "1.2.3.1.2", view="LL", seed=1)
    write_chest(folder / "first.dcm", "1.2.3.2", "1.2.3.2.1", modality="CR", seed=2)
    write_chest(folder / "second.dcm", "1.2.3.2", "1.2.3.2.2", modality="CR", seed=3)
    write_chest(folder / "tomography.dcm", "1.2.3.3", "1.2.3.3.1", modality="CT")
    for file in folder.iterdir():
        assert ask(f"{orthanc}/instances", file.read_bytes(), "application/dicom").status == 200
    expected = predict(model, folder, tmp_path / "predicted")

    server = serve(f"{orthanc}/dicom-web")
    assert sorted(server.get("/datastore/?output=all")["objects"] or ()) == []  # nothing was fetched unasked
    assert server.get("/info/")["datastore"]["total"] == 2  # DX and CR, not CT

    agree(server.infer("1.2.3.1", "json").json(), expected["frontal.dcm"])  # the lateral is left out
    check_pictures(server, "1.2.3.1", folder / "frontal.dcm")
    both = server.infer("1.2.3.2", "json")
    assert both.status == 422
    assert "1.2.3.2.1, 1.2.3.2.2" in both.json()["detail"]
    agree(server.infer("1.2.3.2", "json", instance="1.2.3.2.2").json(), expected["second.dcm"])
    unknown = server.infer("9.9.9", "json")
    assert unknown.status == 422
    assert "must be a series on the DICOMweb server" in unknown.json()["detail"]


@pytest.mark.parametrize("wrong", ["model", "studies"])
def test_a_wrong_start_ends_with_one_line(wrong: str, label_python: Path, model: Path, studies: Path) -> None:
    given = {"model": model, "studies": studies} | {wrong: studies / "nothing"}
    command = [label_python, APP / "serve.py", given["model"], given["studies"]]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("serve.py: error:")
    assert "nothing" in line

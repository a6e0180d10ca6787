"""NVFlare: the job that is written, and a real simulation of two sites whose global model is the weighted mean."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.weights import load_model

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "apps" / "nvflare" / "write_job.py"
FINDINGS = ("Edema", "Fibrosis")
SIZE, BATCH, ROUNDS = 32, 8, 2
#: keeps what a site sends on its way out; it goes into the job of the test only.
RECORDER = """
import numpy as np
from nvflare.apis.dxo import MetaKey, from_shareable
from nvflare.apis.filter import Filter


class Recorder(Filter):
    def __init__(self, folder):
        super().__init__()
        self.folder, self.number = folder, 0

    def process(self, shareable, fl_ctx):
        sent = from_shareable(shareable)
        steps = sent.meta[MetaKey.NUM_STEPS_CURRENT_ROUND]
        np.savez(f"{self.folder}/{fl_ctx.get_identity_name()}-{self.number}.npz", steps=steps, **sent.data)
        self.number += 1
        return shareable
"""


def load(script: Path) -> ModuleType:
    """The script as a module; its folder is no package."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


JOB, COLLECTING = load(SCRIPT), load(SCRIPT.with_name("collect_model.py"))


def make_site(folder: Path, count: int, findings: tuple[str, ...] = FINDINGS) -> Path:
    """Half of the images for training; Edema is a bright lower half."""
    folder.mkdir()
    splits = ["train", "train", "val", "test"]
    rows = [
        {"image": f"{k:03d}.png", "patient_id": f"p{k}", "split": splits[k % 4], "source": "real"} for k in range(count)
    ]
    edema = np.arange(count) // 4 % 2
    images = np.random.default_rng(count).integers(0, 128, (count, SIZE, SIZE), dtype=np.uint8)
    images[edema == 1, SIZE // 2 :] += 100
    labels = np.stack([edema, np.arange(count) % 8 < 4], axis=1).astype(np.float32)
    write_pack(folder, images, [row["image"] for row in rows])
    Manifest(make_columns(rows), findings, labels, {"name": folder.name}).write(folder, {})
    return folder


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    """32 and 80 images, so 2 and 5 steps of 8 images a round."""
    return [make_site(tmp_path / "a", 32), make_site(tmp_path / "b", 80)]


def write(sites: list[Path], out: Path, *more: str) -> Path:
    words = [word for site in sites for word in ("--site", str(site))]
    numbers = ["--rounds", str(ROUNDS), "--size", str(SIZE), "--batch-size", str(BATCH), "--seed", "3"]
    machine = ["--architecture", "small_cnn", "--device", "cpu", "--threads", "1"]
    JOB.main([*words, "--out", str(out), *numbers, *machine, *more])
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_site_trains_on_its_own_images(sites: list[Path], tmp_path: Path) -> None:
    job = write(sites, tmp_path / "job", "--overlay", "loss_alpha")
    assert read(job / "meta.json")["deploy_map"] == {name: [name] for name in ("server", "site-1", "site-2")}
    for number, (data, steps) in enumerate(zip(sites, (2, 5), strict=True), start=1):
        (algorithm,) = read(job / f"site-{number}/config/config_fed_client.json")["components"]
        settings = algorithm["args"]["train_kwargs"]
        assert settings["dataset_dir"] == str(data)
        assert (settings["epoch_length"], settings["steps"]) == (steps, ROUNDS * steps)
        assert settings["findings"] == list(FINDINGS)
        files = algorithm["args"]["config_train_filename"]
        assert files == [f"configs/{name}.json" for name in ("train", "loss_alpha", "validate", "federated")]
        assert all((job / f"site-{number}/bundle" / file).is_file() for file in files)


def test_first_weights_are_those_of_the_seed_and_fit(sites: list[Path], tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    jobs = [write(sites, tmp_path / name) for name in ("job", "again")]
    first, again = (torch.load(job / "server/bundle/models/initial.pt", weights_only=True) for job in jobs)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    parser = ConfigParser(read(jobs[0] / "server/bundle/configs/network.json"))
    parser.get_parsed_content("network_def").load_state_dict(first)


def test_sites_must_agree_on_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sites = [make_site(tmp_path / "a", 8), make_site(tmp_path / "b", 8, ("Edema", "Mass"))]
    with pytest.raises(SystemExit) as stop:
        write(sites, tmp_path / "job")
    assert stop.value.code == 2
    assert "'Fibrosis' in one only" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()


def test_what_is_there_stays_and_overlays_exist(sites: list[Path]) -> None:
    with pytest.raises(InputError, match="must be a new folder"):
        JOB.write_job([JOB.read_site(1, sites[0])], JOB.Plan(FINDINGS), sites[1])
    with pytest.raises(ConfigError, match="loss_alpha"):
        JOB.check_overlays(["loss_alhpa"])


def test_global_model_becomes_a_model_file(sites: list[Path], tmp_path: Path) -> None:
    job, space = write(sites, tmp_path / "job", "--overlay", "contrast_equalise"), tmp_path / "space"
    weights = torch.load(job / "server/bundle/models/initial.pt", weights_only=True)
    averaged = {name: value.double() if value.dtype == torch.int64 else value for name, value in weights.items()}
    place = space / "server/simulate_job/app_server"
    place.mkdir(parents=True)
    torch.save({"model": averaged, "train_conf": {}}, place / "FL_global_model.pt")
    COLLECTING.collect(job, space, tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt", "classifier")
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
    assert (model.about["findings"], model.about["size"]) == (list(FINDINGS), SIZE)
    assert (model.about["contrast"], model.about["flip_averaging"]) == ("equalise", False)
    assert model.about["patients_seen"] == sorted(f"p{k}" for k in range(80) if k % 4 < 2)


def test_a_simulation_must_have_run(sites: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = str(write(sites, tmp_path / "job"))
    with pytest.raises(SystemExit) as stop:
        COLLECTING.main([job, str(tmp_path), "--out", str(tmp_path / "model.pt"), "--trust"])
    assert stop.value.code == 2
    assert "run the simulator first" in capsys.readouterr().err


@pytest.fixture(scope="session")
def nvflare() -> Path:
    """The program, in the environment that ``make .venv-nvflare`` makes."""
    folder = Path(os.environ.get("CXRAUG_NVFLARE_VENV", ROOT / ".venv-nvflare"))
    program = folder / "bin" / "nvflare"
    if not program.exists():
        pytest.skip(f"no NVFlare in {folder}: run 'make .venv-nvflare', or set CXRAUG_NVFLARE_VENV to another folder")
    return program


def record(job: Path, folder: Path) -> None:
    """Have every site keep what it sends."""
    folder.mkdir()
    for site in job.glob("site-*"):
        (site / "custom").mkdir()
        (site / "custom" / "recording.py").write_text(RECORDER)
        config = read(site / "config/config_fed_client.json")
        recorder = {"path": "recording.Recorder", "args": {"folder": str(folder)}}
        config["task_result_filters"] = [{"tasks": ["train"], "filters": [recorder]}]
        (site / "config/config_fed_client.json").write_text(json.dumps(config))


@pytest.mark.slow
@pytest.mark.service
def test_two_sites_in_the_simulator(nvflare: Path, sites: list[Path], tmp_path: Path) -> None:
    job, sent, space = write(sites, tmp_path / "job"), tmp_path / "sent", tmp_path / "space"
    record(job, sent)
    command = [nvflare, "simulator", job, "-w", space, "-n", "2", "-t", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    place = space / "server" / "simulate_job"
    shared = torch.load(place / "app_server/bundle/models/initial.pt", weights_only=True)
    shared = {name: value.double() for name, value in shared.items()}
    for number in range(ROUNDS):
        parts = [dict(np.load(sent / f"site-{site}-{number}.npz")) for site in (1, 2)]
        assert [int(part["steps"]) for part in parts] == [2, 5]
        for name in shared:
            mean = sum(part["steps"] * part[name].astype(np.float64) for part in parts) / 7
            shared[name] = shared[name] + torch.as_tensor(mean)
    found = torch.load(place / "app_server/FL_global_model.pt", weights_only=True)["model"]
    assert found.keys() == shared.keys()
    for name, value in found.items():
        torch.testing.assert_close(value.double(), shared[name], atol=1e-5, rtol=1e-5)
    scores = read(place / "cross_site_val/cross_val_results.json")
    assert all(0 <= scores[f"site-{site}"]["SRV_FL_global_model.pt"]["auroc"] <= 1 for site in (1, 2))

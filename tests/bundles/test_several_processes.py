"""Two processes by torchrun, over gloo: the same training as one process, written once, resumed by any number."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from tests.bundles.conftest import ROOT, Start

pytestmark = pytest.mark.e2e
BUNDLES = ROOT / "bundles"
#: plain descent by whole gradients: a difference in them is a difference in weights of the same size.
DESCENT = {"_target_": "torch.optim.SGD", "lr": 0.05}
GAN = {
    "_desc_": "a small generator, two images to a process",
    "resolution": 8,
    "latent_size": 8,
    "fmap_max": 8,
    "fade_images": 16,
    "stable_images": 16,
    "batch_size": 8,
    "epoch_length": 2,
    "grid_images": 16,
    "check_every": 4,
    "amp": False,
    "finding": "Edema",
    "train#trainer#g_optimizer": {**DESCENT, "params": "$@generator.parameters()"},
    "train#trainer#d_optimizer": {**DESCENT, "params": "$@discriminator.parameters()"},
}
#: the one-cycle schedule begins at a 25th of the rate.
CLASSIFIER = {
    "_desc_": "one step of a network with batch normalisation",
    "size": 32,
    "steps": 1,
    "epoch_length": 1,
    "batch_size": 8,
    "mixed": False,
    "learning_rate": 2.5,
    "ema_half_life": 0.0,
    "optimizer": {
        "_target_": "torch.optim.SGD",
        "params": "$parameter_groups(@network, @loss, @learning_rate, @body_rate)",
        "lr": "@learning_rate",
        "momentum": 0.9,
    },
}
#: no batch normalisation, which would look at each share alone, and no dropout, which differs from share to share.
DISTORTION = {
    "_desc_": "a small autoencoder with a discriminator, four images to a process",
    "size": 16,
    "layers": 2,
    "width": 4,
    "skips": 1,
    "normalisation": "instance",
    "adversarial_weight": 0.1,
    "discriminator_layers": 1,
    "discriminator_width": 4,
    "steps": 6,
    "epoch_length": 2,
    "batch_size": 8,
    "grid_images": 16,
    "optimizer": {**DESCENT, "params": "$@network.parameters()"},
    "d_optimizer": {**DESCENT, "params": "$@discriminator.parameters()"},
}
#: both stages; spectral normalisation knows nothing of the batch, and the loss compares with the scores of all.
RESOLUTION = {
    "_desc_": "a small network that enlarges, four images to a process",
    "features": 4,
    "blocks": 1,
    "growth": 2,
    "crop": 16,
    "discriminator_levels": 2,
    "discriminator_width": 4,
    "discriminator_normalisation": "spectral",
    "adversarial_weight": 0.5,
    "pixel_steps": 4,
    "gan_steps": 4,
    "epoch_length": 2,
    "batch_size": 8,
    "grid_images": 16,
    "gan_learning_rate": 0.05,
    "optimizer": {**DESCENT, "params": "$@network.parameters()"},
    "d_optimizer": {**DESCENT, "params": "$@discriminator.parameters()"},
}


def overlay(folder: Path, settings: dict[str, Any]) -> Path:
    file = folder / "overlay.json"
    file.write_text(json.dumps(settings))
    return file


def command(bundle: str, extra: Path, manifest: Path, out: Path, processes: int) -> list[str]:
    """``python -m`` of a training by so many processes."""
    configs = BUNDLES / bundle / "configs"
    names = [configs / "train.json", *([configs / "multi_gpu_train.json"] if processes > 1 else []), extra]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    place = ["--bundle_root", str(BUNDLES / bundle), "--dataset_dir", str(manifest.parent), "--output_dir", str(out)]
    files = json.dumps([str(name) for name in names])
    run = ["monai.bundle", "run", "--config_file", files, *place, "--threads", "1"]
    return [*(torchrun if processes > 1 else []), *run]


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    out, err = process.communicate(timeout=400)
    assert process.returncode == status, err[-3000:]
    return out + err


def checkpoint(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return found


def assert_same(first: dict[str, Any], second: dict[str, Any], *names: str) -> None:
    for name in names:
        torch.testing.assert_close(
            first[name], second[name], atol=2e-6, rtol=2e-5, msg=lambda text, n=name: f"{n} {text}"
        )


# --- the generator ---


@pytest.mark.slow
def test_a_gan_of_two_processes_is_that_of_one(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, {**GAN, "total_images": 48})
    outs = {processes: tmp_path / str(processes) for processes in (1, 2)}
    running = [start(command("chest_xray_pggan", extra, manifest, out, n)) for n, out in outs.items()]
    texts = [finish(process) for process in running]
    one, two = (checkpoint(out) for out in outs.values())
    assert_same(one, two, "generator", "discriminator", "ema", "latents")
    assert one["resume"]["images_seen"] == two["resume"]["images_seen"] == 48
    assert one["resume"]["fingerprint"] == two["resume"]["fingerprint"]
    begun = checkpoint_of_start(manifest, extra, tmp_path)
    assert any((begun[name] - one["generator"][name]).abs().max() > 1e-3 for name in begun), "it learnt something"
    names = [sorted(file.relative_to(out).as_posix() for file in out.rglob("*.p*")) for out in outs.values()]
    assert names[0] == names[1]
    assert len(list(outs[2].rglob("events.out.*"))) == 1, "rank 0 alone writes"
    assert texts[1].count("48/48") == 1


def checkpoint_of_start(manifest: Path, extra: Path, folder: Path) -> dict[str, Tensor]:
    """The generator before its training."""
    parser = ConfigParser()
    parser.read_config([BUNDLES / "chest_xray_pggan" / "configs" / "train.json", extra])
    parser["manifest"] = str(manifest)
    torch.manual_seed(0)
    found: dict[str, Tensor] = parser.get_parsed_content("network_def").state_dict()
    return found


@pytest.mark.slow
def test_one_process_goes_on_where_two_ended(start: Start, manifest: Path, tmp_path: Path) -> None:
    for name, images, processes in (("half", 40, 2), ("half", 64, 1), ("whole", 64, 1)):
        # the same name for both lengths, since a checkpoint of other settings is refused
        extra = overlay(tmp_path, {**GAN, "total_images": images, "fingerprint": "any length"})
        finish(start(command("chest_xray_pggan", extra, manifest, tmp_path / name, processes)))
    half, whole = checkpoint(tmp_path / "half"), checkpoint(tmp_path / "whole")
    assert_same(half, whole, "generator", "discriminator", "ema", "latents")
    assert half["resume"]["images_seen"] == whole["resume"]["images_seen"] == 64


@pytest.mark.slow
def test_two_processes_that_are_asked_to_stop_do_so_together(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, {**GAN, "total_images": 80_000, "epoch_length": 1000})
    run = start(command("chest_xray_pggan", extra, manifest, tmp_path, 2))
    wait_until((tmp_path / "checkpoint.pt").exists, run)  # the first one is written before the first step
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=200)
    assert not (tmp_path / "model.pt").exists()
    assert 0 <= checkpoint(tmp_path)["resume"]["images_seen"] < 80_000


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < until
        time.sleep(0.05)


# --- the network that distorts ---


@pytest.mark.slow
def test_a_distorter_of_two_processes_is_that_of_one(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, DISTORTION)
    outs = {processes: tmp_path / str(processes) for processes in (1, 2)}
    for process in [start(command("chest_xray_distortion", extra, manifest, out, n)) for n, out in outs.items()]:
        finish(process)
    one, two = (checkpoint(out) for out in outs.values())
    assert_same(one, two, "network", "discriminator", "draws")
    assert one["resume"]["images_seen"] == two["resume"]["images_seen"] == 48
    assert one["resume"]["fingerprint"] == two["resume"]["fingerprint"]
    names = [sorted(file.relative_to(out).as_posix() for file in out.rglob("*.p*")) for out in outs.values()]
    assert names[0] == names[1]
    assert len(list(outs[2].rglob("events.out.*"))) == 1, "rank 0 alone writes"


# --- the network that enlarges ---


@pytest.mark.slow
def test_a_resolver_of_two_processes_is_that_of_one(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, RESOLUTION)
    outs = {processes: tmp_path / str(processes) for processes in (1, 2)}
    for process in [start(command("image_superresolution", extra, manifest, out, n)) for n, out in outs.items()]:
        finish(process)
    one, two = (checkpoint(out) for out in outs.values())
    assert_same(one, two, "network", "discriminator", "ema", "before", "draws")
    assert one["resume"]["images_seen"] == two["resume"]["images_seen"] == 64
    assert one["resume"]["fingerprint"] == two["resume"]["fingerprint"]
    names = [sorted(file.relative_to(out).as_posix() for file in out.rglob("*.p*")) for out in outs.values()]
    assert names[0] == names[1]
    assert len(list(outs[2].rglob("events.out.*"))) == 1, "rank 0 alone writes"


# --- the classifier ---


@pytest.mark.slow
def test_a_classifier_of_two_processes_averages_the_gradients_of_its_halves(
    start: Start, manifest: Path, tmp_path: Path
) -> None:
    extra = overlay(tmp_path, CLASSIFIER)
    finish(start(command("chest_xray_classification", extra, manifest, tmp_path / "two", 2)))
    found = checkpoint(tmp_path / "two")["network"]
    expected = step_by_halves(manifest, extra)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-5)
    assert (tmp_path / "two" / "model.pt").is_file()
    assert len(list((tmp_path / "two").rglob("events.out.*"))) == 1


def step_by_halves(manifest: Path, extra: Path) -> dict[str, Tensor]:
    """The network after one step, computed here without any of what several processes use."""
    parser = ConfigParser()
    parser.read_config([BUNDLES / "chest_xray_classification" / "configs" / "train.json", extra])
    parser.update({"dataset_dir": str(manifest.parent), "device": "cpu", "threads": 1})
    import monai

    monai.utils.set_determinism(0)
    network, optimizer = parser.get_parsed_content("network"), parser.get_parsed_content("optimizer")
    loss, data = parser.get_parsed_content("loss"), parser.get_parsed_content("train#dataset")
    parser.get_parsed_content("scheduler")  # sets the rate of the first step
    draws = next(iter(parser.get_parsed_content("train#sampler")))
    samples = [data[draw] for draw in draws]
    images = torch.stack([torch.as_tensor(sample["image"]) for sample in samples])
    labels = torch.stack([sample["label"] for sample in samples])
    begun = {name: buffer.clone() for name, buffer in network.named_buffers()}
    buffers = []
    for half in (slice(0, 4), slice(4, 8)):
        for name, buffer in network.named_buffers():
            buffer.copy_(begun[name])
        (loss(network.train()(images[half]), labels[half]) / 2).backward()
        buffers.append({name: buffer.clone() for name, buffer in network.named_buffers()})
    for name, buffer in network.named_buffers():
        buffer.copy_((buffers[0][name] + buffers[1][name]) / 2)
    optimizer.step()
    monai.utils.set_determinism(None)
    stepped: dict[str, Tensor] = network.state_dict()
    return stepped


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_once_for_all(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, {**CLASSIFIER, "batch_size": 7})
    text = finish(start(command("chest_xray_classification", extra, manifest, tmp_path / "two", 2)), 1)
    assert "batch_size: must be a multiple of the number of processes (2); found 7; give 6 or 8" in text
    assert not list(tmp_path.rglob("model.pt"))


def test_without_torchrun_the_overlay_says_how_to_start(start: Start, manifest: Path, tmp_path: Path) -> None:
    extra = overlay(tmp_path, CLASSIFIER)
    words = command("chest_xray_classification", extra, manifest, tmp_path / "one", 2)
    text = finish(start(words[words.index("-m") + 1 :]), 2)
    assert "multi_gpu_train: needs the environment of torchrun; found no RANK; start it by torchrun" in text

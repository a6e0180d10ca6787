"""The export commands of the README, run by MONAI as written there: exported and own network give the same images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, onnx_export
from torch import Tensor, nn

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.errors import StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.export import ExportedGenerator
from monai_cxraug.networks.infogan import InfoGenerator
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import KINDS, load_model, save_model
from tests.bundles.test_bundle_docs import commands, value_of

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "chest_xray_pggan"
CLASSIFIER = ROOT / "bundles" / "chest_xray_classification"
DISTORTION = ROOT / "bundles" / "chest_xray_distortion"
RESOLUTION = ROOT / "bundles" / "image_superresolution"


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a generator trained with the smoke overlay."""
    out = tmp_path_factory.mktemp("trained")
    settings = {"manifest": str(manifest), "finding": "Edema", "output_dir": str(out), "device": "cpu", "threads": 1}
    files = [BUNDLE / "configs" / f"{name}.json" for name in ("train", "smoke")]
    run_stage(files, {"bundle_root": str(BUNDLE), **settings})
    return out


def given(bundle: Path, command: str) -> dict[str, str]:
    """Options of the README's command."""
    (words,) = [words for words in commands(bundle.name) if words[3] == command]
    return dict(zip((name.removeprefix("--") for name in words[4::2]), words[5::2], strict=True))


def options(command: str, trained: Path, latents: str) -> dict[str, Any]:
    """Options of the README's command, with this model's folder and latents for those in the text."""
    texts = given(BUNDLE, command)
    assert re.fullmatch(r"\[\d,128\]", texts["input_shape"])
    texts["input_shape"] = texts["input_shape"].replace("128", latents)
    return {name: value_of(text.replace("output/edema", str(trained))) for name, text in texts.items()}


def expected(trained: Path, latents: Tensor) -> Tensor:
    with torch.inference_mode():
        return load_model(trained).network(latents).clamp(0, 1)


@pytest.mark.e2e
def test_torchscript(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ckpt_export(**options("ckpt_export", trained, "16"))
    files = {"inference.json": "", "metadata.json": ""}
    exported = torch.jit.load(trained / "model.ts", _extra_files=files)
    assert b"ExportedGenerator" in files["inference.json"]
    assert b"Chest X-ray PGGAN" in files["metadata.json"]
    for seed in range(3):
        latent = torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(exported(latent), expected(trained, latent), atol=1e-5, rtol=0)


@pytest.mark.e2e
def test_onnx(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(ROOT)
    onnx_export(**options("onnx_export", trained, "16"))
    session = onnxruntime.InferenceSession(trained / "model.onnx")
    for n in (1, 2, 7):
        latents = torch.randn(n, 16, generator=torch.Generator().manual_seed(n))
        (images,) = session.run(["image"], {"latent": latents.numpy()})
        np.testing.assert_allclose(images, expected(trained, latents), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def classifier(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a DenseNet-121 trained with the smoke overlay."""
    out = tmp_path_factory.mktemp("classifier")
    settings = {"manifest": str(manifest), "size": 32, "output_dir": str(out), "device": "cpu", "threads": 1}
    files = [CLASSIFIER / "configs" / f"{name}.json" for name in ("train", "smoke")]
    run_stage(files, {"bundle_root": str(CLASSIFIER), **settings})
    return out


def classifier_options(command: str, folder: Path) -> dict[str, Any]:
    texts = given(CLASSIFIER, command)
    assert re.fullmatch(r"\[\d,1,64,64\]", texts["input_shape"])
    texts["input_shape"] = texts["input_shape"].replace("64", "32")
    return {name: value_of(text.replace("output/plain", str(folder))) for name, text in texts.items()}


def import_onnx() -> Any:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    return pytest.importorskip("onnxruntime")


def images_of(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def require_equal_onnx(onnxruntime: Any, folder: Path, side: int) -> None:
    """The exported file answers as the network does, for any number of images."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for count in (1, 2, 5):
        images = images_of(count, side, seed=count)
        (found,) = session.run(["pred"], {"image": images.numpy()})
        np.testing.assert_allclose(found, logits(folder, images), atol=1e-4, rtol=0)


def logits(folder: Path, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return load_model(folder).network(images)


@pytest.mark.e2e
def test_classifier_as_torchscript(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ckpt_export(**classifier_options("ckpt_export", classifier))
    exported, images = torch.jit.load(classifier / "model.ts"), images_of(3, 32)
    torch.testing.assert_close(exported(images), logits(classifier, images), atol=1e-5, rtol=0)


@pytest.mark.slow  # half a minute for DenseNet-121; other networks stand in tests/networks/test_export_classifier.py
@pytest.mark.e2e
def test_classifier_as_onnx(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = import_onnx()
    monkeypatch.chdir(ROOT)
    onnx_export(**classifier_options("onnx_export", classifier))
    require_equal_onnx(onnxruntime, classifier, 32)


@pytest.fixture(scope="module")
def distorter(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a denoising autoencoder trained with the smoke overlay."""
    out = tmp_path_factory.mktemp("distorter")
    settings = {"manifest": str(manifest), "output_dir": str(out), "device": "cpu", "threads": 1}
    files = [DISTORTION / "configs" / f"{name}.json" for name in ("train", "smoke")]
    run_stage(files, {"bundle_root": str(DISTORTION), "skips": 2, "upsampling": "bilinear", **settings})
    return out


def distorter_options(command: str, folder: Path) -> dict[str, Any]:
    texts = given(DISTORTION, command)
    assert re.fullmatch(r"\[\d,1,64,64\]", texts["input_shape"])
    return {name: value_of(text.replace("output/autoencoder", str(folder))) for name, text in texts.items()}


@pytest.mark.e2e
def test_distorter_as_torchscript(distorter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ckpt_export(**distorter_options("ckpt_export", distorter))
    exported, images = torch.jit.load(distorter / "model.ts"), images_of(1, 64)
    torch.testing.assert_close(exported(images), logits(distorter, images), atol=1e-5, rtol=0)


@pytest.mark.e2e
def test_distorter_as_onnx(distorter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = import_onnx()
    monkeypatch.chdir(ROOT)
    onnx_export(**distorter_options("onnx_export", distorter))
    require_equal_onnx(onnxruntime, distorter, 64)


@pytest.fixture(scope="module")
def resolver(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a network that enlarges, trained with the smoke overlay."""
    out = tmp_path_factory.mktemp("resolver")
    settings = {"manifest": str(manifest), "output_dir": str(out), "device": "cpu", "threads": 1}
    files = [RESOLUTION / "configs" / f"{name}.json" for name in ("train", "smoke")]
    run_stage(files, {"bundle_root": str(RESOLUTION), "unshuffle": 2, "residual": True, **settings})
    return out


def resolver_options(command: str, folder: Path) -> dict[str, Any]:
    texts = given(RESOLUTION, command)
    assert re.fullmatch(r"\[\d,1,64,64\]", texts["input_shape"])
    return {name: value_of(text.replace("output/x2", str(folder))) for name, text in texts.items()}


@pytest.mark.e2e
def test_resolver_as_torchscript(resolver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ckpt_export(**resolver_options("ckpt_export", resolver))
    exported, images = torch.jit.load(resolver / "model.ts"), images_of(2, 64)
    torch.testing.assert_close(exported(images), logits(resolver, images), atol=1e-5, rtol=0)


@pytest.mark.e2e
def test_resolver_as_onnx(resolver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = import_onnx()
    monkeypatch.chdir(ROOT)
    onnx_export(**resolver_options("onnx_export", resolver))
    require_equal_onnx(onnxruntime, resolver, 64)


class Conditional(nn.Module):
    """Stands for a generator with label inputs."""

    def __init__(self, latent_size: int, findings: int) -> None:
        super().__init__()
        self.settings = {"latent_size": latent_size, "findings": findings}
        self.latent_size = latent_size
        self.mix = nn.Linear(latent_size + findings, 16)

    def forward(
        self, z: Tensor, resolution: int | None = None, alpha: float = 1.0, labels: Tensor | None = None
    ) -> Tensor:
        assert labels is not None
        return self.mix(torch.cat([labels * 3, z], dim=1)).reshape(-1, 1, 4, 4)


def test_labels_follow_the_latent_in_one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "pggan", Conditional)
    network = Conditional(5, 3)
    save_model(tmp_path / "model.pt", "pggan", network, {})
    exported = ExportedGenerator(tmp_path)
    latents, labels = torch.randn(4, 5), torch.tensor([[0.0, 1, 0]] * 4)
    traced = torch.jit.trace(exported, torch.rand(2, 8))
    for one in (exported, traced):
        images = one(torch.cat([latents, labels], dim=1))
        torch.testing.assert_close(images, network(latents, labels=labels).clamp(0, 1), atol=1e-6, rtol=0)


def test_codes_follow_the_noise_and_running_statistics_are_used(tmp_path: Path) -> None:
    network = InfoGenerator(16, 6, (3,), 1, 1, 2, 4)
    for _ in range(5):
        network(torch.randn(8, 10))
    save_model(tmp_path / "model.pt", "infogan", network, {})
    exported = ExportedGenerator(tmp_path).eval()
    latents = network.layout.draw(0, 0, 4)
    for one in (exported, torch.jit.trace(exported, torch.rand(2, 10))):
        torch.testing.assert_close(one(latents), network.eval()(latents), atol=1e-6, rtol=0)


def test_weights_given_by_the_exporter_count(tmp_path: Path) -> None:
    networks = [ProgressiveGenerator(8, 4, fmap_max=2) for _ in range(2)]
    save_model(tmp_path / "model.pt", "pggan", networks[0], {})
    exported = ExportedGenerator(tmp_path)
    exported.load_state_dict(networks[1].state_dict())
    latents = torch.randn(3, 4)
    torch.testing.assert_close(exported(latents), networks[1](latents).clamp(0, 1))
    with pytest.raises(RuntimeError, match="size mismatch"):
        exported.load_state_dict(ProgressiveGenerator(8, 5, fmap_max=2).state_dict())


def test_only_generators_are_exported(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "classifier", Classifier(1), {})
    with pytest.raises(StateError, match="must be a generator; found classifier"):
        ExportedGenerator(tmp_path)

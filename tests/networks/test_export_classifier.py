"""Every classifier for other run-times: ONNX Runtime gives the logits that torch gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks import export
from monai_cxraug.networks.classifiers import ARCHITECTURES, Classifier
from monai_cxraug.networks.export import export_onnx

#: what takes half a minute each is exported with the slow tests.
LARGE = ("densenet121", "efficientnet_b1", "resnet50", "resnet18", "vgg16")
FAST_AND_SLOW = [pytest.param(one, marks=[pytest.mark.slow] * (one in LARGE)) for one in ARCHITECTURES]


@pytest.mark.e2e
@pytest.mark.parametrize("architecture", FAST_AND_SLOW)
def test_onnx_runtime_gives_the_same_logits_for_any_batch(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    channels = 3 if architecture == "small_cnn" else 1
    network = Classifier(3, architecture, channels, dropout=0.5).eval()
    images = torch.rand(5, channels, 64, 64)
    with torch.inference_mode():
        expected = network(images).numpy()
    path = export_onnx(network, tmp_path / "classifier.onnx", 64, channels)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (images, images[:1]):
        (logits,) = session.run(["logits"], {"images": batch.numpy()})
        np.testing.assert_allclose(logits, expected[: len(batch)], atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["classifier.onnx"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the packages onnx and onnxscript.*pip install"):
        export_onnx(Classifier(1, "small_cnn"), tmp_path / "x.onnx", 32)

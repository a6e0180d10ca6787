from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.losses.reconstruction import FeatureDistance
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.feature_layers import load_features
from monai_cxraug.networks.weights import save_model


@pytest.mark.parametrize("architecture", ["small_cnn", "densenet121"])
def test_a_classifier_of_ours_gives_features(architecture: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "classifier", Classifier(2, architecture), {"patients_seen": ["b", "a"]})
    found = load_features(tmp_path)
    assert found is not None
    assert found.patients_seen == ("a", "b")
    images, wanted = torch.rand(2, 2, 1, 32, 32).unbind()
    distance = FeatureDistance(found.network, found.layers)
    assert 0 < float(distance(images, wanted)) < 4
    assert float(distance(images, images)) == 0


@pytest.mark.slow
def test_vgg_weights_in_torchvision_s_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vgg = Classifier(1000, "vgg16", channels=3)
    torch.save(vgg.body.state_dict(), tmp_path / "vgg16.pth")
    found = load_features(tmp_path / "vgg16.pth", "torchvision")
    assert found is not None
    assert found.patients_seen == ()
    modules = dict(found.network.named_modules())
    assert all(isinstance(modules[name], torch.nn.ReLU) for name in found.layers)
    assert [modules[_before(name)].out_channels for name in found.layers] == [64, 128, 256, 512, 512]
    assert float(FeatureDistance(found.network, found.layers)(*torch.rand(2, 1, 1, 32, 32).unbind())) > 0


@pytest.mark.parametrize(
    ("architecture", "stride", "kind"),
    [
        ("small_cnn", 4, torch.nn.BatchNorm2d),
        ("densenet121", 16, torch.nn.Module),
        ("resnet50", 16, torch.nn.BatchNorm2d),
        ("efficientnet_b1", 16, torch.nn.Module),
        pytest.param("vgg16", 16, torch.nn.Conv2d, marks=pytest.mark.slow),
    ],
)
def test_the_linear_layer_is_late_and_not_rectified(architecture: str, stride: int, kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "model.pt", "classifier", Classifier(2, architecture, channels=3), {"patients_seen": []})
    found = load_features(tmp_path, linear=True)
    assert found is not None
    assert found.channels == 3
    (name,) = found.layers
    assert isinstance(found.network.get_submodule(name), kind)
    seen: list[torch.Tensor] = []
    found.network.get_submodule(name).register_forward_hook(lambda *call: seen.append(call[2].clone()))
    with torch.no_grad():
        found.network(torch.rand(1, 3, 64, 64))
    assert seen[0].shape[2] == 64 // stride
    assert float(seen[0].min()) < 0 < float(seen[0].max())


def _before(name: str) -> str:
    head, _, number = name.rpartition(".")
    return f"{head}.{int(number) - 1}"


def test_no_path_is_no_network() -> None:
    assert load_features(None) is None


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "distortion", EncoderDecoder(layers=1), {})
    with pytest.raises(StateError, match="must be a classifier; found distortion"):
        load_features(tmp_path)
    with pytest.raises(InputError, match="nothing there"):
        load_features(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="torchxrayvision has no weights of this architecture"):
        load_features(tmp_path / "model.pt", "torchxrayvision")

"""Weights of other packages, by the names and shapes that they really have (``scripts/weight_layouts.py``)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.pretrained import SOURCES, fill, load_weights, read_state

LAYOUTS = Path(__file__).parent / "layouts"
EVERY = [(source, architecture) for source, known in SOURCES.items() for architecture in known]
SMALL = [pair for pair in EVERY if pair[1] != "vgg16"]
#: means and deviations that torchvision's and timm's weights expect.
DEVIATIONS = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def layout(source: str, architecture: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress((LAYOUTS / f"{source}-{architecture}.json.gz").read_bytes()))
    assert document["package"] == source
    return document


def made_up(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Values by the same formula as those that the packages' own networks answered with."""
    state = {}
    for number, (name, shape) in enumerate(shapes.items()):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        count = torch.Size(shape).numel()
        wave = torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + number).reshape(shape)
        fan = count // shape[0] if len(shape) > 1 else 0
        state[name] = (wave * (2 / fan) ** 0.5 if fan else 1 + 0.1 * wave).float()
    return state


def picture(channels: int) -> Tensor:
    wave = torch.sin(torch.arange(channels * 64 * 64, dtype=torch.float64) * 0.01)
    return wave.reshape(1, channels, 64, 64).float()


def write(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


def pooled(network: Classifier, images: Tensor) -> Tensor:
    """What comes into the first layer that the file does not fill."""
    seen: list[Tensor] = []
    last = network.body._fc if network.settings["architecture"] == "efficientnet_b1" else network.head
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network.body(images)
    return seen[-1][0]


@pytest.mark.parametrize(
    ("source", "architecture"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair[1] == "vgg16" else []) for pair in EVERY],
)
def test_every_layout_fills_the_body_and_answers_as_its_own_network(
    source: str, architecture: str, tmp_path: Path
) -> None:
    known = layout(source, architecture)
    state = made_up(known["shapes"])
    channels = 1 if source == "torchxrayvision" else 3
    network = Classifier(5, architecture, channels=channels).eval()
    loaded = fill(network, write(tmp_path / "w.pt", state), source)
    head = {name for name in network.body.state_dict() if network.body.state_dict()[name] is not None}
    assert set(loaded.random) | set(loaded.loaded) >= {name for name in head if not name.endswith("tracked")}
    assert len(loaded.skipped) <= 3  # the last layer's, and settings
    assert all(name.startswith(("class_layers", "_fc", "fc", "classifier.6")) for name in loaded.random)
    if architecture == "efficientnet_b1" and source != "monai":
        return  # MONAI pads as TensorFlow does, and answers differently at the borders
    found = pooled(network, picture(channels))[:64]
    expected = torch.tensor(known["features"])[: len(found)]
    assert (found - expected).abs().max() <= 2e-3 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_names_of_efficientnet_follow_its_order(source: str, tmp_path: Path) -> None:
    """Both list their weights in the order in which an image passes them."""
    shapes = layout(source, "efficientnet_b1")["shapes"]
    rename = SOURCES[source]["efficientnet_b1"]
    body = [name for name in shapes if "classifier" not in name]
    translated = [rename(name) for name in body]
    ours = Classifier(5, "efficientnet_b1", channels=3).body.state_dict()
    assert sorted(map(str, translated)) == sorted(name for name in ours if not name.startswith("_fc"))

    def weights(names: list[Any]) -> list[str]:
        return [str(name) for name in names if str(name).endswith("weight")]

    assert weights(translated) == [name for name in weights(list(ours)) if not name.startswith("_fc")]
    for theirs, name in zip(body, translated, strict=True):
        assert list(ours[str(name)].shape) == shapes[theirs]


@pytest.mark.parametrize(("source", "architecture"), SMALL)
def test_grey_images_see_the_sum_of_the_colours(source: str, architecture: str, tmp_path: Path) -> None:
    state = made_up(layout(source, architecture)["shapes"])
    path = write(tmp_path / "w.pt", state)
    grey, colour = (Classifier(2, architecture, channels=channels).eval() for channels in (1, 3))
    fill(grey, path, source)
    fill(colour, path, source)
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    deviations = DEVIATIONS if source in ("torchvision", "timm") else torch.tensor(grey.std)
    expected = pooled(colour, (image.expand(-1, 3, -1, -1) - grey.mean) / deviations)
    found = pooled(grey, (image - grey.mean) / grey.std)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    rebuilt = Classifier(**grey.settings)
    rebuilt.load_state_dict(grey.state_dict())
    assert (rebuilt.mean, rebuilt.std) == (grey.mean, grey.std)


def test_what_each_package_is_shown(tmp_path: Path) -> None:
    network = Classifier(2)
    for source, least, most in (
        ("torchxrayvision", -1024.0, 1024.0),
        ("torchvision", -0.449 / 0.226, 0.551 / 0.226),
        ("monai", -1.0, 1.0),
    ):
        network = Classifier(2)
        fill(network, write(tmp_path / "w.pt", made_up(layout(source, "densenet121")["shapes"])), source)
        assert -network.mean / network.std == pytest.approx(least)
        assert (1 - network.mean) / network.std == pytest.approx(most)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_pictures_in_colour_are_shown_as_the_weights_know_them(source: str, tmp_path: Path) -> None:
    network = Classifier(2, "resnet50", channels=3).eval()
    fill(network, write(tmp_path / "w.pt", made_up(layout(source, "resnet50")["shapes"])), source)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    means = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network.body((images - means) / DEVIATIONS))
    rebuilt = Classifier(**network.settings).eval()
    rebuilt.load_state_dict(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt(images), network(images), rtol=0, atol=0)


# --- files ---


@pytest.fixture
def state() -> dict[str, Tensor]:
    return made_up(layout("torchvision", "resnet50")["shapes"])


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_wrappers_and_prefixes(state: dict[str, Tensor], wrapper: str, prefix: str, tmp_path: Path) -> None:
    named: Any = {prefix + name: value for name, value in state.items()}
    path = write(tmp_path / "w.pth", {wrapper: named, "epoch": 3} if wrapper else named)
    assert set(read_state(path)) == set(state)


def test_safetensors(state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, tmp_path / "w.safetensors")
    network = load_weights(Classifier(3, "resnet50"), tmp_path / "w.safetensors", "torchvision")
    assert torch.equal(network.body.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for words in ("w.safetensors (torchvision): ", "conv1.weight summed over 3 channels", "skipped 2", "at random 2"):
        assert words in said


def test_no_weights_change_nothing() -> None:
    network = Classifier(2, "small_cnn")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert load_weights(network, None) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def refused(kind: type[CxrAugError], words: str, network: Classifier, path: Path, source: str = "torchvision") -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(kind, match=words) as caught:
        load_weights(network, path, source)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    network = Classifier(2, "resnet50")
    part = {name: value for name, value in state.items() if not name.startswith("layer4.2")}
    refused(StateError, "303 of 318|of \\d+; no layer4.2", network, write(tmp_path / "part.pt", part))
    other = {**state, "layer1.0.conv1.weight": torch.zeros(32, 64, 1, 1)}
    refused(
        StateError,
        r"layer1.0.conv1.weight \[32, 64, 1, 1\], not \[64, 64, 1, 1\]",
        network,
        write(tmp_path / "shape.pt", other),
    )
    refused(StateError, "check architecture and source", Classifier(2), write(tmp_path / "resnet.pt", state))
    refused(InputError, "none there", network, tmp_path / "absent.pt")
    refused(InputError, "plain state dict", network, write(tmp_path / "list.pt", [1, 2]))
    refused(InputError, "state dict of tensors", network, write(tmp_path / "empty.pt", {"epoch": 1}))
    broken = tmp_path / "broken.pt"
    broken.write_bytes((tmp_path / "part.pt").read_bytes()[:5000])
    refused(InputError, "plain state dict", network, broken)
    whole = tmp_path / "whole.pt"
    torch.save(nn.Linear(2, 2), whole)  # a pickled model, which would run code
    refused(InputError, "a pickled model runs code", network, whole)
    page = tmp_path / "page.safetensors"
    page.write_text("<html>")
    pytest.importorskip("safetensors")
    refused(InputError, "safetensors file", network, page)


def test_unknown_packages_and_architectures() -> None:
    with pytest.raises(ConfigError, match="did you mean 'torchvision'"):
        load_weights(Classifier(2), "x", "torchvison")
    with pytest.raises(ConfigError, match=r"torchxrayvision has no weights of this architecture; found vgg16"):
        load_weights(Classifier(2, "vgg16"), "x", "torchxrayvision")
    with pytest.raises(ConfigError, match="small_cnn"):
        load_weights(Classifier(2, "small_cnn"), "x", "torchvision")

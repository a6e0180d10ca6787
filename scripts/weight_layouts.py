"""Write the names and shapes of other packages' weights, which the tests of transfer learning build files from.

    python scripts/weight_layouts.py tests/networks/layouts

Needs an environment of its own with torch, torchvision, timm, torchxrayvision and monai. torchvision's compiled part
need not load: the two operators that it declares are declared here first. Nothing is downloaded: the networks are made
without values. Beside names and shapes, the answer of each network to one image is written, with weights that follow a
formula, so that a test can see that a translated name means the same layer.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn


def main() -> None:
    """Write one file for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, make in networks().items():
        network = make().eval()
        state = network.state_dict()
        fill(state)
        with torch.inference_mode():
            answer = features(network, picture(state))
        package = name.split("-")[0]
        document = {
            "package": package,
            "version": version(package),
            "shapes": {key: list(value.shape) for key, value in state.items()},
            "features": [round(float(value), 5) for value in answer.flatten()[:64]],
        }
        text = json.dumps(document).encode()
        (args.out / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
        print(name, version(package), len(state), "weights")


def fill(state: dict[str, Tensor]) -> None:
    """Give every weight values that follow from its place alone; the tests have the same formula."""
    for number, value in enumerate(state.values()):
        if not value.is_floating_point():
            continue
        count = value.numel()
        wave = torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + number).reshape(value.shape)
        fan = count // value.shape[0] if value.ndim > 1 else 0
        value.copy_(wave * (2 / fan) ** 0.5 if fan else 1 + 0.1 * wave)


def picture(state: dict[str, Tensor]) -> Tensor:
    """One image [1, C, 64, 64] for a network with these weights."""
    channels = next(value.shape[1] for value in state.values() if value.ndim == 4)
    wave = torch.sin(torch.arange(channels * 64 * 64, dtype=torch.float64) * 0.01)
    return wave.reshape(1, channels, 64, 64).float()


def features(network: nn.Module, image: Tensor) -> Tensor:
    """What comes into the last dense layer."""
    seen: list[Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(image)
    return seen[-1]


def resnet_of_torchxrayvision(models: Any) -> nn.Module:
    """The network inside its ``ResNet``, whose weights its files hold, built without fetching any."""
    nothing_fetched = mock.patch.object(models, "get_weights", return_value="")
    nothing_read = mock.patch.object(torch, "load", return_value={})
    nothing_filled = mock.patch.object(nn.Module, "load_state_dict")
    with nothing_fetched, nothing_read, nothing_filled:
        network: nn.Module = models.ResNet("resnet50-res512-all").model
    return network


def networks() -> dict[str, Callable[[], nn.Module]]:
    """Name to constructor."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm
    import torchxrayvision
    from monai.networks.nets import DenseNet121, EfficientNetBN, resnet50
    from torchvision import models

    return {
        **{
            f"torchvision-{name}": getattr(models, name)
            for name in ("densenet121", "efficientnet_b1", "resnet50", "vgg16")
        },
        **{
            f"timm-{name}": lambda name=name: timm.create_model(name, pretrained=False)
            for name in ("densenet121", "efficientnet_b1", "resnet50", "vgg16")
        },
        "torchxrayvision-densenet121": lambda: torchxrayvision.models.DenseNet(num_classes=18, in_channels=1),
        "torchxrayvision-resnet50": lambda: resnet_of_torchxrayvision(torchxrayvision.models),
        "monai-densenet121": lambda: DenseNet121(spatial_dims=2, in_channels=3, out_channels=5),
        "monai-efficientnet_b1": lambda: EfficientNetBN("efficientnet-b1", False, spatial_dims=2, num_classes=5),
        "monai-resnet50": lambda: resnet50(
            spatial_dims=2, n_input_channels=3, num_classes=5, conv1_t_stride=2, bias_downsample=False
        ),
    }


if __name__ == "__main__":
    main()

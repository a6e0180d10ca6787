"""Networks whose features tell images apart: a classifier trained here, or VGG-16 from a file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from monai_cxraug.artifacts import file_hash
from monai_cxraug.networks.classifiers import STAGES, Classifier
from monai_cxraug.networks.pretrained import load_weights
from monai_cxraug.networks.weights import load_model

#: layers of VGG-16 that Zhang et al. 2018 (arXiv 1801.03924, section 3) compare: the last of each block, rectified.
VGG_LAYERS: Final = ("features.3", "features.8", "features.15", "features.22", "features.29")
#: a late layer of each architecture before its activation, where the image is a sixteenth as wide (the small network
#: has none as late), as ESRGAN takes VGG-19's (Wang et al. 2018, arXiv 1809.00219, section 3.3).
LINEAR_LAYERS: Final = {
    "densenet121": "features.denseblock3",
    "efficientnet_b1": "_blocks.4",
    "resnet50": "layer3.5.bn3",
    "vgg16": "features.28",
    "small_cnn": "features.9",
}


@dataclass(frozen=True)
class FeatureNetwork:
    """A network and which of its layers to compare.

    Args:
        network: images ``[N, C, H, W]`` in [0, 1] to logits.
        layers: names of its modules, from fine to coarse.
        patients_seen: whose images trained it.
        sha256: of the file.
        channels: of the images that it takes.
    """

    network: nn.Module
    layers: tuple[str, ...]
    patients_seen: tuple[str, ...]
    sha256: str
    channels: int = 1


def load_features(
    path: str | Path | None, source: str | None = None, channels: int = 1, linear: bool = False
) -> FeatureNetwork | None:
    """Load a network to compare features in.

    Args:
        path: a classifier's model file or a folder that holds one, or with a source a file of VGG-16's weights; None
            for no network.
        source: the package that made the weights, a key of :data:`~monai_cxraug.networks.pretrained.SOURCES`; None for
            a classifier trained here.
        channels: of the images that VGG-16 from a file of weights shall take.
        linear: one late layer before its activation instead of the ends of all stages.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it does not hold such a network.
        ConfigError: the source is unknown or has no VGG-16.
    """
    if path is None:
        return None
    if source is not None:
        network = load_weights(Classifier(1, "vgg16", channels), path, source, say=False)
        return FeatureNetwork(network.eval(), _layers("vgg16", linear), (), file_hash(path), channels)
    model = load_model(path, "classifier")
    about: Mapping[str, Any] = model.about
    seen, settings = tuple(sorted(about.get("patients_seen", ()))), model.settings
    layers = _layers(settings["architecture"], linear)
    return FeatureNetwork(model.network, layers, seen, file_hash(model.path), settings["channels"])


def _layers(architecture: str, linear: bool) -> tuple[str, ...]:
    if linear:
        return (f"body.{LINEAR_LAYERS[architecture]}",)
    if architecture == "vgg16":
        return tuple(f"body.{name}" for name in VGG_LAYERS)
    return tuple(f"body.{name}" for name in reversed(STAGES[architecture]))

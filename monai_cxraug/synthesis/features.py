"""What a classifier of ours sees in an image: the pooled features below its last layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.pack import count_channels, to_unit
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError, InputError, LeakageError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.pretrained import fill
from monai_cxraug.networks.weights import Model, load_model


@dataclass(frozen=True)
class Pretrained:
    """A network that another package trained, from a local file of its weights, to see images with.

    Args:
        weights: state dict, plain or safetensors.
        source: the package that made it; a key of :data:`~monai_cxraug.networks.pretrained.SOURCES`.
        architecture: that the weights are for.
        size: side of the images that it is shown, in pixels; larger ones are averaged over areas.
        patients_seen: patients of its training images, as far as they are known here.
    """

    weights: str | Path
    source: str = "torchvision"
    architecture: str = "densenet121"
    size: int = 224
    patients_seen: tuple[str, ...] = ()

    def load(self, channels: int = 1) -> Model:
        """Build the network and fill it.

        Args:
            channels: of the images: 1 grey, 3 red, green and blue.

        Raises:
            InputError: the file is missing or unreadable.
            ConfigError: the source is unknown, or does not have this architecture.
            StateError: the file does not fill the network's body.
        """
        network = Classifier(1, self.architecture, channels)
        fill(network, self.weights, self.source)
        about = {"size": self.size, "patients_seen": self.patients_seen, "source": self.source}
        return Model(network.eval(), "classifier", about, Path(self.weights))


class ClassifierFeatures:
    """Images to the globally pooled features of a trained classifier.

    A Fréchet or kernel distance in them is that "in the features of" :attr:`name`, never "FID" or "KID", whose features
    are those of Inception on photographs.

    Args:
        classifier: model file, or a folder that holds one; or another package's network.
        device: where to compute.
        batch_size: images a pass; it changes nothing beyond rounding.
        channels: of the images; another package's network is built for them, and ours must have been trained on as
            many. None takes ours as it is, and another package's for grey.

    Attributes:
        name: architecture, with the package if it is another's, size of the images and hash of the file, for captions.
        size: side of the images that the classifier was trained on, in pixels.
        patients_seen: patients of its training images.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it is no classifier of ours, or one without global pooling.
        ConfigError: it was trained on images of other channels.
    """

    def __init__(
        self,
        classifier: str | Path | Pretrained,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        channels: int | None = None,
    ) -> None:
        if isinstance(classifier, Pretrained):
            model, made_by = classifier.load(channels or 1), f"{classifier.source} "
        else:
            model, made_by = load_model(classifier, "classifier"), ""
        if missing := sorted({"size", "patients_seen"} - set(model.about)):
            raise StateError(model.path, "a classifier's file must name size and patients_seen", f"no {missing[0]}")
        if batch_size < 1:
            raise ConfigError("ClassifierFeatures(batch_size)", "must be at least 1", batch_size)
        self.path, self.size = model.path, int(model.about["size"])
        self.patients_seen = frozenset(model.about["patients_seen"])
        self.channels = int(model.settings["channels"])
        if channels not in (None, self.channels):
            mend = "give a classifier that was trained on images like these"
            raise ConfigError(model.path, f"must look at {count_channels(channels)}", f"{self.channels}", mend)
        network = f"{made_by}{model.settings['architecture']}"
        self.name = f"{network} at {self.size} px, model {file_hash(model.path)[:12]}"
        self.device, self.batch_size = torch.device(device), batch_size
        self._network = model.network.to(self.device)
        self._pooled = torch.empty(0)
        _last_pooling(self._network, model.path).register_forward_hook(self._keep)

    def refuse_seen(self, patients: frozenset[str]) -> None:
        """Refuse to judge images of patients that the classifier was trained on.

        Args:
            patients: of the evaluation images.

        Raises:
            LeakageError: it saw one of them: samples would look worse beside real images it knows by heart.
        """
        if shared := sorted(self.patients_seen & patients):
            rule = "a classifier whose features judge images may not have seen their patients"
            found = f"{len(shared)} of them, for example {shared[0]!r}"
            raise LeakageError(self.path, rule, found, "train it on the training patients only")

    def require_side(self, side: int) -> None:
        """Refuse images that would have to be enlarged.

        Args:
            side: of the images, in pixels.

        Raises:
            ConfigError: it is below the classifier's.
        """
        if side < self.size:
            mend = f"give a classifier that was trained at {side} px or less"
            raise ConfigError(self.path, f"images must have at least its {self.size} px", f"{side} px", mend)

    def __call__(self, images: NDArray[np.generic]) -> NDArray[np.float32]:
        """Compute features.

        Args:
            images: ``[N, H, W]`` or ``[N, H, W, C]``, unsigned integers, or floats in [0, 1]. Larger ones than the
                classifier's are averaged over areas, as its training images were; smaller ones are refused.

        Returns:
            ``[N, D]``.

        Raises:
            InputError: the images are not square or have other channels than the classifier.
            ConfigError: they are smaller than the classifier's.
        """
        images = images[..., None] if images.ndim == 3 else images
        self._check(images.shape)
        starts = range(0, len(images), self.batch_size)
        with torch.inference_mode():
            parts = [self._batch(images[k : k + self.batch_size]) for k in starts]
        return np.concatenate(parts)

    def _batch(self, images: NDArray[np.generic]) -> NDArray[np.float32]:
        unit = to_unit(images) if images.dtype.kind == "u" else images.astype(np.float32)
        if unit.shape[1] != self.size:
            unit = np.stack([[_fit(image[..., c], self.size) for c in range(self.channels)] for image in unit])
        else:
            unit = np.ascontiguousarray(np.moveaxis(unit, -1, 1))  # [N, C, H, W]
        self._network(torch.from_numpy(unit).to(self.device))
        features: NDArray[np.float32] = self._pooled.float().cpu().numpy()
        return features

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._pooled = output.flatten(1)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or not shape[0] or shape[1] != shape[2] or shape[3] != self.channels:
            raise InputError("images", f"must be square, with {self.channels} channels", list(shape))
        self.require_side(shape[1])


def _fit(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return resize_area(np.ascontiguousarray(image), size, size)


def _last_pooling(network: nn.Module, path: Path) -> nn.Module:
    found = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if not found:
        raise StateError(path, "must be a classifier with global average pooling", "none in its network")
    return found[-1]  # earlier ones belong to blocks that weigh their channels

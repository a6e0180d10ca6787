"""Trained networks for other run-times: one tensor in, one tensor out."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.networks.latents import layout_of
from monai_cxraug.networks.weights import load_model

_INSTALL: Final = "pip install 'monai-cxraug[onnx]'"


class ExportedGenerator(nn.Module):
    """Latents to finished images, as sampling makes them: final stage only, values in [0, 1].

    ``python -m monai.bundle ckpt_export`` and ``onnx_export`` build it from a configuration, load the weights of the
    model file into it and give it one input, hence a single tensor for latents and labels.

    Args:
        generator: model file of a generator, or a folder that holds one.
    """

    def __init__(self, generator: str | Path) -> None:
        super().__init__()
        model = load_model(generator)
        if not hasattr(model.network, "latent_size"):
            raise StateError(model.path, "must be a generator", model.kind, "give another model")
        self.network = model.network
        self.latent_size: int = layout_of(model.network).size
        #: numbers of a label vector, 0 for a generator of one finding.
        self.label_size: int = model.settings.get("findings", 0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Make images.

        Args:
            inputs: ``[N, latent_size + label_size]``: standard normal numbers (and codes, for a network that has them;
                see :class:`~monai_cxraug.networks.latents.Layout`), then 1 or 0 for each finding.

        Returns:
            ``[N, channels, resolution, resolution]`` in [0, 1].
        """
        given = {"labels": inputs[:, self.latent_size :]} if self.label_size else {}
        images: Tensor = self.network(inputs[:, : self.latent_size], **given)
        return images.clamp(0.0, 1.0)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the weights of a model file, which are named as the network itself names them."""
        return self.network.load_state_dict(state_dict, strict, assign)


def export_onnx(network: nn.Module, path: str | Path, size: int, channels: int = 1) -> Path:
    """Write a classifier for other run-times (ONNX Runtime, OpenVINO); any number of images in a batch.

    Args:
        network: images ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``; it is switched to evaluation.
        path: ``.onnx`` file to write, with the weights in it.
        size: side of the images in pixels.
        channels: of the images.

    Returns:
        The file.

    Raises:
        ConfigError: the packages that write it are not installed.
    """
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise ConfigError("export", "needs the packages onnx and onnxscript", f"no {missing[0]}", _INSTALL)
    images = torch.rand(2, channels, size, size)
    with atomic_path(Path(path)) as temporary, torch.inference_mode():
        torch.onnx.export(
            network.eval().to("cpu"),
            (images,),
            temporary,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return Path(path)

"""A trained generator in the shape that exporters take: one tensor in, one tensor out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from monai_cxraug.networks.weights import load_model


class ExportedGenerator(nn.Module):
    """Latents to finished images, as sampling makes them: final stage only, values in [0, 1].

    ``python -m monai.bundle ckpt_export`` and ``onnx_export`` build it from a configuration, load the weights of the
    model file into it and give it one input, hence a single tensor for latents and labels.

    Args:
        generator: model file of kind ``pggan``, or a folder that holds one.
    """

    def __init__(self, generator: str | Path) -> None:
        super().__init__()
        model = load_model(generator, "pggan")
        self.network = model.network
        self.latent_size: int = model.settings["latent_size"]
        #: numbers of a label vector, 0 for a generator of one finding.
        self.label_size: int = model.settings.get("findings", 0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Make images.

        Args:
            inputs: ``[N, latent_size + label_size]``: standard normal numbers, then 1 or 0 for each finding.

        Returns:
            ``[N, channels, resolution, resolution]`` in [0, 1].
        """
        given = {"labels": inputs[:, self.latent_size :]} if self.label_size else {}
        images: Tensor = self.network(inputs[:, : self.latent_size], **given)
        return images.clamp(0.0, 1.0)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the weights of a model file, which are named as the network itself names them."""
        return self.network.load_state_dict(state_dict, strict, assign)

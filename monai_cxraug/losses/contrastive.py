"""What a network minimises that learns to tell patients apart by pairs of their images."""

from __future__ import annotations

from monai.losses import ContrastiveLoss
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, InputError


class SamePatientLoss(nn.Module):
    """Images of one patient shall be nearer to each other than to those of other patients.

    The normalised, temperature-scaled cross-entropy of Chen et al. (SimCLR, ICML 2020, equation 1; MONAI's
    ``ContrastiveLoss``) with two images of a patient where SimCLR has two views of one image.

    Args:
        temperature: similarities are divided by it; a small one looks at the most similar strangers.

    Raises:
        ConfigError: the temperature is not above 0 or above 1 (below 0.02 float32 overflows).
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not 0.02 <= temperature <= 1:
            raise ConfigError("temperature", "must be from 0.02 to 1", temperature, "0.1 is usual")
        self.loss = ContrastiveLoss(temperature)

    def forward(self, vectors: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compare all vectors of a batch.

        Args:
            vectors: ``[2 P, D]``: rows 2k and 2k + 1 are of one patient, all others of other patients.
            labels: not looked at; MONAI's trainers hand them over.

        Returns:
            A scalar.

        Raises:
            InputError: their number is odd.
        """
        if len(vectors) % 2:
            raise InputError("vectors", "must come in pairs of a patient", len(vectors))
        loss: Tensor = self.loss(vectors[0::2].float(), vectors[1::2].float())
        return loss

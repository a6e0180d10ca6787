"""Classification losses for findings that are rare and labels that may be unknown."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class MaskedBCE(nn.Module):
    """Binary cross-entropy per finding; unknown labels (NaN) contribute neither loss nor gradient.

    The mean runs over the known labels of the batch. Unknown targets are replaced before the loss is computed: masking
    afterwards would leave NaN in the gradients.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            logits: ``[N, K]``.
            labels: ``[N, K]`` of 1, 0, NaN.

        Returns:
            Scalar; 0 when every label of the batch is unknown.
        """
        known = ~torch.isnan(labels)
        targets = torch.where(known, labels, torch.zeros_like(labels))
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return torch.where(known, losses, torch.zeros_like(losses)).sum() / known.sum().clamp(min=1)

"""AUROC as a MONAI metric: accumulates batches, leaves unknown labels out, no finding spoils the mean."""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.metrics.metric import CumulativeIterationMetric

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.auroc import auroc_columns

Reduction = Literal["mean", "none"]


class MaskedAUROC(CumulativeIterationMetric):
    """AUROC over all batches since the last reset, unknown (NaN) labels left out for each finding separately.

    Give it ``y_pred`` ``[B, K]``, probabilities or any finite scores, and ``y`` ``[B, K]`` of 1, 0, NaN. Works as the
    key metric of ``monai.handlers.IgniteMetricHandler``.

    Args:
        reduction: ``"mean"`` for the macro mean over the findings that have both classes, ``"none"`` for each.

    Raises:
        ConfigError: the reduction is neither.
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = _check_reduction(reduction)

    def _compute_tensor(
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if y is None or y_pred.ndim != 2 or y_pred.shape != y.shape:
            found = f"{[*y_pred.shape]} and {None if y is None else [*y.shape]}"
            raise InputError("MaskedAUROC", "y_pred and y must both be [B, K]", found)
        return y_pred.detach(), y.detach()

    def aggregate(self, reduction: Reduction | None = None) -> torch.Tensor:
        """Compute the metric from what was accumulated.

        Args:
            reduction: overrides the constructor's.

        Returns:
            float64 scalar for ``"mean"`` (NaN when no finding has both classes), ``[K]`` for ``"none"`` (NaN for
            findings that lack a class).
        """
        y_pred, y = self.get_buffer()  # type: ignore[no-untyped-call]  # MONAI's own annotation is missing
        scores, labels = y_pred.double().cpu().numpy(), y.double().cpu().numpy()
        areas = torch.from_numpy(auroc_columns(scores, labels))
        return areas if _check_reduction(reduction or self.reduction) == "none" else areas.nanmean()


def _check_reduction(reduction: Reduction) -> Reduction:
    if reduction not in ("mean", "none"):
        raise ConfigError("MaskedAUROC reduction", "must be 'mean' or 'none'", repr(reduction))
    return reduction

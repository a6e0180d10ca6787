"""Evidence in numbers: AUROC, intervals over patients and seeds, paired comparisons. No torch in here."""

from __future__ import annotations

from monai_cxraug.metrics.auroc import auroc, auroc_columns, bootstrap_auroc, bootstrap_auroc_columns
from monai_cxraug.metrics.comparison import Difference, Estimate, compare, estimate
from monai_cxraug.metrics.exchange import Exchange, exchange
from monai_cxraug.metrics.multiplicity import benjamini_hochberg, holm
from monai_cxraug.metrics.resampling import bootstrap_p, patient_weights, percentile_interval, seed_weights

__all__ = [
    "Difference",
    "Estimate",
    "Exchange",
    "auroc",
    "auroc_columns",
    "benjamini_hochberg",
    "bootstrap_auroc",
    "bootstrap_auroc_columns",
    "bootstrap_p",
    "compare",
    "estimate",
    "exchange",
    "holm",
    "patient_weights",
    "percentile_interval",
    "seed_weights",
]

"""How much of its codes an image tells: InfoGAN's lower bound on mutual information (Chen et al. 2016, section 5).

For codes c drawn from their prior and images x made with them, the mean of ``log Q(c|x)`` plus the entropy of c is at
most the mutual information of c and x, whatever the distribution Q is (equations 4 and 5); it is reached where Q is the
true posterior. In nats. Codes are independent, so their bounds add up.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

#: entropy of a code uniform in [-1, 1].
_UNIFORM = math.log(2.0)


def categorical_information(logits: Tensor, chosen: Tensor) -> Tensor:
    """The bound for one categorical code, all categories equally likely.

    Args:
        logits: ``[N, K]`` of Q.
        chosen: ``[N, K]``, one-hot.

    Returns:
        ``[N]``, at most log K; log K - cross-entropy. Its mean is the bound.
    """
    logits = _exact(logits)
    likelihood = (F.log_softmax(logits, dim=1) * chosen.to(logits)).sum(dim=1)
    return likelihood + math.log(logits.shape[1])


def gaussian_information(mean: Tensor, log_deviation: Tensor, codes: Tensor) -> Tensor:
    """The bound for continuous codes uniform in [-1, 1], Q being normal and independent for each of them.

    Args:
        mean: ``[N, M]`` of Q.
        log_deviation: ``[N, M]``, natural logarithms of its standard deviations.
        codes: ``[N, M]``.

    Returns:
        ``[N]``. Its mean is the bound; it may be negative where Q is far off or too unsure.
    """
    mean, log_deviation = _exact(mean), _exact(log_deviation)
    off = (codes.to(mean) - mean) * torch.exp(-log_deviation)
    likelihood = -0.5 * off.square() - log_deviation - 0.5 * math.log(2.0 * math.pi)
    return (likelihood + _UNIFORM).sum(dim=1)


def _exact(x: Tensor) -> Tensor:
    """In float32 where it comes in less; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

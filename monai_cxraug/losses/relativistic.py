"""The relativistic average loss: is a real image more real than the enlarged ones are on average, and they less?

Jolicoeur-Martineau 2018, arXiv 1807.00734, section 4.1.2 (RaSGAN); ESRGAN (Wang et al. 2018, arXiv 1809.00219) uses it
in its equations 1 and 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)


class RelativisticAverageLoss:
    """Scores of real and of made images against the mean of the other kind, by the logistic loss.

    With ``D(a, b) = sigmoid(C(a) - mean C(b))`` the discriminator minimises ``- E log D(real, fake) - E log(1 - D(fake,
    real))``, and the generator the same with real and fake exchanged. Scores are ``[N]`` and ``[M]``, of any floating
    type; every mean is taken in at least float32. Adding a constant to all scores changes nothing.
    """

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the discriminator minimises, a scalar (equation 1); 2 log 2 when it cannot tell."""
        real, fake = _exact(real_scores), _exact(fake_scores)
        return F.softplus(-(real - fake.mean())).mean() + F.softplus(fake - real.mean()).mean()

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the generator minimises, a scalar (equation 2); it learns from the scores of both kinds."""
        return self.critic(fake_scores, real_scores)


def _exact(x: Tensor) -> Tensor:
    """In float32 where it comes in less; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cxraug.losses.relativistic import RelativisticAverageLoss

LOSS = RelativisticAverageLoss()
REAL = torch.tensor([0.3, -1.2, 2.5, 0.0], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.4, 1.1], dtype=torch.float64)


def written_out(real: Tensor, fake: Tensor) -> float:
    """Equation 1 of ESRGAN as it stands, in numpy."""
    one, two = real.numpy(), fake.numpy()
    d_real = 1 / (1 + np.exp(-(one - two.mean())))
    d_fake = 1 / (1 + np.exp(-(two - one.mean())))
    return float(-np.log(d_real).mean() - np.log(1 - d_fake).mean())


def test_the_losses_are_those_of_equations_1_and_2() -> None:
    assert float(LOSS.critic(REAL, FAKE)) == pytest.approx(written_out(REAL, FAKE), rel=1e-12)
    # equation 2: - E log(1 - D(real, fake)) - E log D(fake, real)
    one, two = REAL.numpy(), FAKE.numpy()
    d_real = 1 / (1 + np.exp(-(one - two.mean())))
    d_fake = 1 / (1 + np.exp(-(two - one.mean())))
    expected = -np.log(1 - d_real).mean() - np.log(d_fake).mean()
    assert float(LOSS.generator(REAL, FAKE)) == pytest.approx(float(expected), rel=1e-12)


def test_gradients_against_differences_in_float64() -> None:
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    for loss in (LOSS.critic, LOSS.generator):
        assert torch.autograd.gradcheck(loss, (real, fake))


def test_only_differences_of_scores_matter() -> None:
    moved = LOSS.critic(REAL + 17.0, FAKE + 17.0)
    torch.testing.assert_close(moved, LOSS.critic(REAL, FAKE), rtol=1e-12, atol=0)


def test_a_discriminator_that_cannot_tell_pays_twice_log_2() -> None:
    level = torch.full((5,), -3.0)
    assert float(LOSS.critic(level, level)) == pytest.approx(2 * math.log(2))
    assert float(LOSS.generator(level, level)) == pytest.approx(2 * math.log(2))


def test_who_is_ahead_pays_less() -> None:
    good, bad = torch.full((4,), 3.0), torch.full((4,), -3.0)
    assert LOSS.critic(good, bad) < LOSS.critic(bad, good)
    assert LOSS.generator(good, bad) > LOSS.generator(bad, good)
    assert bool(LOSS.critic(good * 1e4, bad * 1e4).isfinite())
    assert bool(LOSS.critic(bad * 1e4, good * 1e4).isfinite())


def test_the_generator_learns_from_both_kinds_of_images() -> None:
    """Real scores have a gradient in its loss, as the paper stresses: it is the discriminator that is held."""
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    LOSS.generator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert bool((real.grad > 0).all())
    assert bool((fake.grad < 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_means_are_taken_in_at_least_float32(dtype: torch.dtype) -> None:
    real, fake = (torch.linspace(-1, 1, 4096) + 0.25).to(dtype), torch.linspace(-1, 1, 4096).to(dtype)
    found = LOSS.critic(real, fake)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(written_out(real.double(), fake.double()), rel=1e-5)

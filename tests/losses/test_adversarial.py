from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import WassersteinLoss, critic_loss, generator_loss, gradient_penalty


def linear_critic(norm: float) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 4, 4, generator=g)
    real, fake = torch.rand(3, 1, 4, 4, generator=g), torch.rand(3, 1, 4, 4, generator=g)
    return weight * norm / weight.norm(), real, fake


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_a_linear_critic_has_the_penalty_of_its_weight(norm: float) -> None:
    weight, real, fake = linear_critic(norm)
    penalty = gradient_penalty(lambda x: (x * weight).sum(dim=(1, 2, 3)), real, fake, torch.rand(3))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_the_penalty_of_images_in_zero_one_is_that_of_the_critics_own_scale() -> None:
    weight, real, fake = linear_critic(3.0)
    inner = lambda x: (x * weight).sum(dim=(1, 2, 3))  # noqa: E731
    mix = torch.rand(3)
    expected = gradient_penalty(inner, real * 2 - 1, fake * 2 - 1, mix)
    torch.testing.assert_close(WassersteinLoss().slope(lambda x: inner(x * 2 - 1), real, fake, mix), expected)


def test_each_pair_is_mixed_by_its_own_weight() -> None:
    # score = |x|^2 / 2 has the gradient x itself, so the penalty reveals the mixed points
    real, fake = torch.ones(2, 1, 1, 1), torch.full((2, 1, 1, 1), 5.0)
    penalty = gradient_penalty(lambda x: x.square().sum(dim=(1, 2, 3)) / 2, real, fake, torch.tensor([0.0, 0.5]))
    assert penalty.item() == pytest.approx(((1 - 1) ** 2 + (3 - 1) ** 2) / 2)


def test_the_penalty_is_scaled_by_its_target() -> None:
    weight, real, fake = linear_critic(3.0)
    penalty = gradient_penalty(lambda x: (x * weight).sum(dim=(1, 2, 3)), real, fake, torch.rand(3), target=2.0)
    assert penalty.item() == pytest.approx((3 - 2) ** 2 / 4, abs=1e-5)


def test_second_derivatives_agree_with_finite_differences() -> None:
    g = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(2, 1, 2, 2, generator=g, dtype=torch.float64) for _ in range(2))
    mix = torch.rand(2, generator=g, dtype=torch.float64)
    weight = torch.randn(4, 3, generator=g, dtype=torch.float64, requires_grad=True)

    def penalty(w: Tensor) -> Tensor:
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ w).sum(dim=1), real, fake, mix)

    assert torch.autograd.gradcheck(penalty, (weight,))


def test_a_dead_critic_has_finite_gradients() -> None:
    weight = torch.zeros(1, 4, 4, requires_grad=True)
    x = torch.rand(2, 1, 4, 4)
    penalty = gradient_penalty(lambda image: (image * weight).sum(dim=(1, 2, 3)), x, x, torch.rand(2))
    penalty.backward()
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


def test_no_gradient_reaches_the_images() -> None:
    weight, real, fake = linear_critic(2.0)
    real.requires_grad_(True)
    fake.requires_grad_(True)
    weight.requires_grad_(True)
    gradient_penalty(lambda x: (x.square() * weight).sum(dim=(1, 2, 3)), real, fake, torch.rand(3)).backward()
    assert real.grad is None
    assert fake.grad is None


def test_losses_in_closed_form() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0, 4.0])
    assert critic_loss(real, fake, drift=0.1).item() == pytest.approx(1 - 2 + 0.1 * 5)
    assert generator_loss(fake).item() == pytest.approx(-1)
    loss = WassersteinLoss(drift=0.1)
    assert loss.scores(real, fake).item() == pytest.approx(-0.5)
    assert loss.generator(fake).item() == pytest.approx(-1)


@pytest.mark.parametrize("arguments", [{"penalty": -1.0}, {"drift": -1.0}, {"target": 0.0}])
def test_bad_weights_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        WassersteinLoss(**arguments)

"""Losses in float64 against closed forms, a NumPy critic with hand-derived slopes, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import (
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    NonSaturatingLoss,
    WassersteinLoss,
    auxiliary_loss,
    gradient_penalty,
    r1_penalty,
)

Array = NDArray[np.float64]
REGULARISED = [WassersteinLoss(), NonSaturatingLoss(), HingeLoss(r1=3.0), LeastSquaresLoss(r1=3.0)]
SHAPE = (3, 2, 4, 4)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return rand(*SHAPE, seed=1), rand(*SHAPE, seed=2), rand(SHAPE[0], seed=3)


def name_of(loss: object) -> str:
    return type(loss).__name__


# --- What critic and generator minimise ---

#: (critic, generator) of scores, in NumPy, term by term from the papers.
REFERENCES: dict[str, tuple[Callable[[Array, Array], float], Callable[[Array], float]]] = {
    "WassersteinLoss": (lambda r, f: f.mean() - r.mean() + 0.001 * (r**2).mean(), lambda f: -f.mean()),
    "NonSaturatingLoss": (
        lambda r, f: -np.log(1 / (1 + np.exp(-r))).mean() - np.log(1 - 1 / (1 + np.exp(-f))).mean(),
        lambda f: -np.log(1 / (1 + np.exp(-f))).mean(),
    ),
    "HingeLoss": (
        lambda r, f: -np.minimum(0, r - 1).mean() - np.minimum(0, -f - 1).mean(),
        lambda f: -f.mean(),
    ),
    "LeastSquaresLoss": (
        lambda r, f: ((r - 1) ** 2).mean() / 2 + ((f + 1) ** 2).mean() / 2,
        lambda f: (f**2).mean() / 2,
    ),
}


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_losses_equal_the_papers_formulas(loss: AdversarialLoss, spread: float) -> None:
    real, fake = (rand(5, seed=4) - 0.4) * spread, (rand(7, seed=5) - 0.6) * spread
    critic, generator = REFERENCES[name_of(loss)]
    assert loss.critic(real, fake).item() == pytest.approx(critic(real.numpy(), fake.numpy()), rel=1e-12)
    assert loss.generator(fake).item() == pytest.approx(generator(fake.numpy()), rel=1e-12)


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_the_critic_is_rewarded_for_real_above_fake_and_the_generator_for_high_scores(loss: AdversarialLoss) -> None:
    real, fake = torch.zeros(4, requires_grad=True), torch.full((4,), -0.5, requires_grad=True)
    loss.critic(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake.grad = None
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_gradients_of_the_losses_agree_with_finite_differences(loss: AdversarialLoss) -> None:
    real, fake = (rand(5, seed=6) * 4 - 2).requires_grad_(), (rand(4, seed=7) * 4 - 2).requires_grad_()
    assert torch.autograd.gradcheck(loss.critic, (real, fake))
    assert torch.autograd.gradcheck(loss.generator, (fake,))


def test_the_generator_still_learns_from_a_critic_that_is_certain() -> None:
    fake = torch.tensor([-200.0], requires_grad=True)
    loss = NonSaturatingLoss()
    loss.generator(fake).backward()
    assert fake.grad is not None
    assert fake.grad.item() == pytest.approx(-1)
    assert torch.isfinite(loss.critic(torch.tensor([-200.0]), torch.tensor([200.0])))


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_means_of_low_precision_scores_are_taken_in_float32(loss: AdversarialLoss, dtype: torch.dtype) -> None:
    real, fake = (rand(999, seed=8) + 7).to(dtype), (rand(999, seed=9) - 9).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = loss.critic(real, fake), loss.generator(fake)
    assert {value.dtype for value in values} == {torch.float32}
    torch.testing.assert_close(values[0].double(), loss.critic(real.double(), fake.double()), rtol=1e-5, atol=0)
    torch.testing.assert_close(values[1].double(), loss.generator(fake.double()), rtol=1e-5, atol=0)


# --- Slopes ---


def linear_critic(norm: float) -> Callable[[Tensor], Tensor]:
    weight = rand(*SHAPE[1:]) - 0.5
    weight *= norm / weight.norm()
    return lambda x: (x * weight.to(x.dtype)).sum(dim=(1, 2, 3))


def tanh_weights() -> tuple[Array, Array]:
    return (rand(32, 5, seed=10).numpy() - 0.5) * 2, rand(5, seed=11).numpy() - 0.3


def tanh_critic(first: Tensor, second: Tensor) -> Callable[[Tensor], Tensor]:
    """Two layers on images in [0, 1], which it maps to [-1, 1] at its border as our networks do."""
    return lambda x: torch.tanh((2 * x - 1).flatten(1) @ first) @ second


def numpy_slopes(images: Array, first: Array, second: Array) -> Array:
    """Gradient of the two-layer critic with respect to its own [-1, 1] images, derived by hand: ``[N, pixels]``."""
    hidden = np.tanh((2 * images - 1).reshape(len(images), -1) @ first)
    return ((1 - hidden**2) * second) @ first.T


def own_critic() -> Callable[[Tensor], Tensor]:
    first, second = tanh_weights()
    return tanh_critic(torch.from_numpy(first), torch.from_numpy(second))


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("target", [1.0, 2.0])
def test_a_linear_critic_has_the_penalty_of_its_weight(norm: float, target: float) -> None:
    penalty = gradient_penalty(linear_critic(norm), *batch(), target)
    assert penalty.item() == pytest.approx((norm - target) ** 2 / target**2, abs=1e-10)


@pytest.mark.parametrize("norm", [0.25, 3.0])
def test_a_linear_critic_has_the_r1_of_its_weight(norm: float) -> None:
    assert r1_penalty(linear_critic(norm), batch()[0]).item() == pytest.approx(norm**2, rel=1e-12)


@pytest.mark.parametrize("target", [1.0, 0.2])
def test_the_wasserstein_regulariser_equals_numpy(target: float) -> None:
    real, fake, mix = batch()
    between = real.numpy() + mix.numpy()[:, None, None, None] * (fake.numpy() - real.numpy())
    norms = np.sqrt((numpy_slopes(between, *tanh_weights()) ** 2).sum(axis=1))
    expected = 10 * (((norms - target) / target) ** 2).mean()
    value = WassersteinLoss(target=target).regulariser(own_critic(), real, fake, mix)
    assert value.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("loss", REGULARISED[1:], ids=name_of)
def test_the_r1_regulariser_equals_numpy_and_looks_at_real_images_only(loss: Any) -> None:
    real, fake, mix = batch()
    expected = loss.interval * loss.r1 / 2 * (numpy_slopes(real.numpy(), *tanh_weights()) ** 2).sum(axis=1).mean()
    assert loss.regulariser(own_critic(), real, fake, mix).item() == pytest.approx(expected, rel=1e-12)
    changed = loss.regulariser(own_critic(), real, fake * torch.nan, mix * torch.nan)
    assert changed.item() == pytest.approx(expected, rel=1e-12)


def test_slopes_equal_finite_differences_of_the_scores() -> None:
    real, critic, step = batch()[0], own_critic(), 1e-6
    slopes = torch.zeros(SHAPE[0], 32, dtype=torch.float64)
    for pixel in range(32):
        shift = torch.zeros(32, dtype=torch.float64)
        shift[pixel] = step / 2  # a step in [-1, 1] is half as long in [0, 1]
        shift = shift.reshape(SHAPE[1:])
        slopes[:, pixel] = (critic(real + shift) - critic(real - shift)) / (2 * step)
    expected = 5 * 16 * slopes.square().sum(dim=1).mean()
    torch.testing.assert_close(NonSaturatingLoss().regulariser(critic, *batch()), expected, rtol=1e-7, atol=0)


def test_each_pair_is_mixed_by_its_own_weight() -> None:
    # score = |x|^2 / 2 has the gradient x itself, so the penalty reveals the mixed points
    real, fake = torch.ones(2, 1, 1, 1), torch.full((2, 1, 1, 1), 5.0)
    penalty = gradient_penalty(lambda x: x.square().sum(dim=(1, 2, 3)) / 2, real, fake, torch.tensor([0.0, 0.5]))
    assert penalty.item() == pytest.approx(((1 - 1) ** 2 + (3 - 1) ** 2) / 2)


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_second_derivatives_agree_with_finite_differences(loss: AdversarialLoss) -> None:
    first, second = (torch.from_numpy(weight).requires_grad_() for weight in tanh_weights())
    value = lambda a, b: loss.regulariser(tanh_critic(a, b), *batch())  # noqa: E731
    assert torch.autograd.gradcheck(value, (first, second))


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_lazy_regularisation_makes_up_for_the_steps_between(loss: Any) -> None:
    once = replace(loss, interval=1).regulariser(own_critic(), *batch())
    lazy = replace(loss, interval=8).regulariser(own_critic(), *batch())
    torch.testing.assert_close(lazy, 8 * once, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_the_regulariser_under_autocast_is_float32_and_near_the_exact_one(loss: AdversarialLoss) -> None:
    first, second = (torch.from_numpy(weight) for weight in tanh_weights())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        critic = tanh_critic(first.float(), second.float())
        assert critic(batch()[0].float()).dtype == torch.bfloat16
        value = loss.regulariser(critic, *(x.float() for x in batch()))
    assert value.dtype == torch.float32
    exact = loss.regulariser(tanh_critic(first, second), *batch())
    torch.testing.assert_close(value.double(), exact, rtol=0.03, atol=0)


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_a_dead_critic_has_finite_gradients(loss: AdversarialLoss) -> None:
    weight = torch.zeros(2, 4, 4, dtype=torch.float64, requires_grad=True)
    loss.regulariser(lambda x: (x * weight).sum(dim=(1, 2, 3)), *batch()).backward()
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("loss", REGULARISED, ids=name_of)
def test_no_gradient_reaches_the_images(loss: AdversarialLoss) -> None:
    real, fake, mix = batch()
    real.requires_grad_(True)
    fake.requires_grad_(True)
    first, second = (torch.from_numpy(weight).requires_grad_() for weight in tanh_weights())
    loss.regulariser(tanh_critic(first, second), real, fake, mix).backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert real.grad is None
    assert fake.grad is None


@pytest.mark.parametrize(
    "loss", [WassersteinLoss(penalty=0), NonSaturatingLoss(r1=0), HingeLoss(), LeastSquaresLoss()], ids=name_of
)
def test_a_weight_of_zero_asks_the_critic_nothing(loss: AdversarialLoss) -> None:
    def critic(images: Tensor) -> Tensor:
        raise AssertionError("not to be called")

    value = loss.regulariser(critic, *batch())
    assert value.item() == 0
    value.backward()  # a trainer need not know


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        *[(WassersteinLoss, {key: -1.0}) for key in ("penalty", "drift")],
        *[(WassersteinLoss, {"target": value}) for value in (0.0, -1.0, float("nan"), float("inf"))],
        *[(kind, {"interval": 0}) for kind in (WassersteinLoss, NonSaturatingLoss, HingeLoss, LeastSquaresLoss)],
        *[(kind, {"r1": -1.0}) for kind in (NonSaturatingLoss, HingeLoss, LeastSquaresLoss)],
        (WassersteinLoss, {"penalty": float("nan")}),
        (NonSaturatingLoss, {"r1": float("inf")}),
    ],
)
def test_bad_weights_are_refused(loss: type, arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"^{loss.__name__}\({next(iter(arguments))}\): must be "):
        loss(**arguments)


# --- The discriminator's own classifier ---


def test_the_auxiliary_loss_equals_numpy_on_the_known_labels() -> None:
    logits, labels = rand(6, 14, seed=12) * 6 - 3, (rand(6, 14, seed=13) < 0.3).double()
    labels[rand(6, 14, seed=14) < 0.4] = torch.nan
    positive = 1 / (1 + np.exp(-logits.numpy()))
    terms = np.where(labels.numpy() == 1, np.log(positive), np.log(1 - positive))
    expected = -terms[~np.isnan(labels.numpy())].mean()
    assert auxiliary_loss(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_the_auxiliary_loss_of_low_precision_logits_is_float32() -> None:
    logits = (rand(6, 14, seed=15) * 6 - 3).bfloat16()
    labels = (rand(6, 14, seed=16) < 0.3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = auxiliary_loss(logits, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), auxiliary_loss(logits.double(), labels.double()), rtol=1e-5, atol=0)

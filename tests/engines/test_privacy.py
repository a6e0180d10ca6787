"""Differential privacy: clipping, noise and account against loops, moments, closed forms and opacus itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from monai_cxraug.engines.privacy import Privacy
from monai_cxraug.errors import ConfigError

accountants = pytest.importorskip("opacus.accountants")

WEIGHTS = [torch.zeros(40, 50), torch.zeros(7), torch.zeros(300, 400)]


def gradients(n: int, seed: int = 0) -> list[list[torch.Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    return [
        [torch.randn(one.shape, generator=draws, dtype=torch.float64) * 10 ** (k - 2) for one in WEIGHTS]
        for k in range(n)
    ]


# --- the mechanism ---


def test_the_sum_is_of_clipped_gradients() -> None:
    privacy, given = Privacy(50, noise=1e-13, clip=3.0, secret=1), gradients(5)
    expected = [np.zeros(one.shape) for one in WEIGHTS]
    for one in given:
        length = math.sqrt(sum(float((part**2).sum()) for part in one))
        for total, part in zip(expected, one, strict=True):
            total += part.numpy() * min(1.0, 3.0 / length) / 8
    found = privacy.sanitise(given, [one.double() for one in WEIGHTS], 8)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left.numpy(), right, rtol=1e-9, atol=1e-12)


def test_small_gradients_stay_and_nothing_is_divided_by_zero() -> None:
    privacy = Privacy(50, clip=2.0, secret=1)
    assert float(privacy.factor([torch.tensor([0.3, 0.4])])) == 1
    assert float(privacy.factor([torch.zeros(3)])) == 1
    assert float(privacy.factor([torch.tensor([3.0]), torch.tensor([4.0])])) == pytest.approx(0.4)


def test_the_noise_has_its_deviation() -> None:
    privacy = Privacy(50, noise=1.5, clip=0.2, secret=3)
    first, again = (torch.cat([one.flatten() for one in privacy.sanitise([], WEIGHTS, 4)]) for _ in range(2))
    assert torch.equal(first, again)  # a step that is done again after a kill shows nothing new
    privacy.account(4)
    later = torch.cat([one.flatten() for one in privacy.sanitise([], WEIGHTS, 4)])
    scaled = torch.cat([first, later]).double().numpy() * 4 / (1.5 * 0.2)
    n = len(scaled)
    assert abs(scaled.mean()) < 4 / math.sqrt(n)
    assert abs((scaled**2).mean() - 1) < 4 * math.sqrt(2 / n)
    assert abs((scaled**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert abs(np.corrcoef(first, later)[0, 1]) < 4 / math.sqrt(n / 2)


def test_every_training_has_a_secret_of_its_own() -> None:
    one, two = Privacy(50), Privacy(50)
    assert one.secret != two.secret
    assert not torch.equal(one.sanitise([], WEIGHTS, 4)[0], two.sanitise([], WEIGHTS, 4)[0])
    assert one.record()["holds"]
    known = Privacy(50, secret=1)
    assert not known.record()["holds"]
    assert "no guarantee" in known.describe()


# --- the account ---


def to_epsilon(divergence: np.ndarray, orders: np.ndarray, delta: float) -> float:
    """From Renyi divergences to epsilon (Canonne, Kamath and Steinke 2020, proposition 12), written out."""
    return float((divergence + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)).min())


def exact_delta(epsilon: float, noise: float) -> float:
    """Delta of one Gaussian mechanism (Balle and Wang 2018, theorem 8)."""
    shift = 1 / (2 * noise)
    return float(norm.cdf(shift - epsilon * noise) - math.exp(epsilon) * norm.cdf(-shift - epsilon * noise))


@pytest.mark.parametrize("noise", [0.8, 1.0, 2.0, 5.0])
def test_one_step_on_everybody_is_a_gaussian_mechanism(noise: float) -> None:
    privacy = Privacy(100, noise=noise, delta=1e-5)
    privacy.account(100)
    epsilon = privacy.epsilon()
    orders = np.array(accountants.RDPAccountant.DEFAULT_ALPHAS)
    assert epsilon == pytest.approx(to_epsilon(orders / (2 * noise**2), orders, 1e-5), rel=1e-9)
    assert exact_delta(epsilon, noise) <= 1e-5  # the bound holds
    assert exact_delta(0.7 * epsilon, noise) > 1e-5  # and is not far from the truth


def test_steps_on_everybody_compose_like_less_noise() -> None:
    many, one = Privacy(100, noise=4.0, delta=1e-5), Privacy(100, noise=1.0, delta=1e-5)
    for _ in range(16):
        many.account(100)
    one.account(100)
    assert many.history == [(4.0, 1.0, 16)]
    assert many.epsilon() == pytest.approx(one.epsilon(), rel=1e-9)


@pytest.mark.parametrize(("share", "noise", "steps"), [(0.02, 1.0, 1000), (0.1, 2.0, 200), (0.01, 1.5, 5000)])
def test_samples_cost_what_the_binomial_sum_says(share: float, noise: float, steps: int) -> None:
    privacy = Privacy(1000, noise=noise, delta=1e-4)
    for _ in range(steps):
        privacy.account(round(1000 * share))
    orders = np.arange(2, 64)
    sums = []
    for order in orders:
        k = np.arange(order + 1)
        ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        sums.append(logsumexp(ways + (order - k) * np.log1p(-share) + k * np.log(share) + k * (k - 1) / (2 * noise**2)))
    expected = to_epsilon(steps * np.array(sums) / (orders - 1), orders, 1e-4)
    assert privacy.epsilon() <= expected + 1e-9  # it may choose among orders that are no whole numbers too
    assert privacy.epsilon() == pytest.approx(expected, rel=0.03)
    own = accountants.RDPAccountant()
    for _ in range(steps):
        own.step(noise_multiplier=noise, sample_rate=share)
    assert privacy.epsilon() == own.get_epsilon(delta=1e-4)


def test_batches_of_several_sizes() -> None:
    privacy = Privacy(100, delta=1e-3)
    for size in (4, 4, 2, 2, 2, 4):
        privacy.account(size)
    assert privacy.history == [(1.0, 0.04, 2), (1.0, 0.02, 3), (1.0, 0.04, 1)]
    assert privacy.steps == 6
    record = privacy.record()
    assert (record["unit"], record["steps"], record["delta"]) == ("patient", 6, 1e-3)
    assert record["epsilon"] == privacy.epsilon() > 0
    with pytest.raises(ConfigError, match=r"at most the number of patients \(100\); found 101"):
        privacy.account(101)


def test_it_is_restored() -> None:
    privacy = Privacy(100)
    for size in (4, 4, 2):
        privacy.account(size)
    other = Privacy(100)
    other.load_state_dict(privacy.state_dict())
    assert torch.equal(other.sanitise([], WEIGHTS, 4)[2], privacy.sanitise([], WEIGHTS, 4)[2])
    assert other.epsilon() == privacy.epsilon()
    assert other.rng(8, 3).random() == privacy.rng(8, 3).random()
    assert Privacy(100).epsilon() == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"patients": 1}, "privacy patients: must be at least 2"),
        ({"noise": 0.0}, "privacy noise: must be above 0"),
        ({"clip": math.inf}, "privacy clip: must be above 0 and finite"),
        ({"delta": 0.02}, r"below one over the number of patients \(50\); found 0.02"),
        ({"delta": 0.0}, "privacy delta: must be above 0"),
    ],
)
def test_what_is_refused(given: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Privacy(**{"patients": 50, **given})


def test_without_opacus_it_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opacus.accountants", None)
    with pytest.raises(
        ConfigError, match=r"needs the package opacus; found none; pip install 'monai-cxraug\[privacy\]'"
    ):
        Privacy(50)

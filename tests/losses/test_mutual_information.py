"""InfoGAN's bound against torch.distributions in float64, and against exact mutual information."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, Uniform

from monai_cxraug.losses.mutual_information import categorical_information, gaussian_information

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def draws(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("choices", [2, 7])
def test_a_category_s_bound_is_likelihood_plus_entropy(choices: int) -> None:
    logits, chosen = 3 * draws(20, choices), torch.arange(20) % choices
    entropy = Categorical(torch.full((choices,), 1.0 / choices, dtype=torch.float64)).entropy()
    expected = Categorical(logits=logits).log_prob(chosen) + entropy
    hot = torch.eye(choices, dtype=torch.float64)[chosen]
    torch.testing.assert_close(categorical_information(logits, hot), expected, **EXACT)


def test_continuous_codes_bound_is_likelihood_plus_entropy() -> None:
    mean, deviation, codes = draws(20, 3), draws(20, 3, seed=1).exp(), 2 * torch.rand(20, 3, dtype=torch.float64) - 1
    entropy = 3 * Uniform(-torch.ones((), dtype=torch.float64), torch.ones((), dtype=torch.float64)).entropy()
    expected = Independent(Normal(mean, deviation), 1).log_prob(codes) + entropy
    torch.testing.assert_close(gaussian_information(mean, deviation.log(), codes), expected, **EXACT)


def test_a_certain_reader_knows_the_whole_category_and_a_blind_one_nothing() -> None:
    hot = torch.eye(5, dtype=torch.float64)
    assert categorical_information(1e4 * hot, hot).mean().item() == pytest.approx(math.log(5))
    torch.testing.assert_close(categorical_information(torch.zeros(5, 5), hot), torch.zeros(5), atol=1e-6, rtol=0)


def test_the_bound_is_below_mutual_information_and_reached_by_the_true_posterior() -> None:
    """A channel from 4 equally likely codes to 6 images; expectations are exact sums."""
    rng = np.random.default_rng(0)
    given = rng.dirichlet(np.ones(6), 4)  # p(x | c)
    joint = given / 4
    marginal = joint.sum(axis=0)
    information = (joint * np.log(joint / (marginal / 4))).sum()
    posterior = joint / marginal
    hot = torch.eye(4, dtype=torch.float64)

    def bound(q: np.ndarray) -> float:  # [4, 6]
        pairs = [(c, x) for c in range(4) for x in range(6)]
        logits = torch.from_numpy(np.log(np.array([q[:, x] for _, x in pairs])))
        values = categorical_information(logits, torch.stack([hot[c] for c, _ in pairs]))
        return float((values.numpy() * np.array([joint[c, x] for c, x in pairs])).sum())

    assert bound(posterior) == pytest.approx(information, rel=1e-12)
    for seed in range(20):
        other = np.random.default_rng(seed).dirichlet(np.ones(4), 6).T
        assert bound(other) < information


def test_no_gradient_flows_into_codes_that_need_none_and_all_of_it_into_q() -> None:
    mean, deviation = draws(4, 2).requires_grad_(), draws(4, 2, seed=1).requires_grad_()
    codes = draws(4, 2, seed=2)
    gaussian_information(mean, deviation, codes).sum().backward()
    precision = torch.exp(-2 * deviation.detach())
    torch.testing.assert_close(mean.grad, (codes - mean.detach()) * precision, **EXACT)
    torch.testing.assert_close(deviation.grad, (codes - mean.detach()) ** 2 * precision - 1, **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    logits, hot = draws(9, 3, dtype=dtype), torch.eye(3)[torch.arange(9) % 3]
    found = categorical_information(logits, hot)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), categorical_information(logits.double(), hot), rtol=1e-5, atol=1e-6)
    found = gaussian_information(logits, logits, hot)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), gaussian_information(*[logits.double()] * 2, hot), rtol=1e-5, atol=1e-5)

"""The masked loss against torch's own on the known entries, in float64; the unknown leave no trace."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from monai_cxraug.losses.imbalance import MaskedBCE


def batch(seed: int, unknown: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64) * 3
    labels = (torch.rand(6, 4, generator=generator) < 0.3).double()
    labels[torch.rand(6, 4, generator=generator) < unknown] = torch.nan
    return logits.requires_grad_(), labels


@pytest.mark.parametrize("unknown", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_torchs_on_the_known_entries(seed: int, unknown: float) -> None:
    logits, labels = batch(seed, unknown)
    known = ~labels.isnan()
    assert known.any()
    loss = MaskedBCE()(logits, labels)
    loss.backward()
    reference = logits.detach().clone().requires_grad_()
    expected = binary_cross_entropy_with_logits(reference[known], labels[known])
    expected.backward()
    assert torch.allclose(loss, expected, atol=1e-14)
    assert torch.allclose(logits.grad, reference.grad, atol=1e-14)
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()


def test_what_is_said_of_the_unknown_is_irrelevant() -> None:
    logits, labels = batch(1, 0.5)
    other = torch.where(labels.isnan(), torch.full_like(logits, 1e6), logits)
    assert torch.equal(MaskedBCE()(logits, labels), MaskedBCE()(other, labels))


def test_a_batch_of_unknowns_costs_nothing() -> None:
    logits, labels = batch(0, 0.0)
    loss = MaskedBCE()(logits, torch.full_like(labels, torch.nan))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))

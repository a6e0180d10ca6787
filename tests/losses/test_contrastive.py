"""The loss of pairs against its equation in double precision, written out for each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.losses.contrastive import SamePatientLoss


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_it_is_the_equation(temperature: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0.0
    for k in range(10):
        mate = k + 1 if k % 2 == 0 else k - 1
        others = [np.exp(unit[k] @ unit[j] / temperature) for j in range(10) if j != k]
        total -= np.log(np.exp(unit[k] @ unit[mate] / temperature) / np.sum(others)) / 10
    found = SamePatientLoss(temperature)(torch.from_numpy(vectors), None)
    assert float(found) == pytest.approx(total, rel=1e-4)


def test_pairs_come_together() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(8, 4, requires_grad=True)
    loss = SamePatientLoss()
    before = loss(vectors)
    (slope,) = torch.autograd.grad(before, vectors)
    assert loss(vectors - 0.01 * slope) < before


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="in pairs of a patient; found 3"):
        SamePatientLoss()(torch.zeros(3, 2))
    for temperature in (0.0, 0.01, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="temperature"):
            SamePatientLoss(temperature)

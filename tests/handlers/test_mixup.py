"""Mixed batches: what is mixed, what stays unknown, and that only seed and iteration decide."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from scipy import stats
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.mixup import MixUp, mix
from monai_cxraug.losses.imbalance import (
    AlphaBCE,
    AsymmetricBCE,
    AUCMarginLoss,
    ClassBalancedBCE,
    FocalBCE,
    LDAMLoss,
    LogitAdjustedLoss,
    MaskedBCE,
    MaskedLoss,
)

NAN = float("nan")
Batch = dict[str, Any]


def batches(count: int) -> list[Batch]:
    torch.manual_seed(0)
    return [
        {"image": torch.rand(5, 1, 3, 3), "label": torch.randint(0, 2, (5, 2)).float(), "name": list("abcde")}
        for _ in range(count)
    ]


def run(handler: MixUp, data: list[Batch], resumed_at: int = 0) -> list[Batch]:
    seen: list[Batch] = []
    engine = Engine(lambda engine, batch: seen.append(batch))
    handler.attach(engine)
    engine.load_state_dict({"iteration": resumed_at, "max_epochs": 1, "epoch_length": len(data)})
    engine.run(data)
    return seen


def test_a_batch_is_mixed_with_itself_in_another_order() -> None:
    handler, data = MixUp(MaskedBCE(), 1.0, seed=3), batches(4)
    for iteration, (found, before) in enumerate(zip(run(handler, data), data, strict=True), start=1):
        share, partners = handler.draw(iteration, 5)
        for key in ("image", "label"):
            one, other = before[key].double().numpy(), before[key].double().numpy()[partners]
            np.testing.assert_allclose(found[key].numpy(), share * one + (1 - share) * other, atol=1e-6)
        assert found["name"] == list("abcde")
        assert sorted(partners) == list(range(5))
    assert torch.equal(batches(4)[0]["image"], data[0]["image"])  # the loader's own are left as they were


@pytest.mark.parametrize("resumed_at", range(5))
def test_a_resumed_training_mixes_as_it_would_have(resumed_at: int) -> None:
    data = batches(5)
    whole = run(MixUp(MaskedBCE(), seed=1), data)
    rest = data[resumed_at:] + data[:resumed_at]  # the loader goes on with the batch that is due
    resumed = run(MixUp(MaskedBCE(), seed=1), rest, resumed_at)
    for one, other in zip(whole[resumed_at:], resumed, strict=False):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_those_of_the_beta_distribution(alpha: float) -> None:
    handler = MixUp(MaskedBCE(), alpha)
    shares = np.array([handler.draw(number, 3)[0] for number in range(1, 3001)])
    inside = shares[(shares > 0) & (shares < 1)]
    assert inside.min() >= 1 / 256
    assert inside.max() <= 255 / 256
    beta = stats.beta(alpha, alpha)
    edge = beta.cdf(1 / 256)
    assert (shares == 0).mean() == pytest.approx(edge, abs=0.03)
    assert (shares == 1).mean() == pytest.approx(edge, abs=0.03)
    truncated = stats.kstest(inside, lambda x: (beta.cdf(x) - edge) / (1 - 2 * edge))
    assert truncated.pvalue > 0.001
    assert len({handler.draw(number, 3)[0] for number in range(20)} | {MixUp(MaskedBCE(), 1.0, 9).draw(1, 3)[0]}) > 8


def test_a_mixed_label_is_known_where_both_are() -> None:
    labels = torch.tensor([[1.0, NAN, 0.0], [0.0, 1.0, NAN], [NAN, 0.0, 1.0]])
    images, partners = torch.rand(3, 1, 2, 2), torch.tensor([1, 2, 0])
    mixed = mix(images, labels, 0.75, partners)[1]
    expected = torch.tensor([[0.75, NAN, NAN], [NAN, 0.75, NAN], [NAN, NAN, 0.75]])
    torch.testing.assert_close(mixed, expected, equal_nan=True)
    for share, wanted in ((1.0, labels), (0.0, labels[partners])):  # who has no share has no say
        torch.testing.assert_close(mix(images, labels, share, partners)[1], wanted, equal_nan=True)


LOSSES: list[MaskedLoss] = [
    MaskedBCE(),
    AlphaBCE([0.9, 0.3]),
    ClassBalancedBCE([3, 5], [30, 50]),
    FocalBCE(2.0, 0.7),
    FocalBCE(1.5),
    AsymmetricBCE(1.0, 4.0, 0.05),
    LDAMLoss([3, 5], [30, 50]),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@given(share=st.floats(0, 1), seed=st.integers(0, 100))
def test_losses_of_mixed_labels_are_mixed_losses(loss: MaskedLoss, share: float, seed: int) -> None:
    """As the paper's code has it: the share of the loss against one label, and the rest against the other."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 2, generator=rng, dtype=torch.float64) * 3
    one, other = (torch.randint(0, 2, (6, 2), generator=rng).double() for _ in range(2))
    for reweighted in (False, True) if isinstance(loss, LDAMLoss) else (False,):
        if isinstance(loss, LDAMLoss):
            loss.reweighted = reweighted
        mixed = loss(logits, share * one + (1 - share) * other)
        expected: Tensor = share * loss(logits, one) + (1 - share) * loss(logits, other)
        torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("loss", [AUCMarginLoss([3], [4]), LogitAdjustedLoss([3, 4]), torch.nn.BCEWithLogitsLoss()])
def test_losses_of_whole_labels_are_refused(loss: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match=f"labels between 0 and 1; found {type(loss).__name__}"):
        MixUp(loss)


@pytest.mark.parametrize("alpha", [0, -1, NAN])
def test_alphas_that_cannot_be(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha must be above 0"):
        MixUp(MaskedBCE(), alpha)


def test_it_is_done_before_the_step_and_for_every_iteration() -> None:
    assert Events.ITERATION_STARTED.value == "iteration_started"
    found = run(MixUp(MaskedBCE(), 1.0), batches(6))
    assert not any(torch.equal(one["image"], two["image"]) for one, two in itertools.combinations(found, 2))

"""The losses for rare findings against formulas in NumPy's double precision, MONAI and torch; and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.losses import AUCMLoss, FocalLoss
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.imbalance import (
    AlphaBCE,
    AsymmetricBCE,
    AUCMarginLoss,
    ClassBalancedBCE,
    FocalBCE,
    LDAMLoss,
    LogitAdjustedLoss,
    MaskedBCE,
    effective_number_weights,
    inverse_frequency,
)

Array = NDArray[np.float64]
POSITIVES, NEGATIVES = (20.0, 5.0, 300.0), (380.0, 395.0, 100.0)


def draw(seed: int = 0, unknown: float = 0.3, n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 3, generator=generator, dtype=torch.float64) * 3
    labels = (torch.rand(n, 3, generator=generator) < 0.4).double()
    labels[torch.rand(n, 3, generator=generator) < unknown] = torch.nan
    return logits.requires_grad_(), labels


def reweighted() -> LDAMLoss:
    loss = LDAMLoss(POSITIVES, NEGATIVES, margin=0.7, scale=3.0, beta=0.99)
    loss.reweighted = True
    return loss


LOSSES: dict[str, Callable[[], nn.Module]] = {
    "bce": MaskedBCE,
    "alpha": lambda: AlphaBCE(0.75),
    "alphas": lambda: AlphaBCE([0.2, 0.5, 0.9]),
    "class-balanced": lambda: ClassBalancedBCE(POSITIVES, NEGATIVES, beta=0.99),
    "focal": lambda: FocalBCE(gamma=2.0),
    "focal, small gamma": lambda: FocalBCE(gamma=0.5, alpha=[0.25, 0.5, 0.75]),
    "asymmetric": lambda: AsymmetricBCE(1.0, 4.0, 0.05),
    "asymmetric, small gamma": lambda: AsymmetricBCE(0.5, 0.5, 0.2),
    "asymmetric, no clip": lambda: AsymmetricBCE(0.0, 2.0, 0.0),
    "ldam": lambda: LDAMLoss(POSITIVES, NEGATIVES, margin=0.7, scale=3.0),
    "ldam, deferred": reweighted,
}


def expected_terms(name: str, z: Array, t: Array) -> Array:
    """Formulas of the papers, written out."""
    p = 1 / (1 + np.exp(-z))
    yes, no = -np.log(p), -np.log(1 - p)
    n1, n0 = np.array(POSITIVES), np.array(NEGATIVES)
    cb1, cb0 = (0.01 / (1 - 0.99**n) for n in (n1, n0))
    cb1, cb0 = 2 * cb1 / (cb1 + cb0), 2 * cb0 / (cb1 + cb0)
    d1, d0 = n1**-0.25, n0**-0.25
    d1, d0 = 0.7 * d1 / np.maximum(d1, d0), 0.7 * d0 / np.maximum(d1, d0)
    # softmax over two classes with logits 0 and z, the wanted one's logit lowered by its margin
    ldam1 = -np.log(np.exp(3 * (z - d1)) / (np.exp(3 * (z - d1)) + 1))
    ldam0 = -np.log(np.exp(-3 * d0) / (np.exp(-3 * d0) + np.exp(3 * z)))
    alphas, small = np.array([0.2, 0.5, 0.9]), np.array([0.25, 0.5, 0.75])
    q5, q2 = np.maximum(p - 0.05, 0), np.maximum(p - 0.2, 0)
    pairs = {
        "bce": (yes, no),
        "alpha": (0.75 * yes, 0.25 * no),
        "alphas": (alphas * yes, (1 - alphas) * no),
        "class-balanced": (cb1 * yes, cb0 * no),
        "focal": ((1 - p) ** 2 * yes, p**2 * no),
        "focal, small gamma": (small * (1 - p) ** 0.5 * yes, (1 - small) * p**0.5 * no),
        "asymmetric": ((1 - p) * yes, q5**4 * -np.log(1 - q5)),
        "asymmetric, small gamma": ((1 - p) ** 0.5 * yes, q2**0.5 * -np.log(1 - q2)),
        "asymmetric, no clip": (yes, p**2 * no),
        "ldam": (ldam1, ldam0),
        "ldam, deferred": (cb1 * ldam1, cb0 * ldam0),
    }
    present, absent = pairs[name]
    return np.where(t == 1, present, absent)


@pytest.mark.parametrize("name", LOSSES)
def test_value_is_the_mean_of_the_papers_terms_over_known_labels(name: str) -> None:
    logits, labels = draw()
    known = ~labels.isnan().numpy()
    expected = expected_terms(name, logits.detach().numpy(), labels.numpy())[known].mean()
    # buffers of weights are float32
    assert LOSSES[name]()(logits, labels).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    logits, labels = draw(n=5)
    assert torch.autograd.gradcheck(LOSSES[name]().double(), (logits, labels))


@pytest.mark.parametrize("name", [*LOSSES, "auc"])
def test_unknown_labels_leave_no_trace(name: str) -> None:
    loss = AUCMarginLoss(POSITIVES, NEGATIVES) if name == "auc" else LOSSES[name]()
    logits, labels = draw(1, unknown=0.5)
    other = torch.where(labels.isnan(), torch.full_like(logits, 1e6), logits)
    value = loss(logits, labels)
    value.backward()
    assert torch.equal(value, loss(other, labels))
    assert logits.grad is not None
    assert (logits.grad[labels.isnan()] == 0).all()
    nothing = loss(logits, torch.full_like(labels, torch.nan))
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("name", [*LOSSES, "auc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extreme_logits_have_finite_values_and_gradients(name: str, dtype: torch.dtype, size: float) -> None:
    loss = AUCMarginLoss(POSITIVES, NEGATIVES) if name == "auc" else LOSSES[name]()
    logits = torch.tensor([[size, -size, 0.0]] * 2, dtype=dtype).requires_grad_()
    labels = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=dtype)
    value = loss(logits, labels)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_is_monais() -> None:
    logits, labels = draw(2, unknown=0.0)
    monais = FocalLoss(gamma=2.0, alpha=0.3, reduction="mean")(logits[..., None], labels[..., None])
    assert FocalBCE(2.0, 0.3)(logits, labels).item() == pytest.approx(monais.item(), rel=1e-6)


def test_alpha_of_the_courses_worked_example() -> None:
    assert inverse_frequency([25], [75]) == [0.75]
    alpha = inverse_frequency(POSITIVES, NEGATIVES)
    n1, n0 = np.array(POSITIVES), np.array(NEGATIVES)
    np.testing.assert_allclose(np.array(alpha) * n1, (1 - np.array(alpha)) * n0)  # both sides weigh the same


def test_effective_numbers_lie_between_no_weights_and_inverse_frequency() -> None:
    counts = torch.tensor([10.0, 1000.0], dtype=torch.float64)
    assert effective_number_weights(counts, 0.0).tolist() == [1.0, 1.0]
    rare, common = effective_number_weights(counts, 1 - 1e-9).tolist()
    assert rare / common == pytest.approx(100, rel=1e-4)
    assert rare + common == pytest.approx(2)


def test_auc_margin_is_monais_for_each_finding() -> None:
    logits, labels = draw(3)
    loss = AUCMarginLoss(POSITIVES, NEGATIVES, margin=0.8)
    expected = []
    for k, (present, absent) in enumerate(zip(POSITIVES, NEGATIVES, strict=True)):
        known = ~labels[:, k].isnan()
        one = AUCMLoss(0.8, present / (present + absent))
        expected.append(one(torch.sigmoid(logits[known, k : k + 1]), labels[known, k : k + 1]))
    torch.testing.assert_close(loss(logits, labels), torch.stack(expected).mean())


@pytest.mark.parametrize("separated", [False, True])
def test_alphas_gradient_is_turned_round_and_alpha_stays_above_0(separated: bool) -> None:
    labels = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    logits = (labels * 2 - 1) * (5.0 if separated else -5.0)
    ours, monais = AUCMarginLoss([5], [5], margin=0.8), AUCMLoss(0.8, 0.5)
    ours(logits, labels).backward()
    monais(torch.sigmoid(logits), labels).backward()
    finding = ours.findings[0]
    assert (monais.alpha.grad < 0) == separated  # alpha falls where the margin is kept, and grows where it is not
    assert finding.alpha.grad == -monais.alpha.grad
    assert (finding.a.grad, finding.b.grad) == (monais.a.grad, monais.b.grad)
    with torch.no_grad():
        finding.alpha.fill_(-3.0)
    ours(logits, labels)
    assert finding.alpha.item() == 0


def test_auc_margin_separates_a_rare_finding() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 2)
    labels = (x[:, :1] > 1.5).float()
    layer, count = nn.Linear(2, 1), labels.sum().item()
    loss = AUCMarginLoss([count], [400 - count])
    optimizer = torch.optim.SGD([*layer.parameters(), *loss.parameters()], lr=1.0)
    for _ in range(500):
        optimizer.zero_grad()
        loss(layer(x), labels).backward()
        optimizer.step()
    scores = layer(x).detach()[:, 0]
    positive, negative = scores[labels[:, 0] == 1], scores[labels[:, 0] == 0]
    assert (positive[:, None] > negative).float().mean() > 0.98


def test_balanced_softmax_is_the_papers_formula_and_tau_0_cross_entropy() -> None:
    counts = np.array([500.0, 40.0, 3.0])
    z = draw(4)[0].detach()
    labels = torch.eye(3, dtype=torch.float64)[
        torch.randint(0, 3, (len(z),), generator=torch.Generator().manual_seed(1))
    ]
    labels[3, 1] = torch.nan
    keep = ~labels.isnan().any(dim=1).numpy()
    wanted, logits = labels.numpy()[keep].argmax(axis=1), z.numpy()[keep]
    weighed = counts * np.exp(logits)
    expected = -np.log(weighed[np.arange(len(wanted)), wanted] / weighed.sum(axis=1)).mean()
    assert LogitAdjustedLoss(counts.tolist())(z, labels).item() == pytest.approx(expected, rel=1e-6)
    plain = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(wanted))
    assert LogitAdjustedLoss(counts.tolist(), tau=0.0)(z, labels).item() == pytest.approx(plain.item(), rel=1e-6)
    x = z.clone().requires_grad_()
    assert torch.autograd.gradcheck(LogitAdjustedLoss(counts.tolist()).double(), (x, labels))
    assert LogitAdjustedLoss(counts.tolist())(z, torch.full_like(labels, math.nan)).item() == 0


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: AlphaBCE(1.0), "alpha"),
    (lambda: AlphaBCE([0.5, 0.0]), "alpha"),
    (lambda: FocalBCE(gamma=-1), "gamma"),
    (lambda: FocalBCE(gamma=math.nan), "gamma"),
    (lambda: AsymmetricBCE(clip=1.0), "clip"),
    (lambda: AsymmetricBCE(gamma_negative=-0.1), "gamma_negative"),
    (lambda: ClassBalancedBCE([3], [4], beta=1.0), "beta"),
    (lambda: ClassBalancedBCE([3, 0], [4, 7]), "finding 1: 0 and 7"),
    (lambda: ClassBalancedBCE([3], [4, 7]), "1 and 2"),
    (lambda: LDAMLoss([3], [4], margin=-1), "margin"),
    (lambda: inverse_frequency([], []), "0 and 0"),
    (lambda: AUCMarginLoss([5], [0]), "finding 0"),
    (lambda: LogitAdjustedLoss([5, 0]), "finding 1"),
    (lambda: LogitAdjustedLoss([5, 2], tau=-1), "tau"),
    (lambda: AlphaBCE([0.5, 0.5])(*draw()), "2 for 3 findings"),
    (lambda: LDAMLoss([3], [4])(*draw()), "1 for 3 findings"),
    (lambda: LogitAdjustedLoss([5, 2, 1])(*draw(unknown=0.0)), "exactly one class"),
]


@pytest.mark.parametrize(("make", "said"), BAD)
def test_bad_settings_are_one_clear_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)

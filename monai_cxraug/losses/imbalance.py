"""Classification losses for findings that are rare and labels that may be unknown.

Logits are ``[N, K]``; labels ``[N, K]`` of 1 (present), 0 (absent) and NaN (unknown), which contributes neither loss
nor gradient. Losses with a term per label also take labels in between, as mixup makes them: of t between 0 and 1 the
term is t times that of 1 plus 1 - t times that of 0. Every loss is a mean over the known labels of the batch, of a term
per label, so that one learning rate suits all; in the formulas below z is a logit, p = 1 / (1 + exp(-z)), and t the
label. Terms are computed from log p by ``logsigmoid``: finite with finite gradients for every finite logit.

How often a finding occurs is a matter of the training images alone: ``positives`` and ``negatives`` are the numbers of
known labels of each finding in the training manifest (``PackRows.count``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, cast

import torch
from monai.losses import AUCMLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid, softplus

from monai_cxraug.errors import ConfigError

#: weights of a loss: one number for all findings, or one each.
Weights = float | Sequence[float]
_TINY: Final = 1e-8


# --- how rare is a finding? ---


def inverse_frequency(positives: Sequence[float], negatives: Sequence[float]) -> list[float]:
    """Alpha of :class:`AlphaBCE` under which present and absent weigh the same in total.

    With 25 % patients and 75 % normal images a patient weighs 0.75 and a normal image 0.25, the worked example of the
    imbalance course.

    Args:
        positives: training images with each finding.
        negatives: training images without it.

    Returns:
        ``negatives / (positives + negatives)`` of each finding.

    Raises:
        ConfigError: the two differ in length, or a finding is never, or always, present.
    """
    _require_counts("inverse_frequency", positives, negatives)
    return [absent / (present + absent) for present, absent in zip(positives, negatives, strict=True)]


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Weights by the effective number of samples (Cui et al. 2019, arXiv 1901.05555, equation 3).

    Args:
        counts: training images of each class, float64 ``[..., C]``, at least 1.
        beta: in [0, 1); 0 weighs all classes alike, towards 1 by inverse frequency.

    Returns:
        ``(1 - beta) / (1 - beta^n)``, scaled to sum to C along the last axis as in the paper's experiments.

    Raises:
        ConfigError: beta is out of range.
    """
    if not 0 <= beta < 1:
        raise ConfigError("beta", "must be in [0, 1)", beta, "0.999 and 0.9999 are usual")
    weights = (1 - beta) / (1 - beta**counts)
    return weights * counts.shape[-1] / weights.sum(dim=-1, keepdim=True)


# --- one term per label ---


class MaskedLoss(nn.Module, ABC):
    """Mean of a term per known label.

    The mean runs over the known labels of the batch. Unknown targets are replaced before the loss is computed: masking
    afterwards would leave NaN in the gradients.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            logits: ``[N, K]``.
            labels: ``[N, K]`` of 1, 0 or between, and NaN.

        Returns:
            Scalar; 0 when every label of the batch is unknown.
        """
        known = ~torch.isnan(labels)
        losses = self.terms(logits, torch.where(known, labels, torch.zeros_like(labels)))
        return torch.where(known, losses, torch.zeros_like(losses)).sum() / known.sum().clamp(min=1)

    @abstractmethod
    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Map logits and labels in [0, 1], ``[N, K]`` each, to terms ``[N, K]``."""


class _Balanced(MaskedLoss):
    """``-w1 t log p - w0 (1 - t) log(1 - p)`` with weights ``[K]`` or scalar of present and absent findings."""

    present: Tensor
    absent: Tensor

    def __init__(self, present: Tensor, absent: Tensor) -> None:
        super().__init__()
        self.register_buffer("present", present.float(), persistent=False)
        self.register_buffer("absent", absent.float(), persistent=False)

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Weighted binary cross-entropy."""
        _require_findings(type(self).__name__, self.present, logits)
        return -(self.present * targets * logsigmoid(logits) + self.absent * (1 - targets) * logsigmoid(-logits))


class MaskedBCE(_Balanced):
    """Binary cross-entropy: ``-t log p - (1 - t) log(1 - p)``."""

    def __init__(self) -> None:
        super().__init__(torch.ones(()), torch.ones(()))


class AlphaBCE(_Balanced):
    """Alpha-weighted cross-entropy: ``-alpha t log p - (1 - alpha) (1 - t) log(1 - p)``.

    The remedy of the imbalance course. The formula on its slides has a misplaced bracket; this is the one that its
    worked example (patients : normal images weighed 75 : 25) follows.

    Args:
        alpha: weight of a present finding, in (0, 1): one for all, or one each; see :func:`inverse_frequency`.

    Raises:
        ConfigError: alpha is out of range.
    """

    def __init__(self, alpha: Weights) -> None:
        weight = _as_weights("AlphaBCE(alpha)", alpha, above=0, below=1)
        super().__init__(weight, 1 - weight)


class ClassBalancedBCE(_Balanced):
    """Cross-entropy weighted by the effective number of images (Cui et al. 2019, arXiv 1901.05555, section 4).

    Present and absent are two classes of each finding; their weights are :func:`effective_number_weights`.

    Args:
        positives: training images with each finding.
        negatives: training images without it.
        beta: in [0, 1); 0 weighs both alike, towards 1 by inverse frequency.

    Raises:
        ConfigError: counts or beta are out of range.
    """

    def __init__(self, positives: Sequence[float], negatives: Sequence[float], beta: float = 0.9999) -> None:
        super().__init__(*_effective_weights(type(self).__name__, positives, negatives, beta))


class FocalBCE(MaskedLoss):
    """Focal loss: ``-alpha_t (1 - p_t)^gamma log p_t`` (Lin et al. 2017, arXiv 1708.02002, equation 5).

    Args:
        gamma: how much labels that are judged well already are left aside; 0 is cross-entropy.
        alpha: weight of a present finding, in (0, 1), an absent one weighing ``1 - alpha``; None weighs both 1.

    Raises:
        ConfigError: a setting is out of range.
    """

    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: Weights | None = None) -> None:
        super().__init__()
        self.gamma = _require_at_least_zero("FocalBCE(gamma)", gamma)
        weight = None if alpha is None else _as_weights("FocalBCE(alpha)", alpha, above=0, below=1).float()
        self.register_buffer("alpha", weight, persistent=False)

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Focal terms; ``(1 - p_t)^gamma`` as an exponential, whose slope is finite for any gamma."""
        present, absent = self._of(logits), self._of(-logits)
        if self.alpha is None:
            return _between(targets, present, absent)
        _require_findings(type(self).__name__, self.alpha, logits)
        return _between(targets, present * self.alpha, absent * (1 - self.alpha))

    def _of(self, right: Tensor) -> Tensor:
        """The term of a label whose probability is the sigmoid of ``right``."""
        return -torch.exp(self.gamma * logsigmoid(-right)) * logsigmoid(right)


class AsymmetricBCE(MaskedLoss):
    """Asymmetric loss, ASL (Ridnik et al. 2021, arXiv 2009.14119, equation 7).

    ``-(1 - p)^gamma_positive log p`` where present, ``-q^gamma_negative log(1 - q)`` with ``q = max(p - clip, 0)``
    where absent.

    Args:
        gamma_positive: focusing of present findings.
        gamma_negative: focusing of absent ones, usually more.
        clip: probability below which an absent finding costs nothing, in [0, 1).

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(self, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05) -> None:
        super().__init__()
        self.gamma_positive = _require_at_least_zero("AsymmetricBCE(gamma_positive)", gamma_positive)
        self.gamma_negative = _require_at_least_zero("AsymmetricBCE(gamma_negative)", gamma_negative)
        if not 0 <= clip < 1:
            raise ConfigError("AsymmetricBCE(clip)", "must be in [0, 1)", clip, "0.05 is the paper's")
        self.clip = clip

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Asymmetric terms."""
        present = -torch.exp(self.gamma_positive * logsigmoid(-logits)) * logsigmoid(logits)
        return _between(targets, present, self._absent(logits))

    def _absent(self, logits: Tensor) -> Tensor:
        if self.clip == 0:
            return -torch.exp(self.gamma_negative * logsigmoid(logits)) * logsigmoid(-logits)
        shifted = (torch.sigmoid(logits) - self.clip).clamp(min=0)
        # a power below 1 has no slope at zero
        focus = torch.where(shifted > 0, shifted.clamp(min=_TINY) ** self.gamma_negative, torch.zeros_like(shifted))
        return -focus * torch.log1p(-shifted)


class LDAMLoss(MaskedLoss):
    """Label-distribution-aware margins, present against absent (Cao et al. 2019, arXiv 1906.07413, equations 10, 13).

    The margin of a class of n images is proportional to ``n^(-1/4)``; a label's logit must exceed the other's by its
    own. With the two classes' logits 0 and z that is ``softplus(-scale (z - margin_1))`` where present and
    ``softplus(scale (z + margin_0))`` where absent.

    "Deferred re-weighting" trains unweighted first and by :func:`effective_number_weights` from a later step on:
    :class:`~monai_cxraug.handlers.reweighting.DeferReweighting` sets :attr:`reweighted`.

    Args:
        positives: training images with each finding.
        negatives: training images without it.
        margin: the larger of a finding's two margins.
        scale: of the logits. The paper's 30 belongs to normalised features and weights; a plain last layer needs none.
        beta: of the re-weighting, in [0, 1).

    Attributes:
        reweighted: whether the weights apply.

    Raises:
        ConfigError: a setting is out of range.
    """

    margins: Tensor
    weights: Tensor

    def __init__(
        self,
        positives: Sequence[float],
        negatives: Sequence[float],
        margin: float = 0.5,
        scale: float = 1.0,
        beta: float = 0.9999,
    ) -> None:
        super().__init__()
        if margin < 0 or scale <= 0:
            raise ConfigError("LDAMLoss", "margin must be at least 0 and scale above 0", f"{margin}, {scale}")
        weights = torch.stack(_effective_weights(type(self).__name__, positives, negatives, beta))  # [2, K]
        roots = torch.tensor([[*positives], [*negatives]], dtype=torch.float64) ** -0.25
        self.register_buffer("margins", (margin * roots / roots.amax(dim=0)).float(), persistent=False)
        self.register_buffer("weights", weights.float(), persistent=False)
        self.scale, self.reweighted = scale, False

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Terms with margins, weighted once the time has come."""
        _require_findings(type(self).__name__, self.margins[0], logits)
        present = softplus(-self.scale * (logits - self.margins[0]))
        absent = softplus(self.scale * (logits + self.margins[1]))
        if self.reweighted:
            present, absent = present * self.weights[0], absent * self.weights[1]
        return _between(targets, present, absent)


def _between(targets: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    """The term of each label; of one between 0 and 1, of both terms in proportion."""
    return targets * present + (1 - targets) * absent


# --- the area under the curve ---


class AUCMarginLoss(nn.Module):
    """Margin loss of the area under the ROC curve, MONAI's, for each finding (Yuan et al. 2021, arXiv 2012.03173).

    A min-max problem: the means a and b descend with the network while the dual variable alpha ascends. All three are
    parameters of the loss, which the optimiser must be given beside the network's; alpha's gradient is turned round
    here, so any optimiser will do, and it is kept at or above 0.

    Args:
        positives: training images with each finding.
        negatives: training images without it.
        margin: wanted between the scores, probabilities, of present and absent findings.

    Raises:
        ConfigError: counts are out of range.
    """

    def __init__(self, positives: Sequence[float], negatives: Sequence[float], margin: float = 1.0) -> None:
        super().__init__()
        _require_counts(type(self).__name__, positives, negatives)
        shares = [present / (present + absent) for present, absent in zip(positives, negatives, strict=True)]
        self.findings = nn.ModuleList(AUCMLoss(margin, share) for share in shares)
        for finding in self.findings:
            cast(AUCMLoss, finding).alpha.register_hook(torch.neg)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the findings that have a known label in the batch.

        Args:
            logits: ``[N, K]``.
            labels: ``[N, K]`` of 1, 0, NaN.

        Returns:
            Scalar; 0 when every label of the batch is unknown.
        """
        _require_findings(type(self).__name__, logits.new_empty(len(self.findings)), logits)
        scores, known = torch.sigmoid(logits), ~torch.isnan(labels)
        losses = []
        for k, finding in enumerate(self.findings):
            with torch.no_grad():
                cast(AUCMLoss, finding).alpha.clamp_(min=0)
            rows = known[:, k]
            if rows.any():
                losses.append(finding(scores[rows, k : k + 1], labels[rows, k : k + 1]))
        return torch.stack(losses).mean() if losses else (logits * 0).sum()


# --- one finding an image ---


class LogitAdjustedLoss(nn.Module):
    """Softmax cross-entropy of ``z + tau log(prior)``, for sets where an image has exactly one of K classes.

    With tau 1 it is the balanced softmax (Ren et al. 2020, arXiv 2007.10740, equation 3); other values are those of the
    logit-adjusted loss (Menon et al. 2021, arXiv 2007.07314, equation 10). Predictions are made from z alone.

    Args:
        counts: training images of each class, ``[K]``.
        tau: strength; 0 is plain cross-entropy.

    Raises:
        ConfigError: a class has no training image, or tau is negative.
    """

    prior: Tensor

    def __init__(self, counts: Sequence[float], tau: float = 1.0) -> None:
        super().__init__()
        _require_counts(type(self).__name__, counts, counts)
        found = torch.tensor([*counts], dtype=torch.float64)
        strength = _require_at_least_zero("LogitAdjustedLoss(tau)", tau)
        self.register_buffer("prior", (strength * torch.log(found / found.sum())).float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the images whose class is known.

        Args:
            logits: ``[N, K]``.
            labels: ``[N, K]``: one 1 and otherwise 0; an image with any NaN is left out.

        Returns:
            Scalar; 0 when no class is known.

        Raises:
            ConfigError: an image has none or several of the classes.
        """
        _require_findings(type(self).__name__, self.prior, logits)
        known = ~torch.isnan(labels).any(dim=1)
        wanted = labels[known]
        if not ((wanted == 1).sum(dim=1) == 1).all():
            rule = "needs images of exactly one class each"
            raise ConfigError(type(self).__name__, rule, "an image with none or several", "use AlphaBCE instead")
        if not len(wanted):
            return (logits * 0).sum()
        return cross_entropy(logits[known] + self.prior, wanted.argmax(dim=1))


# --- what is refused ---


def _effective_weights(
    where: str, positives: Sequence[float], negatives: Sequence[float], beta: float
) -> tuple[Tensor, Tensor]:
    _require_counts(where, positives, negatives)
    counts = torch.tensor([[*positives], [*negatives]], dtype=torch.float64)  # [2, K]
    present, absent = effective_number_weights(counts.T, beta).T
    return present, absent


def _as_weights(where: str, values: Weights, above: float, below: float) -> Tensor:
    weights = torch.as_tensor(values, dtype=torch.float64)
    if weights.ndim > 1 or not ((weights > above) & (weights < below)).all():
        raise ConfigError(where, f"must be between {above:g} and {below:g}, for all findings or each", values)
    return weights


def _require_at_least_zero(where: str, value: float) -> float:
    if not value >= 0:
        raise ConfigError(where, "must be at least 0", value)
    return value


def _require_counts(where: str, positives: Sequence[float], negatives: Sequence[float]) -> None:
    if not len(positives) or len(positives) != len(negatives):
        found = f"{len(positives)} and {len(negatives)}"
        raise ConfigError(where, "needs as many numbers of present as of absent images", found, "one of each a finding")
    for k, pair in enumerate(zip(positives, negatives, strict=True)):
        if not min(pair) >= 1:
            rule = "every finding must be present and absent in the training images"
            raise ConfigError(where, rule, f"finding {k}: {pair[0]:g} and {pair[1]:g} images", "leave it out")


def _require_findings(where: str, weights: Tensor, logits: Tensor) -> None:
    """A single weight fits all; others must be as many as the findings, or they would be spread over images."""
    if weights.ndim and weights.shape[-1] != logits.shape[1]:
        found = f"{weights.shape[-1]} for {logits.shape[1]} findings"
        raise ConfigError(where, "needs a weight for each finding", found, "make it from the same training set")

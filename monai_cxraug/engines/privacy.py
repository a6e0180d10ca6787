"""Differential privacy: gradients of few patients each, clipped, summed and hidden in noise, and what that costs."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError

#: bits of the secret from which batches and noise are drawn.
_BITS: Final = 128
#: word of the noise's seeds; the batches have another one.
_NOISE: Final = 7


class Privacy:
    """The Gaussian mechanism of DP-SGD and its account (Abadi et al., CCS 2016, algorithm 1).

    A *record* here is a patient: each patient is taken into a batch with the same probability, independently (Poisson
    sampling), with one image (:class:`~monai_cxraug.data.poisson.PoissonPatients`). So the guarantee is for all that a
    patient contributes, however many images that are: with the patient or without, any outcome is at most
    ``exp(epsilon)`` times as likely, but for a probability of delta.

    Batches and noise are functions of a secret and of the number of the step. Whoever knows it can subtract the noise:
    it is drawn anew for each training, lies in the checkpoint alone, and a checkpoint must not be given away. numpy's
    generator is no cryptographic one.

    Args:
        patients: number of patients; it counts as public.
        noise: standard deviation of the noise in units of ``clip``, above 0.
        clip: largest norm of one patient's gradient.
        delta: of the guarantee, below one over the number of patients; a tenth of that by default.
        secret: for tests, which repeat: a training whose secret is known has no guarantee.

    Raises:
        ConfigError: an argument is out of range, or opacus is not installed.
    """

    def __init__(
        self,
        patients: int,
        noise: float = 1.0,
        clip: float = 1.0,
        delta: float | None = None,
        secret: int | None = None,
    ) -> None:
        if patients < 2:
            raise ConfigError("privacy patients", "must be at least 2", patients, "privacy is among others")
        for name, value in (("noise", noise), ("clip", clip)):
            if not 0 < value < math.inf:
                raise ConfigError(f"privacy {name}", "must be above 0 and finite", value, "1 is usual")
        self.delta = 0.1 / patients if delta is None else float(delta)
        if not 0 < self.delta < 1 / patients:
            rule = f"must be above 0 and below one over the number of patients ({patients})"
            raise ConfigError("privacy delta", rule, delta, "leave it out for a tenth of that")
        _make_accountant()  # refuses now what would be missed after hours
        self.patients, self.noise, self.clip = patients, float(noise), float(clip)
        self.secret = secrets.randbits(_BITS) if secret is None else secret
        self.known_secret = secret is not None
        #: steps taken, as (noise, share of the patients in a batch, number of such steps in a row).
        self.history: list[tuple[float, float, int]] = []

    @property
    def steps(self) -> int:
        """Steps taken."""
        return sum(count for _, _, count in self.history)

    def rng(self, *words: int) -> np.random.Generator:
        """A source of randomness that only who knows the secret can repeat."""
        return np.random.default_rng([self.secret, *words])

    def sanitise(self, gradients: Iterable[Sequence[Tensor]], like: Sequence[Tensor], batch_size: int) -> list[Tensor]:
        """Clip the gradient of each patient, sum them up, add noise, and divide by the expected batch size.

        Args:
            gradients: of each patient's loss with respect to some weights; there may be none.
            like: these weights.
            batch_size: patients that are expected in a batch.

        Returns:
            One tensor for each weight; what this step may show of real images.
        """
        total = [torch.zeros_like(one) for one in like]
        for gradient in gradients:
            factor = self.factor(gradient)
            for one, part in zip(total, gradient, strict=True):
                one.add_(part * factor)
        return [(one + drawn) / batch_size for one, drawn in zip(total, self._noise(like), strict=True)]

    def factor(self, gradient: Sequence[Tensor]) -> Tensor:
        """What brings a gradient to the largest norm that is allowed, at most 1."""
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradient]))
        factor: Tensor = (self.clip / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
        return factor

    def _noise(self, like: Sequence[Tensor]) -> Iterator[Tensor]:
        rng = self.rng(_NOISE, self.steps)
        for one in like:
            drawn = torch.from_numpy(rng.standard_normal(tuple(one.shape)))
            yield (drawn * (self.noise * self.clip)).to(one.device, one.dtype)

    def account(self, batch_size: int) -> None:
        """Enter one step with an expected batch of so many patients.

        Raises:
            ConfigError: more than there are.
        """
        if not 0 < batch_size <= self.patients:
            rule, mend = f"must be at most the number of patients ({self.patients})", "lower batch_size"
            raise ConfigError("batch_size", rule, batch_size, mend)
        entry = (self.noise, batch_size / self.patients)
        if self.history and self.history[-1][:2] == entry:
            self.history[-1] = (*entry, self.history[-1][2] + 1)
        else:
            self.history.append((*entry, 1))

    def epsilon(self) -> float:
        """What the steps so far have cost: epsilon at delta, by opacus' accountant of Renyi divergences.

        Sampled Gaussian mechanism (Mironov, Talwar and Zhang 2019, arXiv 1908.10530), for adding or removing a patient.
        """
        if not self.history:
            return 0.0
        accountant = _make_accountant()
        accountant.history = list(self.history)
        return float(accountant.get_epsilon(delta=self.delta))

    def record(self) -> dict[str, Any]:
        """Say what was spent, as plain values, for the model's file."""
        return {
            "epsilon": self.epsilon(),
            "delta": self.delta,
            "unit": "patient",
            "noise": self.noise,
            "clip": self.clip,
            "patients": self.patients,
            "steps": self.steps,
            "sampling": "Poisson over patients, one image each",
            "accountant": "opacus RDP",
            "holds": not self.known_secret,
        }

    def describe(self) -> str:
        """The same in a line."""
        void = "; the secret was given: no guarantee" if self.known_secret else ""
        return f"privacy: epsilon {self.epsilon():.3g} at delta {self.delta:.2g}, per patient, {self.steps} steps{void}"

    def state_dict(self) -> dict[str, Any]:
        """The secret and what was spent."""
        return {"secret": hex(self.secret), "known": self.known_secret, "history": [list(one) for one in self.history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self.secret, self.known_secret = int(state["secret"], 16), bool(state["known"])
        self.history = [(float(noise), float(share), int(count)) for noise, share, count in state["history"]]


def _make_accountant() -> Any:
    try:
        from opacus.accountants import RDPAccountant  # type: ignore[import-untyped]
    except ImportError:
        mend = "pip install 'monai-cxraug[privacy]'"
        raise ConfigError("privacy", "needs the package opacus", "none", mend) from None
    return RDPAccountant()

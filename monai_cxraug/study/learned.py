"""Distances of trained classifiers: as they are, and fitted to judgements without scoring what they were fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.artifacts import file_hash
from monai_cxraug.console import Progress
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.perceptual import PerceptualDistance
from monai_cxraug.networks.weights import Model, load_model
from monai_cxraug.study.distances import Compare, Distance, Pictures, measure, wanted
from monai_cxraug.study.files import Trial

_TINY: Final = 1e-10
#: width of the hidden layers of the ranking network.
_WIDTH: Final = 32


@dataclass(frozen=True)
class Fitting:
    """How a distance learns from judgements.

    Args:
        folds: parts that the patients are dealt into; the distance of a trial comes from weights that were fitted
            without its patient.
        epochs: passes over the forced choices for the channel weights.
        tuned_epochs: passes for the whole network; 0 leaves that distance out.
        rate: learning rate of channel weights and ranking network.
        tuned_rate: learning rate of the classifier's own weights.
        batch: forced choices a step; the paper has 50.
        seed: of folds, ranking network and order.

    Raises:
        ConfigError: a value is out of range.
    """

    folds: int = 5
    epochs: int = 20
    tuned_epochs: int = 0
    rate: float = 0.03
    tuned_rate: float = 1e-5
    batch: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.folds < 2 or self.epochs < 0 or self.tuned_epochs < 0 or self.batch < 1:
            found = f"{self.folds}, {self.epochs}, {self.tuned_epochs}, {self.batch}"
            raise ConfigError("fitting", "needs folds of 2 or more, epochs of 0 or more, batch of 1 or more", found)


@dataclass
class Ruler:
    """A classifier as a distance.

    Args:
        name: for tables.
        model: the classifier.
    """

    name: str
    model: Model
    distance: PerceptualDistance = field(init=False)

    def __post_init__(self) -> None:
        """Put the distance about the network."""
        self.distance = PerceptualDistance(self.model.network)  # type: ignore[arg-type]

    @classmethod
    def load(cls, given: str) -> Ruler:
        """Load a classifier.

        Args:
            given: ``NAME=PLACE``, or a place, whose name is then the architecture's.

        Raises:
            InputError: there is no model.
            StateError: it is not a classifier of ours.
        """
        name, equals, place = given.rpartition("=")
        model = load_model(place, "classifier")
        return cls(name if equals and name else str(model.settings["architecture"]), model)

    @property
    def about(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "architecture": self.model.settings["architecture"],
            "layers": list(self.distance.layers),
            "model": file_hash(self.model.path),
            "size": self.model.about.get("size"),
        }

    def seen(self, trials: Sequence[Trial]) -> int:
        """How many patients of the trials the classifier was trained on."""
        return len({trial.patient_id for trial in trials} & set(self.model.about.get("patients_seen", ())))


# --- plain ---


@dataclass(frozen=True)
class Differences:
    """Squared channel differences of every comparison, computed once: the network does not change.

    Args:
        first: by trial, ``[C]``.
        second: by trial of a forced choice, ``[C]``.
    """

    first: dict[str, Tensor]
    second: dict[str, Tensor]

    @classmethod
    def of(
        cls, ruler: Ruler, pictures: Pictures, trials: Sequence[Trial], progress: Progress | None = None
    ) -> Differences:
        """Compute them.

        Args:
            ruler: the classifier.
            pictures: images of the study.
            trials: forced choices and pairs.
            progress: told (done, total) pairs of images.

        Raises:
            InputError: a difference is not finite, or an image is unreadable or of another size than its partner.
        """
        found, todo, done = cls({}, {}), wanted(trials), 0
        for part, one, two in pictures.batches(todo):
            with torch.no_grad():
                rows = ruler.distance.differences(one, two)
            if not bool(torch.isfinite(rows).all()):
                raise InputError(ruler.model.path, "must see finite differences", "NaN or infinity", "train it again")
            for pair, row in zip(part, rows, strict=True):
                found.both[pair.second][pair.trial.trial] = row
            done += len(part)
            if progress:
                progress(done, len(todo))
        return found

    @property
    def both(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of first and of second images."""
        return self.first, self.second

    def stacked(self, trials: Sequence[Trial]) -> tuple[Tensor, Tensor]:
        """``[T, C]`` of first and of second images."""
        names = [one.trial for one in trials]
        return torch.stack([self.first[name] for name in names]), torch.stack([self.second[name] for name in names])


def plain_distance(ruler: Ruler, differences: Differences) -> Distance:
    """The distance with channel weights of one: the sum of the differences."""
    first, second = ({name: float(row.sum()) for name, row in side.items()} for side in differences.both)
    return Distance(ruler.name, "plain", first, second, ruler.about)


# --- linear ---


def linear_distance(
    ruler: Ruler,
    differences: Differences,
    trials: Sequence[Trial],
    taught: Sequence[Trial],
    shares: NDArray[np.float64],
    how: Fitting,
) -> Distance:
    """Learn non-negative channel weights from forced choices, patients apart.

    Zhang et al., CVPR 2018, "lin": a small network maps both distances to the share of readers who chose the second
    image, and channel weights and network are fitted together by cross-entropy; weights below zero are set to zero
    after each step.

    Args:
        ruler: the classifier.
        differences: of all trials.
        trials: all that a distance is wanted of.
        taught: forced choices with an answer.
        shares: ``[T]`` of ``taught``: readers who chose the second image.
        how: to fit.

    Returns:
        The distance; every trial's comes from weights fitted on other patients only, whose distances have a mean of one
        on the trials they were fitted on.
    """
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    for part in folds(trials, how):
        inside = _outside(taught, part)
        weights = _fit_weights(*differences.stacked([taught[k] for k in inside]), torch.tensor(shares[inside]), how)
        for trial in (one for one in trials if one.patient_id in part):
            for side, source in ((first, differences.first), (second, differences.second)):
                if trial.trial in source:
                    side[trial.trial] = float(source[trial.trial] @ weights)
    return Distance(f"{ruler.name}, linear", "linear", first, second, {**ruler.about, **vars(how)})


def folds(trials: Sequence[Trial], how: Fitting) -> list[set[str]]:
    """Deal patients into parts of about equal size; fewer parts where there are fewer patients.

    Raises:
        ConfigError: there are fewer than two patients.
    """
    patients = sorted({trial.patient_id for trial in trials})
    if len(patients) < 2:
        raise ConfigError("learning from judgements", "needs images of at least two patients", len(patients))
    order = np.random.default_rng(how.seed).permutation(len(patients))
    count = min(how.folds, len(patients))
    return [{patients[k] for k in order[start::count]} for start in range(count)]


def _outside(taught: Sequence[Trial], part: set[str]) -> list[int]:
    """Places of the trials of all other patients."""
    return [k for k, trial in enumerate(taught) if trial.patient_id not in part]


def _fit_weights(one: Tensor, two: Tensor, shares: Tensor, how: Fitting) -> Tensor:
    """Channel weights ``[C]`` from differences ``[T, C]``."""
    scale = (one.sum(dim=1).mean() + two.sum(dim=1).mean()).item() / 2 or 1.0
    one, two = one / scale, two / scale
    generator = torch.Generator().manual_seed(how.seed)
    weights = nn.Parameter(torch.ones(one.shape[1]))
    ranking = Ranking(generator)
    optimiser = torch.optim.Adam([weights, *ranking.parameters()], lr=how.rate)
    for batch in _batches(len(one), how.epochs, how.batch, generator):
        loss = ranking.loss(one[batch] @ weights, two[batch] @ weights, shares[batch].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            weights.clamp_(min=0)
    fitted = weights.detach()
    return fitted / scale / max(_TINY, float((one @ fitted).mean() + (two @ fitted).mean()) / 2)


class Ranking(nn.Module):
    """Two distances to the share of readers who choose the second image.

    Zhang et al., CVPR 2018, section 3.2 and appendix: two hidden layers of 32 and a sigmoid, fitted by cross-entropy.
    It sees the distances, their difference and their ratios. Nothing makes it rise with the distance: where the plain
    distance says nothing about the readers, it may take the far image for the closer one, and the score shows that.

    Args:
        generator: draws the first weights.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, _WIDTH), nn.LeakyReLU(0.2), nn.Linear(_WIDTH, _WIDTH), nn.LeakyReLU(0.2), nn.Linear(_WIDTH, 1)
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """Logits ``[N]`` of distances ``[N]`` each."""
        ratios = (one / (two + 0.1), two / (one + 0.1))  # distances are about 1: the constant bounds the ratios
        logits: Tensor = self.layers(torch.stack([one, two, one - two, *ratios], dim=1))[:, 0]
        return logits

    def loss(self, one: Tensor, two: Tensor, shares: Tensor) -> Tensor:
        """Cross-entropy with the shares; both orders are shown, so that no side is preferred."""
        logits = torch.cat([self(one, two), self(two, one)])
        return F.binary_cross_entropy_with_logits(logits, torch.cat([shares, 1 - shares]))


def _batches(count: int, epochs: int, size: int, generator: torch.Generator) -> list[Tensor]:
    return [part for _ in range(epochs) for part in torch.randperm(count, generator=generator).split(size)]


# --- tuned ---


def tuned_distance(
    ruler: Ruler,
    pictures: Pictures,
    trials: Sequence[Trial],
    taught: Sequence[Trial],
    shares: NDArray[np.float64],
    how: Fitting,
) -> Distance:
    """Learn channel weights and the classifier's own weights from forced choices, patients apart ("tune").

    Args:
        ruler: the classifier; it is as before afterwards.
        pictures: images of the study.
        trials: all that a distance is wanted of.
        taught: forced choices with an answer, all of one size.
        shares: ``[T]`` of ``taught``: readers who chose the second image.
        how: to fit.
    """
    before = {name: value.clone() for name, value in ruler.distance.state_dict().items()}
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    try:
        for part in folds(trials, how):
            ruler.distance.load_state_dict(before)
            inside = _outside(taught, part)
            scale = _tune(ruler.distance, pictures, [taught[k] for k in inside], torch.tensor(shares[inside]), how)
            left_out = [trial for trial in trials if trial.patient_id in part]
            found = measure("", "", _scaled(ruler.distance, scale), pictures, left_out)
            first.update(found.first)
            second.update(found.second)
    finally:
        ruler.distance.load_state_dict(before)
    return Distance(f"{ruler.name}, tuned", "tuned", first, second, {**ruler.about, **vars(how)})


def _scaled(distance: PerceptualDistance, by: float) -> Compare:
    return lambda one, two: distance(one, two) / by


def _tune(
    distance: PerceptualDistance, pictures: Pictures, trials: Sequence[Trial], shares: Tensor, how: Fitting
) -> float:
    """Fit; returns the mean distance over the trials, by which distances are divided."""
    generator = torch.Generator().manual_seed(how.seed)
    ranking, scale = Ranking(generator), _mean_distance(distance, pictures, trials)
    groups = [
        {"params": [*distance.weights, *ranking.parameters()], "lr": how.rate},
        {"params": list(distance.network.parameters()), "lr": how.tuned_rate},
    ]
    optimiser = torch.optim.Adam(groups)
    for batch in _batches(len(trials), how.tuned_epochs, how.batch, generator):
        one, two = _both(distance, pictures, [trials[k] for k in batch.tolist()])
        loss = ranking.loss(one / scale, two / scale, shares[batch].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for weights in distance.weights:
                weights.clamp_(min=0)
    return _mean_distance(distance, pictures, trials)


def _both(distance: PerceptualDistance, pictures: Pictures, trials: Sequence[Trial]) -> tuple[Tensor, Tensor]:
    reference, first, second = (
        torch.stack([pictures(getattr(trial, side)) for trial in trials]) for side in ("reference", "first", "second")
    )
    return distance(reference, first), distance(reference, second)


@torch.no_grad()
def _mean_distance(distance: PerceptualDistance, pictures: Pictures, trials: Sequence[Trial]) -> float:
    values = [
        value for start in range(0, len(trials), 32) for value in _both(distance, pictures, trials[start : start + 32])
    ]
    return max(_TINY, float(torch.cat(values).mean()))

"""The axis of a grid over counts of real images: each count as a fraction of all, and what it leaves to be added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.arms import find_arm
from monai_cxraug.experiments.experiment import ALL, Count, Experiment, TopUp

_KEY = "experiment key 'top_up"


@dataclass(frozen=True)
class Scale:
    """How many real images each fraction of an experiment stands for.

    Args:
        finding: that these images show; of all other images every one stays.
        images: ``(fraction, images)`` of each count, in the order that was declared.
        total: training images that show it, which is fraction 1.
    """

    finding: str
    images: Sequence[tuple[float, int]]
    total: int

    def limit(self, fraction: float) -> dict[str, int]:
        """Finding to the number of real images that stay, where some go."""
        count = dict(self.images)[fraction]
        return {self.finding: count} if count < self.total else {}

    def name(self, fraction: float) -> str:
        """The count in the name of a stage."""
        return f"n{self.limit(fraction).get(self.finding, ALL)}"

    def document(self) -> dict[str, Any]:
        """Plain values for files."""
        return {"finding": self.finding, "images": [list(pair) for pair in self.images], "total": self.total}

    @classmethod
    def parse(cls, document: Mapping[str, Any] | None) -> Scale | None:
        """Read what :meth:`document` gave; None stays None."""
        if document is None:
            return None
        return cls(document["finding"], [(share, count) for share, count in document["images"]], document["total"])


def place_counts(experiment: Experiment, rows: PackRows) -> tuple[Experiment, Scale | None]:
    """Turn the counts of an experiment into fractions of the training images that show its finding.

    Args:
        experiment: what was declared.
        rows: the training images.

    Returns:
        The experiment with ``fractions``, and those of its endpoint and of published values, filled in; and the scale.
        Without ``top_up`` the same experiment and None.

    Raises:
        ConfigError: there are not as many images, a total is too small, or the endpoint's arms are not both trained at
            its count.
    """
    if experiment.top_up is None:
        return experiment, None
    declared = experiment.top_up
    whole = int((rows.manifest.label(declared.finding)[rows.rows] == 1).sum())
    counts = [_require_count(count, whole, f"{_KEY}.real'") for count in declared.real]
    if len({*counts}) < len(counts):
        raise ConfigError(f"{_KEY}.real'", f"{ALL} is {whole} here; a count may stand once", str(counts), "mend it")
    total = top_up_total(declared, whole)
    if total < max(counts):
        mend = "raise the total, or leave out the larger counts"
        raise ConfigError(f"{_KEY}.total'", f"must be at least the largest count ({max(counts)})", total, mend)
    scale = Scale(declared.finding, [(count / whole, count) for count in counts], whole)
    endpoint = replace(experiment.endpoint, fraction=_place_endpoint(experiment, scale, total))
    published = [
        replace(one, fraction=count / whole)
        if one.real is not None and (count := _number(one.real, whole)) <= whole
        else one
        for one in experiment.published
    ]
    fractions = [fraction for fraction, _ in scale.images]
    return replace(experiment, fractions=fractions, endpoint=endpoint, published=published), scale


def top_up_total(declared: TopUp, whole: int) -> int:
    """Images of the finding, real and synthetic, in every cell of an arm that adds some."""
    return whole if declared.total is None else declared.total


def _place_endpoint(experiment: Experiment, scale: Scale, total: int) -> float:
    """The fraction of the endpoint: its own count, or the largest at which both its arms are trained."""
    endpoint = experiment.endpoint
    adding = any(find_arm(arm).adds_images for arm in (endpoint.arm, endpoint.reference))
    trained = {count: fraction for fraction, count in scale.images if count < total or not adding}
    key = "experiment key 'endpoint.real'"
    if not trained:
        raise ConfigError(key, "needs a count at which there is something to add", "none", "add a count to top_up.real")
    wanted = max(trained) if endpoint.real is None else _number(endpoint.real, scale.total)
    if wanted not in trained:
        known = ", ".join(map(str, sorted(trained)))
        rule = "must be a count of top_up.real at which both arms are trained"
        raise ConfigError(key, rule, repr(endpoint.real), f"give one of {known}")
    return trained[wanted]


def _require_count(count: Count, whole: int, where: str) -> int:
    number = _number(count, whole)
    if number > whole:
        rule = "must not be more than the training images that show the finding"
        raise ConfigError(where, rule, f"{number} of {whole}", f"give at most {whole}, or {ALL}")
    return number


def _number(count: Count, whole: int) -> int:
    return whole if isinstance(count, str) else count

"""Membership inference: can who holds a generator's images tell whose radiographs it was trained on?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest, Where
from monai_cxraug.data.pack import channels_of
from monai_cxraug.errors import InputError, LeakageError
from monai_cxraug.metrics.comparison import estimate
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.metrics.resampling import patient_weights, percentile_interval
from monai_cxraug.synthesis.audit import choose_side, choose_training, fit_all
from monai_cxraug.synthesis.critic import Critic
from monai_cxraug.synthesis.nearest import Images, TwinSearch

Array = NDArray[np.float64]

#: share of strangers that an attacker may take for members where "few false alarms" is meant.
FALSE_ALARMS: Final = 0.01
#: with fewer patients on either side nothing can be said about the spread.
LEAST_PATIENTS: Final = 3
#: images of either side that are asked about at most; the standard error of an AUROC is then about 0.01.
_MOST: Final = 2500
_REPLICATES: Final = 1000
_BLOCK: Final = 256

#: the attacks by name, and what each one looks at; ``blind`` is none, it looks at real images alone.
ATTACKS: Final = {
    "distance": "near to a synthetic image (GAN-Leaks, full black box)",
    "calibrated": "nearer to a synthetic image than to the real images of other patients (GAN-Leaks, calibrated)",
    "discriminator": "taken for real by the discriminator (LOGAN)",
}
#: attacks that know nothing of the generator, by name.
BLIND: Final = {
    "blind": "near to the real images of other patients; knows nothing of the generator",
    "average": "near to the mean of all these images; knows nothing of the generator",
}


@dataclass(frozen=True)
class MembershipAudit:
    """Attacks on a generator: each gives real images a score, higher where it guesses "trained on".

    *Members* are real training images of the generator, *strangers* real images of patients that it did not see. They
    are only asked about; nobody's images set a threshold. The attacks are those of :data:`ATTACKS`: the distance to the
    nearest synthetic image or its mirror image (Chen et al., GAN-Leaks, CCS 2020, section 4.2; root mean squared
    difference of pixels), the same less the distance to the nearest real image of another patient, which an image that
    is easy to reproduce has small too (section 4.6), and the discriminator's score (Hayes et al., LOGAN, PETS 2019),
    which only who holds the checkpoint can ask for.

    Beside them stand two that are blind: they look at real images alone. Where one tells members from strangers, these
    are different kinds of images (another hospital, another view, or few patients by chance), and an attack that does
    no better has learnt nothing from the generator.

    Args:
        images: real images, members and strangers, ``[N, side, side]`` or ``[N, side, side, 3]`` in [0, 1].
        patients: ``[N]``.
        member: ``[N]``.
        judged: ``[N]`` scores of the discriminator, or None.
        about: of manifest and checkpoint, for the record.

    Raises:
        InputError: fewer than three patients on either side.
        LeakageError: a patient on both.
    """

    images: Images
    patients: Sequence[str]
    member: NDArray[np.bool_]
    judged: Array | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        people = np.asarray(self.patients, dtype=str)
        inside, outside = (set(people[side].tolist()) for side in (self.member, ~self.member))
        for name, group in (("trained on", inside), ("not trained on", outside)):
            if len(group) < LEAST_PATIENTS:
                rule = f"membership needs {LEAST_PATIENTS} patients that the generator was {name}"
                raise InputError("membership", rule, len(group), "give a manifest with more patients of its finding")
        if shared := sorted(inside & outside):
            found = f"{len(shared)}, for example {shared[0]!r}"
            raise LeakageError("membership", "no patient may be member and stranger", found, "mend the manifest")

    @classmethod
    def of(
        cls,
        about: Mapping[str, Any],
        manifest: str | Path,
        size: int,
        channels: int = 1,
        where: Where | None = None,
        critic: Critic | None = None,
    ) -> MembershipAudit | str:
        """Read members and strangers of a generator: the same finding, the same manifest.

        Args:
            about: what the generator's model file says: ``patients_seen`` and ``finding``.
            manifest: its training images, and real images of patients that it did not see (of any split).
            size: side of its images in pixels.
            channels: of its images.
            where: keep rows whose columns have these values, members and strangers alike.
            critic: its discriminator, where that is at hand.

        Returns:
            The audit, or in words why there can be none.

        Raises:
            ConfigError: the manifest's images have other channels.
        """
        source = PackRows(manifest, where=where)
        source.pack.require_channels(channels)
        table = source.manifest
        if about.get("finding") not in (None, *table.findings):
            return f"the manifest does not know the generator's finding {about['finding']!r}"
        inside, outside = (_draw(rows[np.isin(rows, source.rows)]) for rows in choose_sides(table, about))
        for name, rows in (("saw", inside), ("did not see", outside)):
            if len(table.patients(rows)) < LEAST_PATIENTS:
                return f"the manifest has not {LEAST_PATIENTS} patients that the generator {name} with real images"
        rows = np.concatenate([inside, outside])
        full = min(size, source.size)
        side = choose_side(full, len(rows) * channels)
        images = fit_all((source.pack.image(int(row), full) for row in rows), side, len(rows), channels)
        judged = None if critic is None else _judge(critic, source, rows)
        record = {"manifest": table.hash(), "where": dict(where or {})}
        record |= {} if critic is None else {"checkpoint": critic.sha256}
        return cls(
            images, table["patient_id"][rows].astype(str).tolist(), np.arange(len(rows)) < len(inside), judged, record
        )

    @property
    def side(self) -> int:
        """Side in pixels at which images are compared."""
        return int(self.images.shape[1])

    def attack(self, synthetic: Images) -> dict[str, Array]:
        """Score members and strangers.

        Args:
            synthetic: of the generator, ``[M, H, W]`` or ``[M, H, W, 3]`` in [0, 1], at least one.

        Returns:
            Name to ``[N]``; ``blind`` and ``average`` among them.

        Raises:
            InputError: there is no synthetic image.
        """
        if not len(synthetic):
            raise InputError("membership", "needs synthetic images", "none", "give a synthetic set")
        fitted = fit_all(synthetic, self.side, len(synthetic), channels_of(synthetic.shape))
        made = TwinSearch(fitted)(self.images).distances
        owners = np.unique(np.asarray(self.patients, dtype=str), return_inverse=True)[1].astype(np.int64)
        real = TwinSearch(self.images, owners)(self.images, owners).distances
        apart = np.square(self.images - self.images.mean(axis=0)).reshape(len(self.images), -1).mean(axis=1)
        average = -np.sqrt(apart.astype(np.float64))
        scores = {"distance": -made, "calibrated": real - made, "blind": -real, "average": average}
        return scores | ({} if self.judged is None else {"discriminator": self.judged})

    def report(self, synthetic: Images) -> dict[str, Any]:
        """Attack, and sum up as plain values.

        Args:
            synthetic: as for :meth:`attack`.

        Returns:
            Who was asked about; for each attack ``auroc`` with its 95 % ``interval`` over patients (Obuchowski 1997),
            ``found``, the share of members that it finds where it takes at most 1 % of the strangers for members
            (Carlini et al. 2022 ask for this one: a few who are surely found matter more than a mean over all), and
            ``found_interval`` by a bootstrap of patients; a ``verdict`` in words.
        """
        scores = self.attack(synthetic)
        owners = np.asarray(self.patients, dtype=str)
        judged = {name: {"looks": (ATTACKS | BLIND)[name], **self._judge(scores[name])} for name in scores}
        counts = {
            name: {"images": int(side.sum()), "patients": len(set(owners[side].tolist()))}
            for name, side in (("members", self.member), ("strangers", ~self.member))
        }
        blind = {name: judged.pop(name) for name in BLIND}
        return {
            **self.about,
            **counts,
            "synthetic_images": len(synthetic),
            "side": self.side,
            "false_alarms": FALSE_ALARMS,
            "strangers_allowed": int(FALSE_ALARMS * counts["strangers"]["images"] + 1e-9),
            "attacks": judged,
            **blind,
            "verdict": judge(judged, blind),
        }

    def _judge(self, scores: Array) -> dict[str, Any]:
        truth = self.member.astype(np.float64)
        found = estimate(scores[None], truth, self.patients, replicates=0)
        caught = find_at(scores, truth, np.ones((1, len(truth))))
        drawn = find_at(scores, truth, patient_weights(self.patients, _REPLICATES, np.random.default_rng(0)))
        interval, spread = found.interval, percentile_interval(drawn)
        return {
            "auroc": found.auroc,
            "interval": None if interval is None else list(interval),
            "found": float(caught[0]),
            "found_interval": None if spread is None else list(spread),
        }


def choose_sides(manifest: Manifest, about: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a generator's real training images, and of real images of its finding whose patients it did not see."""
    real = np.flatnonzero(manifest["source"] == "real")
    patients = manifest["patient_id"].astype(str)
    unseen = ~np.isin(patients, sorted({*about["patients_seen"], ""}))  # nobody knows whose an image without a name is
    if about.get("finding") is not None:
        unseen &= manifest.label(about["finding"]) == 1
    return np.intersect1d(choose_training(manifest, about), real), np.intersect1d(np.flatnonzero(unseen), real)


def find_at(scores: Array, truth: Array, weights: NDArray[Any], alarms: float = FALSE_ALARMS) -> Array:
    """Find the largest share of members found by a threshold that takes few strangers for members.

    Args:
        scores: ``[N]``, higher for members.
        truth: ``[N]``, 1 member, 0 stranger.
        weights: ``[B, N]`` of the images.
        alarms: share of the strangers that may lie above the threshold.

    Returns:
        ``[B]``; NaN where a side has no weight.
    """
    ladder = Ladder(scores, truth)
    return ladder.weigh(np.ascontiguousarray(weights.T, dtype=np.float64)).sensitivities(1 - alarms)


def judge(attacks: Mapping[str, Mapping[str, Any]], blind: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in words what the attacks came to, in the light of those that are blind."""
    succeed = [name for name, one in attacks.items() if one["interval"] is not None and one["interval"][0] > 0.5]
    if not succeed:
        return "no attack made here does better than chance; that proves nothing about other attacks"
    spreads = [one["interval"] for one in blind.values() if one["interval"] is not None]
    shifted = any(low > 0.5 or high < 0.5 for low, high in spreads)
    doubt = "; but members differ from strangers even without the generator" if shifted else ""
    return f"training images can be told from others: {', '.join(succeed)}{doubt}"


def _draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= _MOST:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, _MOST, replace=False))


def _judge(critic: Critic, source: PackRows, rows: NDArray[np.int64]) -> Array:
    def blocks() -> Iterator[Array]:
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            yield critic(np.stack([source.pack.image(int(row), critic.network.resolution) for row in part]))

    return np.concatenate(list(blocks()))

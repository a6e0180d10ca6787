"""Which images of a generator are accepted: judges, our own trained classifiers, and the memorisation audit decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import channels_first, count_channels
from monai_cxraug.engines.inferers import FlipAveraging
from monai_cxraug.errors import ConfigError, LeakageError, StateError
from monai_cxraug.labels import require_findings
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.audit import MemorisationAudit, choose_training, fit_all
from monai_cxraug.synthesis.found import Found
from monai_cxraug.synthesis.nearest import Images

#: probability from which a finding counts as seen, and share of real positives that would be accepted.
REJECT_FROM: Final = 0.5
ACCEPT_SHARE: Final = 0.75
_BATCH: Final = 64
_NEAR: Final = "near a training image"

Probabilities = NDArray[np.float64]


class Judge:
    """A trained classifier that says how likely findings are on an image.

    Args:
        where: model file, or a folder that holds one.
        device: where it computes.

    Attributes:
        size: side of the images that it was trained on, in pixels; larger ones are averaged over areas.
        channels: of these images: 1 grey, 3 red, green and blue.
        patients_seen: patients of its training images.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it is no classifier of images as they are, or does not tell what it saw.
    """

    def __init__(self, where: str | Path, device: str | torch.device = "cpu") -> None:
        model = load_model(where, "classifier")
        about = model.about
        if missing := sorted({"findings", "size", "patients_seen"} - set(about)):
            raise StateError(model.path, "a judge must name findings, size and patients_seen", f"no {missing[0]}")
        if about.get("contrast") is not None:
            mend = "train it without a change of contrast"
            rule = "a judge must look at images as they are"
            raise StateError(model.path, rule, f"contrast {about['contrast']}", mend)
        self.path, self.size, self.channels = model.path, int(about["size"]), int(model.settings["channels"])
        self.findings = tuple(about["findings"])
        self.patients_seen = frozenset(about["patients_seen"])
        self.architecture = str(model.settings["architecture"])
        self._network, self._device = model.network.to(device), torch.device(device)
        self._infer = FlipAveraging(bool(about.get("flip_averaging", False)))

    def __call__(self, images: Images, findings: Sequence[str]) -> Probabilities:
        """Judge images.

        Args:
            images: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].
            findings: what to look for, of those that it knows.

        Returns:
            Probabilities ``[N, len(findings)]``.
        """
        parts = [self._batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)[:, [self.findings.index(name) for name in findings]]

    def _batch(self, images: Images) -> Probabilities:
        fitted = channels_first(fit_all(images, self.size, len(images), self.channels))  # [N, C, size, size]
        shown = torch.from_numpy(np.ascontiguousarray(fitted)).to(self._device)
        with torch.inference_mode():
            logits = self._infer(shown, self._network)
        found: Probabilities = logits.double().sigmoid().cpu().numpy()
        return found

    def require(self, findings: Sequence[str], size: int, held_out: frozenset[str], channels: int = 1) -> None:
        """Refuse what it cannot or must not judge.

        Args:
            findings: to look for.
            size: side of the images in pixels.
            held_out: patients of evaluation images.
            channels: of the images.

        Raises:
            LabelError: it does not know a finding.
            ConfigError: the images would have to be enlarged, or have other channels than its own.
            LeakageError: it saw a held-out patient: what it accepts would carry what it learnt there.
        """
        require_findings(findings, self.findings, self.path)
        if size < self.size:
            mend = f"give a judge that was trained at {size} px or less"
            raise ConfigError(self.path, f"images must have at least the judge's {self.size} px", f"{size} px", mend)
        if channels != self.channels:
            mend = "give a judge that was trained on images like these"
            raise ConfigError(self.path, f"a judge must look at {count_channels(channels)}", str(self.channels), mend)
        if shared := sorted(self.patients_seen & held_out):
            rule = "a judge may only have seen training patients of this experiment"
            found = f"{len(shared)} others, for example {shared[0]!r}"
            raise LeakageError(self.path, rule, found, "train it on the training patients only")


@dataclass(frozen=True)
class Screening:
    """Judges and the rules by which they accept images; the probability of an image is the mean over all judges.

    *Common findings* (the rule of system A): rejected is an image on which one of a list of findings has at least a
    given probability. *Cross-fitted*: accepted is an image on which the intended finding is at least as probable as it
    is on a given share of the real training images that show it, each judged by those judges alone that did not see its
    patient (K judges, each trained without one fold of the training patients): on images it learnt by heart a judge is
    surer than on any new one. Both rules apply where both are asked for.

    Args:
        judges: model files of classifiers, or folders that hold one.
        reject: findings to reject, with the probability from which they count as seen, or their names for 0.5.
        accept_share: share in (0, 1] of the real positives that would be accepted; default 0.75 where ``reject`` is
            empty, otherwise this rule is not used.
        device: where the judges compute; default a GPU where there is one.

    Raises:
        ConfigError: no judge, or a probability or share is out of range.
    """

    judges: Sequence[str | Path]
    reject: Mapping[str, float] | Sequence[str] | None = None
    accept_share: float | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.judges, str | Path) or not self.judges:
            raise ConfigError("judges", "must list at least one classifier", repr(self.judges), "give --judges")
        for finding, value in self.thresholds.items():
            _require_share(f"reject {finding!r}", value)
        if self.accept_share is not None:
            _require_share("accept_share", self.accept_share)

    @property
    def thresholds(self) -> dict[str, float]:
        """Findings to reject, and the probability from which they count as seen."""
        if isinstance(self.reject, Mapping):
            return dict(self.reject)
        if isinstance(self.reject, str):
            raise ConfigError("reject", "must list findings, or map them to probabilities", repr(self.reject))
        return dict.fromkeys(self.reject or (), REJECT_FROM)

    @property
    def share(self) -> float | None:
        """Share of real positives that would be accepted; None where this rule is not used."""
        return ACCEPT_SHARE if self.accept_share is None and not self.thresholds else self.accept_share

    def prepare(
        self,
        finding: str,
        size: int,
        held_out: frozenset[str] = frozenset(),
        manifest: str | Path | None = None,
        about: Mapping[str, Any] | None = None,
        channels: int = 1,
    ) -> Panel:
        """Load the judges and find their thresholds.

        Args:
            finding: that the images are made to show.
            size: side of the images in pixels.
            held_out: patients of evaluation images.
            manifest: where the generator's training images are; the cross-fitted rule needs them.
            about: what the generator's model file says.
            channels: of the images.

        Raises:
            LabelError: a judge does not know a finding.
            ConfigError: a judge's images are larger or have other channels, the finding itself is to be rejected, or
                there is no manifest.
            LeakageError: a judge saw a held-out patient, or no judge is out of fold for a training patient.
            InputError: no real training image shows the finding.
        """
        thresholds = self.thresholds
        if finding in thresholds:
            rule = "may not hold the finding that the images are made to show"
            raise ConfigError("reject", rule, repr(finding), "leave it out")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        judges = [Judge(where, device) for where in self.judges]
        for judge in judges:
            judge.require([*thresholds, *([finding] if self.share else [])], size, held_out, channels)
        if self.share is None:
            return Panel(judges, thresholds)
        if manifest is None or about is None:
            rule = "the cross-fitted rule needs the generator's training images"
            raise ConfigError("manifest", rule, "none", "give --manifest, or --reject alone")
        real = read_positives(manifest, about, finding, size, channels)
        return Panel(judges, thresholds, cross_fit(judges, real, finding, self.share))


@dataclass(frozen=True)
class Positives:
    """Real training images of a generator that show a finding.

    Args:
        images: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].
        patients: ``[N]``.
    """

    images: Images
    patients: NDArray[Any]


@dataclass(frozen=True)
class CrossFitted:
    """A threshold from real images that were judged out of fold.

    Args:
        finding: that is judged.
        share: share of them that should reach it.
        threshold: probability that this share, or a little more, reaches.
        positives: number of images.
    """

    finding: str
    share: float
    threshold: float
    positives: int


def read_positives(
    manifest: str | Path, about: Mapping[str, Any], finding: str, size: int, channels: int = 1
) -> Positives:
    """Read the real training images of a generator that show a finding.

    Args:
        manifest: where its training images are.
        about: what its model file says.
        finding: the finding.
        size: side in pixels.
        channels: of the generator's images.

    Raises:
        InputError: there is none.
        ConfigError: the manifest's images have other channels.
    """
    rows = PackRows(manifest, size=size)
    rows.pack.require_channels(channels)
    table = rows.manifest
    wanted = np.zeros(len(table), dtype=bool)
    wanted[choose_training(table, about)] = True
    wanted &= (table["source"] == "real") & (table.label(finding) == 1)
    rows.keep(wanted, f"a real training image of the generator that shows {finding!r}")
    images = np.stack([rows.pack.image(int(row), size) for row in rows.rows])
    return Positives(images, table["patient_id"][rows.rows].astype(str))


def cross_fit(judges: Sequence[Judge], real: Positives, finding: str, share: float) -> CrossFitted:
    """Find the probability that a share of real positives reaches out of fold.

    Args:
        judges: each may have seen some of the patients.
        real: the images.
        finding: that they show.
        share: in (0, 1].

    Raises:
        LeakageError: every judge saw one of the patients.
    """
    unseen = np.array([~np.isin(real.patients, sorted(judge.patients_seen)) for judge in judges])  # [J, N]
    if lost := sorted(set(real.patients[~unseen.any(axis=0)])):
        rule = "each patient with the finding needs a judge that did not see it"
        found = f"{len(lost)} of {len(set(real.patients))} that all judges saw, for example {lost[0]!r}"
        mend = "train each judge without one fold of the training patients, or give --reject alone"
        raise LeakageError("judges", rule, found, mend)
    judged = np.array([judge(real.images, [finding])[:, 0] for judge in judges])
    means = np.sort(np.where(unseen, judged, 0).sum(axis=0) / unseen.sum(axis=0))
    reach = int(np.ceil(share * len(means) - 1e-9))
    return CrossFitted(finding, share, float(means[len(means) - reach]), len(means))


class Panel:
    """Judges with their thresholds.

    Args:
        judges: at least one.
        thresholds: findings to reject, and the probability from which they count as seen.
        rule: the cross-fitted threshold, or None.
    """

    def __init__(
        self, judges: Sequence[Judge], thresholds: Mapping[str, float], rule: CrossFitted | None = None
    ) -> None:
        self.judges, self.thresholds, self.rule = judges, dict(thresholds), rule

    @property
    def patients_seen(self) -> frozenset[str]:
        """Patients that any of the judges saw."""
        return frozenset().union(*(judge.patients_seen for judge in self.judges))

    def refusals(self, images: Images) -> dict[str, NDArray[np.bool_]]:
        """Say which images, ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1], are rejected: ``[N]`` for each reason."""
        findings = [*self.thresholds, *([] if self.rule is None else [self.rule.finding])]
        seen = np.mean([judge(images, findings) for judge in self.judges], axis=0)
        refused = {f"judged {name}": seen[:, k] >= least for k, (name, least) in enumerate(self.thresholds.items())}
        if self.rule is not None:
            refused[f"{self.rule.finding} not probable enough"] = seen[:, -1] < self.rule.threshold
        return refused

    def record(self) -> dict[str, Any]:
        """Return judges and rules as plain values."""
        rules: list[dict[str, Any]] = []
        if self.thresholds:
            rules.append({"rule": "reject_common", "thresholds": self.thresholds})
        if self.rule is not None:
            rules.append({"rule": "cross_fitted", **vars(self.rule)})
        judges = [
            {
                "sha256": file_hash(judge.path),
                "architecture": judge.architecture,
                "size": judge.size,
                "patients_seen": len(judge.patients_seen),
            }
            for judge in self.judges
        ]
        return {"filters": rules, "judges": judges}


class Selection:
    """Accepts images one block after another, and remembers what was seen on the way.

    Args:
        panel: judges, or None.
        audit: the memorisation audit of accepted images, or None.
        drop_memorised: reject images that count as near in it.

    Attributes:
        numbers: of the accepted images in the generator's sequence.
        drawn: number of images looked at: up to the last one that was accepted.
        rejected: number of images rejected for each reason; one with several counts for each. What the judges reject is
            not audited.
        shown: the accepted images that are most like training images, and what was found for them.
    """

    def __init__(
        self, panel: Panel | None = None, audit: MemorisationAudit | None = None, drop_memorised: bool = False
    ) -> None:
        self.panel, self.audit, self.drop_memorised = panel, audit, drop_memorised
        self.numbers: list[int] = []
        self.drawn, self.rejected = 0, Counter[str]()
        self._parts: list[Found] = []
        self.shown: tuple[list[NDArray[np.float32]], Found] | None = None

    @property
    def judging(self) -> bool:
        """Whether an image can be rejected."""
        return self.panel is not None or self.drop_memorised

    def choose(self, first: int, images: Images, most: int) -> NDArray[np.int64]:
        """Accept images of a block, in order.

        Args:
            first: number of the first one.
            images: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].
            most: accept so many at most.

        Returns:
            Positions of the accepted ones.
        """
        refused = {} if self.panel is None else self.panel.refusals(images)
        kept = np.flatnonzero(~np.any([np.zeros(len(images), bool), *refused.values()], axis=0))
        found = None if self.audit is None else self.audit.find(images[kept])
        if self.drop_memorised and self.audit is not None and found is not None:
            far = ~self.audit.near(found)
            refused[_NEAR] = np.isin(np.arange(len(images)), kept[~far])
            kept, found = kept[far], found.at(far)
        kept = kept[:most]
        seen = len(images) if len(kept) < most else int(kept[-1]) + 1
        self.drawn += seen
        self.rejected.update({reason: int(mask[:seen].sum()) for reason, mask in refused.items()})
        self.numbers += (first + kept).tolist()
        if self.audit is not None and found is not None and len(kept):
            self._remember(self.audit, images[kept], found.at(slice(most)))
        return kept

    def accept_all(self, first: int, count: int) -> None:
        """Accept ``count`` images from number ``first`` on without a look."""
        self.numbers += range(first, first + count)
        self.drawn += count

    def _remember(self, audit: MemorisationAudit, images: Images, found: Found) -> None:
        self._parts.append(found)
        before, known = ([], []) if self.shown is None else (self.shown[0], [self.shown[1]])
        both, pictures = Found.of([*known, found]), [*before, *images]
        nearest = audit.nearest(both)
        self.shown = [pictures[k].copy() for k in nearest], both.at(nearest)

    @property
    def found(self) -> Found:
        """What the audit found for the accepted images."""
        return Found.of(self._parts)

    def refusal(self, output_dir: object, n: int) -> StateError:
        """The error that ends a search in vain."""
        reason, count = self.rejected.most_common(1)[0]
        found = f"{len(self.numbers)} of {self.drawn} drawn ({len(self.numbers) / self.drawn:.1%})"
        why = f"most often rejected: {reason}, {count} times"
        mend = "loosen the rules, train the generator longer, or raise --cap"
        return StateError(output_dir, f"{n} images must be accepted", f"{found}; {why}", mend)

    def record(self, names: Sequence[str], not_audited: str) -> dict[str, Any]:
        """Return what happened, as plain values; ``not_audited`` says why there is no audit, where there is none."""
        about: dict[str, Any] = {"filters": []} if self.panel is None else self.panel.record()
        dropped = self.rejected[_NEAR]
        if self.drop_memorised and self.audit is not None:
            about["filters"] = [*about["filters"], {"rule": "drop_memorised", "threshold": self.audit.threshold}]
        audited: dict[str, Any] = {"not run": not_audited}
        if self.audit is not None:
            audited = self.audit.report(names, self.found, dropped)
        return {
            **about,
            "drawn": self.drawn,
            "accepted": len(self.numbers),
            "acceptance_rate": len(self.numbers) / self.drawn,
            "rejected": {reason: count for reason, count in self.rejected.items() if count},
            "memorisation_audit": audited,
        }


def _require_share(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(where, "must be a number above 0 and at most 1", repr(value), "mend it")

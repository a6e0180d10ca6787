"""Who is radiographed: patients, their studies and the causes that will be drawn, at realistic imbalanced rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from monai_cxraug.data.sources.phantom.canvas import stream
from monai_cxraug.errors import ConfigError
from monai_cxraug.labels import NIH_FINDINGS, require_findings

Side = Literal["left", "right", "both"]
View = Literal["PA", "AP"]
Sex = Literal["M", "F"]

#: share of images with each finding; ranks follow ChestX-ray14, the rarest are raised so that small sets hold some.
PREVALENCE: Final[Mapping[str, float]] = {
    "Atelectasis": 0.09,
    "Cardiomegaly": 0.06,
    "Effusion": 0.10,
    "Infiltration": 0.14,
    "Mass": 0.05,
    "Nodule": 0.055,
    "Pneumonia": 0.025,
    "Pneumothorax": 0.045,
    "Consolidation": 0.04,
    "Edema": 0.03,
    "Emphysema": 0.03,
    "Fibrosis": 0.02,
    "Pleural_Thickening": 0.03,
    "Hernia": 0.015,
}
#: a cause is drawn on these sides of the patient, chosen evenly.
_SIDES: Final[Mapping[str, tuple[Side, ...]]] = {
    "Cardiomegaly": ("both",),
    "Edema": ("both",),
    "Emphysema": ("both",),
    "Fibrosis": ("both",),
    "Hernia": ("both",),
    "Effusion": ("left", "right", "right", "both"),
    "Infiltration": ("left", "right", "both"),
    "Pleural_Thickening": ("left", "right", "both"),
}
#: loadings on shared illnesses: heart failure, infection, smoking. They make findings come together.
_SHARED: Final[Mapping[str, tuple[float, float, float]]] = {
    "Cardiomegaly": (0.65, 0.0, 0.0),
    "Edema": (0.75, 0.1, 0.0),
    "Effusion": (0.55, 0.2, 0.0),
    "Atelectasis": (0.3, 0.2, 0.1),
    "Infiltration": (0.0, 0.45, 0.0),
    "Consolidation": (0.0, 0.6, 0.0),
    "Pneumonia": (0.0, 0.6, 0.0),
    "Emphysema": (0.0, 0.0, 0.6),
    "Pneumothorax": (0.0, 0.0, 0.35),
    "Mass": (0.0, 0.0, 0.35),
    "Nodule": (0.0, 0.0, 0.3),
    "Fibrosis": (0.0, 0.0, 0.3),
}
#: findings that stay with a patient from study to study.
CHRONIC: Final = frozenset(
    {"Cardiomegaly", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "Mass", "Nodule"},
)
#: raises the odds (log scale) that the study was taken at the bedside, AP.
_BEDSIDE: Final[Mapping[str, float]] = {
    "Edema": 2.6,
    "Pneumothorax": 0.8,
    "Effusion": 0.8,
    "Consolidation": 0.8,
    "Pneumonia": 0.8,
    "Atelectasis": 0.5,
    "Infiltration": 0.4,
}
_STUDIES_SHARE: Final = (0.5, 0.2, 0.12, 0.08, 0.06, 0.04)
_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class Cause:
    """One thing to draw.

    Args:
        finding: its name in ChestX-ray14.
        severity: 0 barely there to 1 plain to see.
        side: side of the patient.
        key: seed of its place and shape; the same key in two studies is the same lesion.
    """

    finding: str
    severity: float
    side: Side
    key: int


@dataclass(frozen=True)
class Study:
    """One study of one patient, with one frontal image.

    Args:
        patient_id: for example ``"P000012"``.
        study_id: for example ``"P000012-S01"``.
        index: 0 for the patient's first study.
        view: ``"PA"`` or ``"AP"``.
        sex: ``"M"`` or ``"F"``.
        age: years.
        findings: what the labels say.
        causes: what is drawn; it differs from ``findings`` only by label noise.
    """

    patient_id: str
    study_id: str
    index: int
    view: View
    sex: Sex
    age: int
    findings: frozenset[str]
    causes: tuple[Cause, ...] = ()


def make_cause(
    finding: str,
    rng: np.random.Generator,
    severity: float | None = None,
    side: Side | None = None,
) -> Cause:
    """Draw a cause; severity (mostly moderate) and side are drawn too unless given."""
    graded = float(rng.beta(1.6, 1.4)) if severity is None else severity
    sides: tuple[Side, ...] = _SIDES.get(finding, ("left", "right"))
    chosen = sides[int(rng.integers(len(sides)))]
    return Cause(finding, graded, chosen if side is None else side, int(rng.integers(2**31)))


def with_cause(study: Study, cause: Cause) -> Study:
    """Copy a study with one more (or a replaced) finding, labelled and drawn."""
    kept = tuple(other for other in study.causes if other.finding != cause.finding)
    return dataclasses.replace(study, findings=study.findings | {cause.finding}, causes=(*kept, cause))


def sample_population(
    images: int,
    seed: int,
    findings: Sequence[str] = NIH_FINDINGS,
    prevalence: Mapping[str, float] | None = None,
    label_noise: float = 0.0,
) -> list[Study]:
    """Sample patients with 1-6 studies each until there are enough images.

    Findings are correlated by a Gaussian copula (shared illnesses; chronic ones persist), so every finding keeps
    exactly its expected share of the images.

    Args:
        images: studies to return, one image each; only the last patient may be cut short.
        seed: of everything drawn.
        findings: the findings that occur, all others never do.
        prevalence: expected share of images by finding, in (0, 1), where it differs from :data:`PREVALENCE`.
        label_noise: share of present findings whose label is lost, as text mining does; as many absent ones are
            labelled present, so that the shares stay. In [0, 1).

    Returns:
        ``images`` studies, those of one patient side by side and in order.

    Raises:
        ConfigError: a number is out of range.
        LabelError: a finding is unknown.
    """
    names = require_findings(findings, NIH_FINDINGS, "findings")
    rates = {name: float((prevalence or {}).get(name, PREVALENCE[name])) for name in names}
    require_findings(prevalence or {}, names, "prevalence")
    _check_numbers(images, seed, rates, label_noise)
    studies: list[Study] = []
    while len(studies) < images:
        number = studies[-1].patient_id if studies else "P000000"
        studies += _sample_patient(f"P{int(number[1:]) + 1:06d}", seed, rates)
    return [_mislabel(study, seed, rates, label_noise) for study in studies[:images]]


def _check_numbers(images: int, seed: int, rates: Mapping[str, float], label_noise: float) -> None:
    if images < 1:
        raise ConfigError("images", "must be at least 1", images, "ask for one image or more")
    if seed < 0:
        raise ConfigError("seed", "must not be negative", seed, "use 0 or a positive whole number")
    if not 0 <= label_noise < 1:
        raise ConfigError("label_noise", "must lie in [0, 1)", label_noise, "0 gives exact labels")
    for name, rate in rates.items():
        if not 0 < rate < 1:
            raise ConfigError(f"prevalence {name}", "must lie between 0 and 1", rate, "leave the finding out instead")


def _sample_patient(patient_id: str, seed: int, rates: Mapping[str, float]) -> list[Study]:
    rng = stream(seed, patient_id, "record")
    count = int(rng.choice(len(_STUDIES_SHARE), p=_STUDIES_SHARE)) + 1
    sex: Sex = "M" if rng.random() < 0.55 else "F"
    age = int(np.clip(rng.normal(50, 17), 18, 92))
    keys = {name: make_cause(name, rng) for name in NIH_FINDINGS}
    shared, own = rng.standard_normal(3), dict(zip(NIH_FINDINGS, rng.standard_normal(len(NIH_FINDINGS)), strict=True))
    studies = []
    for index in range(count):
        age += int(index > 0 and rng.random() < 0.3)
        causes = _sample_causes(rng, rates, shared, own, keys)
        view = _sample_view(rng, causes)
        present = frozenset(cause.finding for cause in causes)
        study_id = f"{patient_id}-S{index + 1:02d}"
        studies.append(Study(patient_id, study_id, index, view, sex, age, present, causes))
    return studies


def _sample_causes(
    rng: np.random.Generator,
    rates: Mapping[str, float],
    shared: np.ndarray,
    own: Mapping[str, float],
    keys: Mapping[str, Cause],
) -> tuple[Cause, ...]:
    today = 0.85 * shared + np.sqrt(1 - 0.85**2) * rng.standard_normal(3)
    causes = []
    for name in NIH_FINDINGS:
        keep = 0.985 if name in CHRONIC else 0.6
        loading = np.array(_SHARED.get(name, (0.0, 0.0, 0.0)))
        illness = shared if name in CHRONIC else today
        rest = keep * own[name] + np.sqrt(1 - keep**2) * rng.standard_normal()
        latent = float(loading @ illness + np.sqrt(1 - loading @ loading) * rest)
        if name in rates and latent > _NORMAL.inv_cdf(1 - rates[name]):
            causes.append(_drift(keys[name], rng) if name in CHRONIC else make_cause(name, rng))
    return tuple(causes)


def _drift(cause: Cause, rng: np.random.Generator) -> Cause:
    """Let a chronic finding grow or shrink a little between studies."""
    return dataclasses.replace(cause, severity=float(np.clip(cause.severity + rng.normal(0, 0.07), 0, 1)))


def _sample_view(rng: np.random.Generator, causes: Sequence[Cause]) -> View:
    odds = -1.0 + sum(_BEDSIDE.get(cause.finding, 0.0) for cause in causes)
    return "AP" if rng.random() < 1 / (1 + np.exp(-odds)) else "PA"


def _mislabel(study: Study, seed: int, rates: Mapping[str, float], noise: float) -> Study:
    draws = stream(seed, study.study_id, "labels").random(len(NIH_FINDINGS))
    labels = set()
    for name, draw in zip(NIH_FINDINGS, draws, strict=True):
        if name in study.findings:
            keep = draw >= noise
        else:
            keep = name in rates and draw < noise * rates[name] / (1 - rates[name])
        labels |= {name} if keep else set()
    return dataclasses.replace(study, findings=frozenset(labels))

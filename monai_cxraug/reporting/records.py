"""What a run's ``plan.json`` and ``results.json`` hold, as small checked records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Union

from monai_cxraug.artifacts import load_json, read_json
from monai_cxraug.reporting.fields import Interval, build, build_all, value_of

PLAN_SCHEMA: Final = "cxraug.plan/2"
#: plans of version 0.1, which hold all that a report shows.
OLDER_PLAN_SCHEMA: Final = "cxraug.plan/1"
RESULTS_SCHEMA: Final = "cxraug.results/2"
#: results of version 0.1, which lack what came later.
OLDER_RESULTS_SCHEMA: Final = "cxraug.results/1"
#: the finding that stands for the mean over findings.
MACRO: Final = "macro"
#: findings with fewer positive images are flagged wherever they are shown.
FEW_POSITIVES: Final = 10

Seed = Union[int, Literal["all"]]  # noqa: UP007  # a runtime union of a type and a Literal needs this form


@dataclass(frozen=True)
class Primary:
    """The comparison declared before the run, and its outcome."""

    endpoint: str
    arm: str
    reference: str
    finding: str
    verdict: str
    fraction: float | None = None
    ratio: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    bootstrap_interval: Interval | None = None
    standard_error: float | None = None
    dof: float | None = None
    detectable: float | None = None
    n: int | None = None
    positives: int | None = None
    skipped: int | None = None


@dataclass(frozen=True)
class Harm:
    """What the endpoint's arm changes beside AUROC, for one finding."""

    finding: str
    measure: str
    worse: bool
    difference: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Declared:
    """Whether the endpoint stood before any cell was done."""

    before: bool
    cells_done: int
    earlier: int


@dataclass(frozen=True)
class ArmResult:
    """AUROC of one arm for one finding, of one seed or of all."""

    arm: str
    seed: Seed
    finding: str
    n: int
    positives: int
    fraction: float | None = None
    ratio: float | None = None
    auroc: float | None = None
    interval: Interval | None = None
    bootstrap_interval: Interval | None = None
    skipped: int | None = None


@dataclass(frozen=True)
class Comparison:
    """AUROC of an arm less that of a reference, for one finding."""

    arm: str
    reference: str
    finding: str
    verdict: str
    fraction: float | None = None
    ratio: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    p_bh: float | None = None
    detectable: float | None = None
    bootstrap_interval: Interval | None = None
    standard_error: float | None = None
    dof: float | None = None
    n: int | None = None
    positives: int | None = None
    skipped: int | None = None


@dataclass(frozen=True)
class Composition:
    """What the positives of a finding in one cell's training set are made of."""

    arm: str
    seed: Seed
    finding: str
    real: int
    duplicate: int
    synthetic: int
    share: float | None = None
    fraction: float | None = None
    ratio: float | None = None
    filtered: int = 0
    external: int = 0

    @property
    def total(self) -> int:
        """Positives of every origin."""
        return self.real + self.duplicate + self.filtered + self.synthetic + self.external


@dataclass(frozen=True)
class Operating:
    """How often the answers of an arm are right at a threshold, and how far its probabilities can be believed."""

    arm: str
    seed: Seed
    finding: str
    n: int
    positives: int
    rule: str
    fraction: float | None = None
    ratio: float | None = None
    threshold: float | None = None
    temperature: float | None = None
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    sensitivity: float | None = None
    sensitivity_interval: Interval | None = None
    specificity: float | None = None
    specificity_interval: Interval | None = None
    brier: float | None = None
    brier_interval: Interval | None = None
    ece: float | None = None
    ece_interval: Interval | None = None
    ece_before: float | None = None
    skipped: int | None = None
    auprc: float | None = None
    auprc_interval: Interval | None = None
    sensitivity_90: float | None = None
    sensitivity_90_interval: Interval | None = None
    sensitivity_95: float | None = None
    sensitivity_95_interval: Interval | None = None
    all_negative: float | None = None
    all_negative_interval: Interval | None = None
    balanced_accuracy: float | None = None
    balanced_accuracy_interval: Interval | None = None
    log_loss: float | None = None
    log_loss_interval: Interval | None = None
    slope: float | None = None
    slope_interval: Interval | None = None
    intercept: float | None = None
    intercept_interval: Interval | None = None


@dataclass(frozen=True)
class Subgroup:
    """AUROC of one arm for one finding among the images of some people."""

    arm: str
    finding: str
    column: str
    group: str
    n: int
    positives: int
    fraction: float | None = None
    ratio: float | None = None
    auroc: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Curve:
    """Points of a ``roc``, ``precision_recall`` or ``reliability`` curve of one cell."""

    arm: str
    kind: str
    seed: Seed
    finding: str
    x: list[float]
    y: list[float]
    fraction: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Made:
    """What a synthetic set says about its origin."""

    id: str
    generator: str
    finding: str
    n: int
    seed: Seed | None = None
    drawn: int | None = None
    acceptance_rate: float | None = None
    rejected: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shift:
    """A measure of one arm on the images of the run and on those of an evaluation."""

    arm: str
    finding: str
    measure: str
    fraction: float | None = None
    ratio: float | None = None
    before: float | None = None
    here: float | None = None


@dataclass(frozen=True)
class Scale:
    """What the fractions of a top-up experiment are: numbers of real images of one finding.

    Args:
        finding: the finding that was cut and topped up.
        images: pairs of a fraction and its number of real images.
        total: training images that show the finding, which is fraction 1.
    """

    finding: str
    images: list[tuple[float, int]]
    total: int | None = None

    def count(self, fraction: float | None) -> int | None:
        """Real images of a fraction; None where it is none of the scale's."""
        if fraction is None:
            return None
        return next((count for known, count in self.images if math.isclose(known, fraction)), None)

    def fraction(self, count: int | Literal["all"]) -> float | None:
        """Fraction of a number of real images; None where the run has none."""
        return next((known for known, some in self.images if some == count or (count == "all" and known == 1)), None)


@dataclass(frozen=True)
class Exchanged:
    """How many real images an arm is worth at one number of them.

    Numbers that are ``censored`` lie ``below`` the fewest or ``above`` the most real images that were tried, and that
    bound stands in their place; the estimate may also be ``flat``: the reference's curve does not rise.
    """

    arm: str
    reference: str
    finding: str
    real: int
    fraction: float | None = None
    ratio: float | None = None
    auroc: float | None = None
    equivalent: float | None = None
    censored: str | None = None
    low: float | None = None
    low_censored: str | None = None
    high: float | None = None
    high_censored: str | None = None
    gain: float | None = None
    more: float | None = None
    bootstrap_low: float | None = None
    bootstrap_low_censored: str | None = None
    bootstrap_high: float | None = None
    bootstrap_high_censored: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the interval holds the number of real images that the arm had: it may be worth nothing."""
        if self.low is None or self.high is None:
            return True
        above = self.low_censored == "below" or (self.low_censored is None and self.low <= self.real)
        return above and (self.high_censored == "above" or (self.high_censored is None and self.high >= self.real))


@dataclass(frozen=True)
class ExchangeCurve:
    """AUROC of an exchange rate's reference by its number of real images, and how far it rises."""

    reference: str
    finding: str
    real: list[int]
    auroc: list[float | None]
    rising: list[float | None]
    rise: float | None = None
    interval: Interval | None = None
    p: float | None = None


@dataclass(frozen=True)
class Cost:
    """Time one piece of work took."""

    stage: str
    id: str
    seconds: float | None = None
    images: int | None = None


@dataclass(frozen=True)
class Results:
    """Content of ``results.json``; lists that are not there yet are empty."""

    name: str
    title: str
    split: str
    primary: Primary | None
    arms: list[ArmResult]
    comparisons: list[Comparison]
    composition: list[Composition]
    cost: list[Cost]
    operating: list[Operating]
    missing: list[str]
    warnings: list[str]
    provenance: dict[str, Any]
    harm: list[Harm] = field(default_factory=list)
    declared: Declared | None = None
    subgroups: list[Subgroup] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    synthetic: list[Made] = field(default_factory=list)
    shift: list[Shift] = field(default_factory=list)
    scale: Scale | None = None
    exchange: list[Exchanged] = field(default_factory=list)
    exchange_curves: list[ExchangeCurve] = field(default_factory=list)

    def overall(self) -> list[ArmResult]:
        """Rows that hold for all seeds together."""
        return [row for row in self.arms if row.seed == "all"]

    @cached_property
    def listed_arms(self) -> tuple[str, ...]:
        """Arms as the experiment lists them."""
        return tuple(dict.fromkeys([row.arm for row in self.arms] + [row.reference for row in self.comparisons]))

    def findings(self) -> list[str]:
        """Findings in order of appearance, the macro mean last."""
        return list(self._findings)

    def studied(self) -> list[str]:
        """Findings that were compared, the macro mean last; every finding when nothing was compared.

        Of one finding alone the mean says the same again, and is left out unless it was declared as the endpoint.
        """
        return list(self._studied)

    @cached_property
    def _findings(self) -> tuple[str, ...]:
        names = dict.fromkeys([row.finding for row in self.arms] + [row.finding for row in self.comparisons])
        return *(name for name in names if name != MACRO), *[MACRO] * (MACRO in names)

    @cached_property
    def _studied(self) -> tuple[str, ...]:
        compared = {row.finding for row in self.comparisons}
        names = tuple(name for name in self._findings if name in compared) or self._findings
        alone = len(names) == 2 and names[1] == MACRO and not (self.primary and self.primary.finding == MACRO)
        return names[:1] if alone else names


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic set that the plan asks for, and the judges that accept its images or reject them."""

    id: str
    generator: str
    finding: str
    n: int
    judges: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """A network to train: a cell, a generator or a judge."""

    id: str
    arm: str = ""
    finding: str = ""
    fraction: float | None = None
    ratio: float | None = None
    seed: int | None = None
    origin: str = "gan"
    filtered: bool = False

    @property
    def made_by(self) -> str:
        """What kind of generator it is, by the name of the arm that adds its images."""
        return "filtered_gan" if self.filtered else self.origin


@dataclass(frozen=True)
class Published:
    """What others have reported for an arm, at a fraction or a number of real images: AUROC, accuracy of findings."""

    arm: str
    auroc: dict[str, float] = field(default_factory=dict)
    fraction: float = 1.0
    source: str = ""
    accuracy: dict[str, float] = field(default_factory=dict)
    real: int | Literal["all"] | None = None

    def place(self, scale: Scale | None) -> float | None:
        """Fraction of the run that it stands beside; None where the run has no such number of real images."""
        if self.real is None:
            return self.fraction
        return scale.fraction(self.real) if scale else None


@dataclass(frozen=True)
class Plan:
    """The part of ``plan.json`` that a report shows."""

    name: str
    title: str
    experiment: dict[str, Any]
    data: dict[str, str]
    findings: list[str]
    synthetic: list[SyntheticSet] = field(default_factory=list)
    cells: list[Piece] = field(default_factory=list)
    generators: list[Piece] = field(default_factory=list)
    judges: list[Piece] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    smoke: bool = False

    def conditions(self, role: str) -> dict[str, list[str]]:
        """Columns and the values that choose a role's images among those of its folder: its split and its ``where``."""
        spec = (self.experiment.get("data") or {}).get(role) or {}
        asked = {**({"split": spec["split"]} if spec.get("split") else {}), **(spec.get("where") or {})}
        values = {key: value if isinstance(value, list) else [value] for key, value in asked.items()}
        return {str(key): [str(value) for value in some] for key, some in values.items()}


def load_results(run: Path) -> Results:
    """Read ``results.json`` of a run or evaluation folder.

    Raises:
        InputError: the file is missing or not JSON.
        StateError: another schema, a key is missing or a value is of the wrong kind.
    """
    path = run / "results.json"
    older = (load_json(path) or {}).get("schema") == OLDER_RESULTS_SCHEMA
    document = read_json(path, OLDER_RESULTS_SCHEMA if older else RESULTS_SCHEMA)
    name = value_of(document, "name", str, path)
    primary, declared, scale = document.get("primary"), document.get("declared"), document.get("scale")
    return Results(
        name=name,
        title=str(document.get("title") or name),
        split=str(document.get("split") or ""),
        primary=None if primary is None else build(Primary, primary, f"{path} primary"),
        arms=build_all(ArmResult, document, "arms", path),
        comparisons=build_all(Comparison, document, "comparisons", path),
        composition=build_all(Composition, document, "composition", path),
        cost=build_all(Cost, document, "cost", path),
        operating=build_all(Operating, document, "operating", path),
        missing=value_of(document, "missing", list[str], path, []),
        warnings=value_of(document, "warnings", list[str], path, []),
        provenance=value_of(document, "provenance", dict[str, Any], path, {}),
        harm=build_all(Harm, primary or {}, "harm", path),
        declared=None if declared is None else build(Declared, declared, f"{path} declared"),
        subgroups=build_all(Subgroup, document, "subgroups", path),
        curves=build_all(Curve, document, "curves", path),
        synthetic=build_all(Made, document, "synthetic", path),
        shift=build_all(Shift, document, "shift", path),
        scale=None if scale is None else build(Scale, scale, f"{path} scale"),
        exchange=build_all(Exchanged, document, "exchange", path),
        exchange_curves=build_all(ExchangeCurve, document, "exchange_curves", path),
    )


def load_plan(run: Path) -> Plan | None:
    """Read ``plan.json``; None when the folder has none, as that of an evaluation.

    Raises:
        InputError: the file is not JSON.
        StateError: another schema, a key is missing or a value is of the wrong kind.
    """
    path = run / "plan.json"
    if not path.exists():
        return None
    older = (load_json(path) or {}).get("schema") == OLDER_PLAN_SCHEMA
    document = read_json(path, OLDER_PLAN_SCHEMA if older else PLAN_SCHEMA)
    name = value_of(document, "name", str, path)
    data = value_of(document, "data", dict[str, Any], path, {})
    experiment = value_of(document, "experiment", dict[str, Any], path, {})
    return Plan(
        name=name,
        title=str(document.get("title") or name),
        experiment=experiment,
        data={role: str(folder) for role, folder in data.items() if folder},
        findings=value_of(document, "findings", list[str], path, []),
        synthetic=build_all(SyntheticSet, document, "synthetic", path),
        cells=build_all(Piece, document, "cells", path),
        generators=build_all(Piece, document, "generators", path),
        judges=build_all(Piece, document, "judges", path),
        published=build_all(Published, experiment, "published", path),
        smoke=value_of(document, "smoke", bool, path, False),
    )

"""What a run's ``plan.json`` and ``results.json`` hold, as small checked records."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from monai_cxraug.artifacts import load_json, read_json
from monai_cxraug.errors import StateError, nearest

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

Interval = tuple[float, float]
Seed = Union[int, Literal["all"]]  # noqa: UP007  # a runtime union of a type and a Literal needs this form
T = TypeVar("T")


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
    ece_before: float | None = None


@dataclass(frozen=True)
class Cost:
    """Time one piece of work took."""

    stage: str
    id: str
    seconds: float
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

    def overall(self) -> list[ArmResult]:
        """Rows that hold for all seeds together."""
        return [row for row in self.arms if row.seed == "all"]

    def findings(self) -> list[str]:
        """Findings in order of appearance, the macro mean last."""
        names = dict.fromkeys([row.finding for row in self.arms] + [row.finding for row in self.comparisons])
        return [name for name in names if name != MACRO] + [MACRO] * (MACRO in names)

    def studied(self) -> list[str]:
        """Findings that were compared, the macro mean last; every finding when nothing was compared.

        Of one finding alone the mean says the same again, and is left out unless it was declared as the endpoint.
        """
        compared = {row.finding for row in self.comparisons}
        names = [name for name in self.findings() if name in compared] or self.findings()
        alone = len(names) == 2 and names[1] == MACRO and not (self.primary and self.primary.finding == MACRO)
        return names[:1] if alone else names


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic set that the plan asks for."""

    id: str
    generator: str
    finding: str
    n: int


@dataclass(frozen=True)
class Plan:
    """The part of ``plan.json`` that a report shows."""

    name: str
    title: str
    experiment: dict[str, Any]
    data: dict[str, str]
    findings: list[str]
    synthetic: list[SyntheticSet] = field(default_factory=list)
    cells: int = 0
    generators: int = 0

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
    name = _value(document, "name", str, path)
    primary = document.get("primary")
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
        missing=_value(document, "missing", list[str], path, []),
        warnings=_value(document, "warnings", list[str], path, []),
        provenance=_value(document, "provenance", dict[str, Any], path, {}),
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
    name = _value(document, "name", str, path)
    data = _value(document, "data", dict[str, Any], path, {})
    return Plan(
        name=name,
        title=str(document.get("title") or name),
        experiment=_value(document, "experiment", dict[str, Any], path, {}),
        data={role: str(folder) for role, folder in data.items() if folder},
        findings=_value(document, "findings", list[str], path, []),
        synthetic=build_all(SyntheticSet, document, "synthetic", path),
        cells=len(_value(document, "cells", list[Any], path, [])),
        generators=len(_value(document, "generators", list[Any], path, [])),
    )


def build(record: type[T], content: object, where: object) -> T:
    """Fill a dataclass from a JSON object, checking that keys are there and values of the annotated kind.

    Args:
        record: dataclass to make; keys it does not know are left alone, so that files may grow.
        content: the JSON object.
        where: file and key to name in an error.

    Raises:
        StateError: not an object, a key is missing or a value is of another kind.
    """
    if not isinstance(content, Mapping):
        raise StateError(where, "must be an object", type(content).__name__, "remake the file")
    hints = get_type_hints(record)
    values = {}
    for spec in dataclasses.fields(record):  # type: ignore[arg-type]  # T is always a dataclass here
        missing = spec.default is dataclasses.MISSING
        values[spec.name] = _value(content, spec.name, hints[spec.name], where, ... if missing else spec.default)
    return record(**values)


def build_all(record: type[T], document: Mapping[str, Any], key: str, path: Path) -> list[T]:
    """Fill a dataclass from each object of a list in a JSON document; without the list, none.

    Raises:
        StateError: as for :func:`build`.
    """
    rows = _value(document, key, list[Any], path, [])
    return [build(record, row, f"{path} {key}[{index}]") for index, row in enumerate(rows)]


def _value(content: Mapping[str, Any], key: str, hint: Any, where: object, default: Any = ...) -> Any:
    if key not in content:
        if default is ...:
            raise StateError(where, f"must have the key {key!r}", nearest(key, map(str, content)), "remake the file")
        return default
    if not _fits(content[key], hint):
        kind = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
        raise StateError(where, f"{key!r} must be {kind}", repr(content[key])[:80], "remake the file")
    return tuple(content[key]) if Interval in (hint, *get_args(hint)) and content[key] is not None else content[key]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the annotated kind; a bool is no number and a float must be finite."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, origin or hint) and not isinstance(value, bool)

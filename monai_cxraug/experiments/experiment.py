"""The experiment file: data, not code. What was declared before the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Final, TypeVar

from monai_cxraug.data.filtered import FilterAugment
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.request import Request
from monai_cxraug.data.resampling import Fit
from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.experiments.arms import find_arm
from monai_cxraug.metrics.operating import YOUDEN, parse_rule

T = TypeVar("T")

#: a number of real images, or :data:`ALL`.
Count = int | str
#: every real image, for a count.
ALL: Final = "all"
#: keys that are left out of a document where they say nothing, so that files of older experiments stay as they are.
_LATER: Final = {"budget": ("generators", "generator_recipe"), "endpoint": ("real",), "published": ("real", "accuracy")}


@dataclass(frozen=True)
class DataSpec:
    """Images for one role: a source to prepare, or a manifest that is there.

    Args:
        source: a source of ``cxraug prepare``; or give ``manifest``.
        manifest: path of a manifest with its pack beside it; or give ``source``.
        split: split to use; None uses every row.
        where: columns to the value they must have, or to a list of values of which they must have one.
        images: this and what follows: see :class:`~monai_cxraug.data.request.Request`.
    """

    source: str | None = None
    manifest: str | None = None
    split: str | None = None
    where: Where = field(default_factory=dict)
    images: str | None = None
    labels: str | None = None
    lists: str | None = None
    size: int = 64
    fit: Fit = "pad"
    count: int | None = None
    seed: int = 0
    folds: int = 0
    validation: float | None = None
    salt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> Request:
        """Return what is to be prepared.

        Raises:
            ConfigError: a setting breaks a rule.
        """
        return Request(**{entry.name: getattr(self, entry.name) for entry in fields(Request)})


@dataclass(frozen=True)
class Data:
    """Images by role. Cells are judged on ``test`` when it is given, else on ``validation``.

    In a file, a text in place of a role's settings is the path of a manifest, all of whose rows are used.
    """

    train: DataSpec
    validation: DataSpec | None = None
    test: DataSpec | None = None

    @property
    def calibration(self) -> DataSpec | None:
        """Images that temperatures and thresholds are fitted on: ``validation``, where it is not what is judged on."""
        return self.validation if self.test is not None else None

    @property
    def judged(self) -> tuple[str, DataSpec]:
        """Role and images that the cells are judged on."""
        if self.test is not None:
            return "test", self.test
        if self.validation is not None:
            return "validation", self.validation
        raise ConfigError("data", "needs 'validation' or 'test'", "neither", "say what the cells are judged on")

    def roles(self) -> dict[str, DataSpec]:
        """Return the roles that are given."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: spec for role, spec in named.items() if spec is not None}


@dataclass(frozen=True)
class Budget:
    """What training may cost; the same for every arm.

    Args:
        generator: settings of the generator bundle's training, for example ``total_images``, of a PGGAN.
        classifier: settings of the classifier bundle's training, for example ``steps``.
        recipe: overlay of the classifier bundle that every cell trains with, such as ``recipe_sgd``; None for none.
        threads: CPU threads of every stage, pinned because sums depend on how they are divided.
        replicates: bootstrap replicates of every interval.
        generators: ``gan``, ``infogan``, ``dcgan``, ``fastgan`` or ``conditional_gan`` to settings of its training;
            those of ``gan`` and ``conditional_gan`` take the place of ``generator``'s.
        generator_recipe: overlay of the generator bundle that every PGGAN trains with, such as
            ``recipe_nonsaturating``; None for none.
    """

    generator: Mapping[str, Any] = field(default_factory=dict)
    classifier: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    threads: int = 2
    replicates: int = 2000
    generators: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    generator_recipe: str | None = None


@dataclass(frozen=True)
class Screening:
    """Judges that accept or reject synthetic images, for arms that are ``screened``.

    The judges are classifiers, trained as the arm ``plain`` is, on training patients only. Two rules, or both: system
    A's rejects what looks like one of the common findings ``reject``; the other keeps what shows the intended finding
    as clearly as real positives do that the judge was not trained on.

    Args:
        reject: findings that no accepted image may show.
        threshold: probability from which an image counts as showing one of them.
        accept_share: share of the real positives that would be accepted; None for no such rule.
        folds: judges, each trained without one fold of the training patients; 1 is one judge trained on all of them.
    """

    reject: Sequence[str] = ()
    threshold: float = 0.5
    accept_share: float | None = None
    folds: int = 1


@dataclass(frozen=True)
class TopUp:
    """A grid over numbers of real images: the studied finding is cut to each of them, and filled up again (system C).

    Images are cut patient by patient, so that a smaller number is part of a larger one of the same seed. Every arm that
    adds images fills up to one total, by duplicates, filtered copies or synthetic images; where nothing is to be added
    it has no cell.

    Args:
        finding: the studied one.
        real: numbers of real images, or ``all``.
        total: images in the end, real and added; default all real images of the training set.
    """

    finding: str
    real: Sequence[Count]
    total: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """The primary comparison, declared before the run.

    Args:
        arm: arm in question.
        reference: arm it is compared with.
        finding: a studied finding, or ``macro`` for their mean.
        metric: ``auroc``.
        fraction: fraction of the training patients; default the largest.
        ratio: synthetic images per real positive; default the first.
        real: in a grid over numbers of real images, in place of both: one of them; default the largest at which both
            arms are trained.
    """

    arm: str
    reference: str
    finding: str = "macro"
    metric: str = "auroc"
    fraction: float | None = None
    ratio: float | None = None
    real: Count | None = None


@dataclass(frozen=True)
class Published:
    """What others have reported for an arm; the report prints it beside the values of the run.

    Args:
        arm: arm of ours that did what theirs did.
        auroc: finding to the reported AUROC, in [0, 1].
        fraction: share of the training patients.
        source: who reported them, for the reader.
        real: in place of the fraction, real images of the finding, or ``all``.
        accuracy: finding to the reported accuracy, in [0, 1].
    """

    arm: str
    auroc: Mapping[str, float]
    fraction: float = 1.0
    source: str = ""
    real: Count | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A grid of cells and the comparison declared before it ran.

    Args:
        name: short identifier.
        data: images by role.
        findings: the rare findings under study: each gets a generator and a comparison.
        arms: ways to train the classifier; see :func:`~monai_cxraug.experiments.arms.find_arm`.
        endpoint: the primary comparison.
        title: one line for the report.
        classes: findings that the classifier learns; default every finding of the training manifest.
        fractions: shares of the training patients.
        ratios: added images per real positive image of a studied finding.
        seeds: training seeds; generators are refitted for each.
        budget: what training may cost.
        threshold: rule by which each cell's thresholds are chosen on ``validation`` before it is judged on ``test``;
            see :func:`~monai_cxraug.metrics.operating.parse_rule`. Without both, thresholds are 0.5.
        screening: how synthetic images are judged; needed by arms that are ``screened``.
        filters: filters of ``filtered_real`` and ``filtered_gan``: one copy of each training image a filter.
        external: finding to a folder of images made elsewhere, for the arm ``external``.
        allow_synthetic_majority: permit more synthetic than real training images; the report prints it.
        allow_copies: permit synthetic sets whose audit found copies of training images; the report prints it.
        published: what others have reported, to stand beside the results; nothing is computed from it.
        top_up: a grid over numbers of real images, in place of ``fractions`` and ``ratios``.
    """

    name: str
    data: Data
    findings: Sequence[str]
    arms: Sequence[str]
    endpoint: Endpoint
    title: str = ""
    classes: Sequence[str] | None = None
    fractions: Sequence[float] = (1.0,)
    ratios: Sequence[float] = (1.0,)
    seeds: Sequence[int] = (0,)
    budget: Budget = field(default_factory=Budget)
    threshold: str = YOUDEN
    screening: Screening | None = None
    filters: Sequence[str] = ("gaussian", "unsharp", "minimum")
    external: Mapping[str, str] = field(default_factory=dict)
    allow_synthetic_majority: bool = False
    allow_copies: bool = False
    published: Sequence[Published] = ()
    top_up: TopUp | None = None

    def document(self) -> dict[str, Any]:
        """Return the experiment as plain values."""
        values = asdict(self)
        for key, names in _LATER.items():
            for entry in values[key] if key == "published" else [values[key]]:
                for name in names:
                    if not entry[name]:
                        del entry[name]
        return {key: value for key, value in values.items() if key not in ("top_up", "allow_copies") or value}


def make_experiment(document: Mapping[str, Any], where: str) -> Experiment:
    """Build and check an experiment from plain values.

    Args:
        document: the values.
        where: file to name in errors.

    Raises:
        ConfigError: a key or value breaks a rule.
    """
    values = dict(document)
    nested: dict[str, Callable[[Any, str], Any]] = {
        "data": _data,
        "budget": _maker(Budget),
        "endpoint": _maker(Endpoint),
        "screening": _maker(Screening),
        "published": _published,
        "top_up": _maker(TopUp),
    }
    for key, make in nested.items():
        if values.get(key) is not None or (key == "endpoint" and key in values):
            values[key] = make(values[key], f"{where} key {key!r}")
    experiment = _make(Experiment, values, where)
    _check(experiment, where)
    return experiment


def _data(value: Any, where: str) -> Data:
    require_mapping(value, where)
    given = {role: {"manifest": spec} if isinstance(spec, str) else spec for role, spec in value.items()}
    given = {role: spec for role, spec in given.items() if spec is not None}
    specs = {role: _make(DataSpec, spec, f"{where} {role!r}") for role, spec in given.items()}
    return _make(Data, specs, where)


def _published(value: Any, where: str) -> list[Published]:
    if not isinstance(value, list | tuple):
        raise ConfigError(
            where, "must be a list of entries", type(value).__name__, "- {arm: plain, auroc: {Edema: 0.8}}"
        )
    return [_make(Published, entry, f"{where} entry {number}") for number, entry in enumerate(value, start=1)]


def _maker(cls: type[T]) -> Callable[[Any, str], T]:
    return lambda value, where: _make(cls, value, where)


def _make(cls: type[T], value: Any, where: str) -> T:
    """Build a dataclass from a mapping whose keys must be its fields."""
    require_mapping(value, where)
    known = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            raise ConfigError(f"{where} key {key!r}", "unknown key", repr(key), nearest(str(key), known))
    for name, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and value.get(name) is None:
            raise ConfigError(f"{where} key {name!r}", "a value is required", "none", f"add '{name}: …'")
    # a null is the default, so that an overlay can take back what the file before it says
    return cls(**{name: given for name, given in value.items() if given is not None})


def _check(experiment: Experiment, where: str) -> None:
    _check_lists(experiment, where)
    for arm in (*experiment.arms, experiment.endpoint.arm, experiment.endpoint.reference):
        find_arm(str(arm), f"{where} key 'arms'")
    for key in ("arm", "reference"):
        arm = getattr(experiment.endpoint, key)
        if arm not in experiment.arms:
            known = ", ".join(experiment.arms)
            raise ConfigError(f"{where} key 'endpoint.{key}'", "must be one of the arms", repr(arm), f"arms: {known}")
    if experiment.endpoint.arm == experiment.endpoint.reference:
        found, hint = repr(experiment.endpoint.reference), "name the arm that it is compared with"
        raise ConfigError(f"{where} key 'endpoint.reference'", "must be another arm than endpoint.arm", found, hint)
    finding = experiment.endpoint.finding
    if finding not in (*experiment.findings, "macro"):
        hint = nearest(finding, (*experiment.findings, "macro"))
        raise ConfigError(f"{where} key 'endpoint.finding'", "must be a studied finding or macro", repr(finding), hint)
    if experiment.endpoint.metric != "auroc":
        raise ConfigError(f"{where} key 'endpoint.metric'", "must be auroc", repr(experiment.endpoint.metric))
    parse_rule(experiment.threshold, f"{where} key 'threshold'")
    _check_made(experiment, where)
    _check_top_up(experiment, where)
    for number, entry in enumerate(experiment.published, start=1):
        _check_published(entry, f"{where} key 'published' entry {number}")
    for role, spec in experiment.data.roles().items():
        if (spec.source is None) == (spec.manifest is None):
            rule = "give either 'source' or 'manifest'"
            raise ConfigError(f"{where} key 'data.{role}'", rule, "both" if spec.source else "neither")
        if spec.source is not None:
            spec.request()
    _ = experiment.data.judged


def _check_published(entry: Published, where: str) -> None:
    find_arm(str(entry.arm), f"{where} 'arm'")
    for key, reported in (("auroc", entry.auroc), ("accuracy", entry.accuracy)):
        require_mapping(reported, f"{where} {key!r}")
        for finding, value in reported.items():
            if not (_is_number(value) and 0 <= value <= 1):
                rule = "must be a number from 0 to 1"
                raise ConfigError(f"{where} {key!r} of {finding!r}", rule, repr(value), "mend it")
    if not (_is_number(entry.fraction) and 0 < entry.fraction <= 1):
        raise ConfigError(f"{where} 'fraction'", "must be above 0 and at most 1", repr(entry.fraction), "mend it")


def _check_top_up(experiment: Experiment, where: str) -> None:
    """Counts belong to an experiment over counts, and to its one finding."""
    declared = experiment.top_up
    counts = {"endpoint.real": experiment.endpoint.real}
    counts |= {f"published' entry {k} 'real": one.real for k, one in enumerate(experiment.published, start=1)}
    for key, count in counts.items():
        if count is None:
            continue
        if declared is None:
            mend = "add 'top_up: {finding: …, real: [10, 50, all]}', or give 'fraction'"
            raise ConfigError(f"{where} key '{key}'", "belongs to a grid over 'top_up'", repr(count), mend)
        _require_count(count, f"{where} key '{key}'")
    if declared is None:
        return
    if list(experiment.findings) != [declared.finding]:
        rule = f"must be the one studied finding ({', '.join(experiment.findings)})"
        raise ConfigError(f"{where} key 'top_up.finding'", rule, repr(declared.finding), "study it alone")
    if not isinstance(declared.real, list | tuple) or not declared.real:
        rule = f"must be a list of numbers of real images, or {ALL}"
        raise ConfigError(f"{where} key 'top_up.real'", rule, repr(declared.real), f"for example [10, 50, 100, {ALL}]")
    for count in declared.real:
        _require_count(count, f"{where} key 'top_up.real'")
    if len({*declared.real}) < len(declared.real):
        raise ConfigError(f"{where} key 'top_up.real'", "a count may stand once", repr(declared.real), "mend it")
    if declared.total is not None and not _is_count(declared.total):
        rule = "must be a whole number of at least 1, or null for all real images"
        raise ConfigError(f"{where} key 'top_up.total'", rule, repr(declared.total), "mend it")


def _require_count(count: object, where: str) -> None:
    if count != ALL and not _is_count(count):
        raise ConfigError(where, f"must be a whole number of at least 1, or {ALL}", repr(count), "mend it")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_made(experiment: Experiment, where: str) -> None:
    """What synthetic images come from must be declared."""
    makings = [making for arm in experiment.arms if (making := find_arm(arm).making)]
    if any(making.screened for making in makings):
        if experiment.screening is None:
            mend = "add 'screening: {accept_share: 0.75, folds: 3}'"
            raise ConfigError(f"{where} key 'screening'", "is needed by arms that are screened", "none", mend)
        _check_screening(experiment.screening, f"{where} key 'screening'")
    if any(making.origin == "external" for making in makings):
        for finding in experiment.findings:
            if finding not in experiment.external:
                rule, mend = "the arm 'external' needs a folder for each studied finding", f"add '{finding}: FOLDER'"
                raise ConfigError(f"{where} key 'external'", rule, f"none for {finding!r}", mend)
    FilterAugment("", "", experiment.filters)  # refuses unknown names


def _check_screening(screening: Screening, where: str) -> None:
    share = screening.accept_share
    if not screening.reject and share is None:
        raise ConfigError(where, "must say what is rejected or accepted", "neither", "give 'reject' or 'accept_share'")
    for key, value in (("threshold", screening.threshold), ("accept_share", share)):
        if value is not None and not (_is_number(value) and 0 < value < 1):
            raise ConfigError(f"{where} {key!r}", "must be a number between 0 and 1", repr(value), "mend it")
    folds = screening.folds
    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 1:
        raise ConfigError(f"{where} 'folds'", "must be a whole number of at least 1", repr(folds), "mend it")
    if share is not None and folds < 2:
        rule = "'accept_share' needs judges that were not trained on what they judge: at least 2 folds"
        raise ConfigError(f"{where} 'folds'", rule, folds, "give 'folds: 3'")


def _check_lists(experiment: Experiment, where: str) -> None:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "findings": (lambda item: isinstance(item, str), "names of findings"),
        "arms": (lambda item: isinstance(item, str), "names of arms"),
        "fractions": (lambda item: _is_number(item) and 0 < item <= 1, "numbers above 0 and at most 1"),
        "ratios": (lambda item: _is_number(item) and item > 0, "numbers above 0"),
        "seeds": (lambda item: isinstance(item, int) and not isinstance(item, bool) and item >= 0, "whole numbers"),
    }
    for key, (fits, wanted) in rules.items():
        values = getattr(experiment, key)
        fine = isinstance(values, list | tuple) and values and all(map(fits, values)) and len({*values}) == len(values)
        if not fine:
            raise ConfigError(f"{where} key {key!r}", f"must be a list of different {wanted}", repr(values))
    for key, least in (("replicates", 100), ("threads", 1)):
        value = getattr(experiment.budget, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{where} key 'budget.{key}'", f"must be a whole number of at least {least}", repr(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_mapping(value: Any, where: str) -> None:
    """Refuse what is no mapping.

    Raises:
        ConfigError: naming what was found.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(where, "must be a mapping of keys to values", type(value).__name__, "mend the file")

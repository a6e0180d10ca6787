"""What each stage does: the configuration, overlays and settings that it runs, without this machine's folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, file_hash, load_json
from monai_cxraug.bundle_config import bundle_file
from monai_cxraug.config_audit import audit, require_trust
from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.experiments.arms import CONDITIONAL, OWN, Additions, Arm, find_arm
from monai_cxraug.experiments.experiment import DataSpec, Experiment, require_mapping
from monai_cxraug.experiments.plan import FILTERED, CellPlan, GeneratorPlan, JudgePlan, SyntheticPlan, read_data_hash

CLASSIFIER_BUNDLE: Final = "chest_xray_classification"
#: a generator's network to the bundle that trains it, and to the overlays that make it this one.
GENERATOR_BUNDLES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "gan": ("chest_xray_pggan", ()),
    "infogan": ("image_infogan", ()),
    "dcgan": ("image_infogan", ("dcgan",)),
    "fastgan": ("image_infogan", ("fastgan",)),
    CONDITIONAL: ("chest_xray_pggan", ()),
}
#: keys of a training configuration that the runner sets, so that a budget may not.
_OWN_KEYS: Final = {
    "bundle_root", "output_dir", "manifest", "finding", "condition", "findings", "split", "where", "size", "resolution",
    "fraction", "fraction_seed", "seed", "synthetic", "duplicates", "filtered", "filters", "shuffle_labels",
    "left_out_fold", "held_out", "allow_synthetic_majority", "fingerprint", "threads", "keep_checkpoint", "mixup",
    "switch_after", "retrain_head", "switched_sampling", "reweight_after", "limit", "top_up", "allow_copies",
}  # fmt: skip

#: keys that every arm of an experiment shares, so that it is the arms that are compared.
_EQUAL_KEYS: Final = {
    "steps",
    "batch_size",
    "epoch_length",
    "architecture",
    "network_def",
    "network",
    "run",
    "initialize",
}
#: of the section ``train``, what an overlay of one's own may change: the rest holds the images, and who is held out.
_OPEN_PARTS: Final = ("train#preprocessing", "train#handlers", "train#inferer")

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """A training: its bundle, the overlays in order, and settings. Synthetic sets are named, not located."""

    bundle: str
    settings: Settings
    overlays: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The configuration and its overlays, in the order that they are merged."""
        named = ("train", *self.overlays)
        return [Path(name) if name.endswith(OWN) else bundle_file(self.bundle, name) for name in named]


@dataclass(frozen=True)
class Workshop:
    """Turns what was declared into what is run, and hashes all that decides a result.

    Args:
        experiment: what was declared.
        manifests: role to the path of its manifest.
        classes: findings that the classifiers learn.
        smoke: whether the bundles' smoke overlays are used.
    """

    experiment: Experiment
    manifests: Mapping[str, Path]
    classes: Sequence[str]
    smoke: bool = False

    # --- trainings ---

    def generator(self, one: GeneratorPlan) -> Work:
        """Training of a generator; where there are fewer images than a batch has, the batch is smaller."""
        train, budget = self.experiment.data.train, self.experiment.budget
        bundle, overlays = GENERATOR_BUNDLES[one.origin]
        general: Settings = {}
        if bundle == GENERATOR_BUNDLES["gan"][0]:
            general, overlays = budget.generator, (*overlays, *_given(budget.generator_recipe))
        declared = {**general, **budget.generators.get(one.origin, {})}
        batch = {**bundle_settings(bundle, overlays), **declared}["batch_size"]
        settings = {
            **declared,
            **({"batch_size": one.images} if isinstance(batch, int) and 0 < one.images < batch else {}),
            **_chosen(train),
            **({"finding": one.finding} if one.finding else {"condition": list(self.classes)}),
            **self._part(one),
            "seed": one.seed,
            "resolution": train.size,
        }
        return Work(bundle, settings, (*overlays, *self._smoke))

    def judge(self, one: JudgePlan) -> Work:
        """Training of a judge: as the arm ``plain``, without a fold where there are several."""
        fold = [one.fold, one.folds] if one.folds > 1 else None
        settings = {**self._classifier(one), "left_out_fold": fold}
        return Work(CLASSIFIER_BUNDLE, settings, (*self._recipe, *self._smoke))

    def cell(self, one: CellPlan) -> Work:
        """Training of a cell; its ``synthetic`` names sets of the run."""
        arm = find_arm(one.arm)
        named: list[str | Mapping[str, Any]] = list(one.synthetic)
        if arm.making and arm.making.origin == "external":
            external = self.experiment.external
            named = [{"folder": external[finding], "n": count} for finding, count in one.counts.items()]
        added = arm.overrides(Additions(one.counts, named, self.experiment.filters))
        settings = {
            **self._classifier(one),
            **added,
            **self._total(one, arm),
            "allow_synthetic_majority": self.experiment.allow_synthetic_majority,
            "allow_copies": self.experiment.allow_copies or self.smoke,  # a smoke run says nothing of its images
        }
        return Work(CLASSIFIER_BUNDLE, settings, (*self._recipe, *arm.overlays, *self._smoke))

    def _total(self, one: CellPlan, arm: Arm) -> dict[str, Any]:
        """Up to how many images a finding is filled with synthetic ones, in a grid over numbers of real images."""
        declared = self.experiment.top_up
        if declared is None or arm.making is None:
            return {}
        # without a limit every real image is there, and only a declared total can be larger
        return {"top_up": {name: declared.total or one.limit[name] + n for name, n in one.counts.items()}}

    def _part(self, one: GeneratorPlan | JudgePlan | CellPlan) -> dict[str, Any]:
        """Which of the training images a stage sees."""
        if self.experiment.top_up is None:
            return {"fraction": one.fraction, "fraction_seed": one.seed}
        limit = {"limit": dict(one.limit)} if one.limit else {}
        return {"fraction": 1.0, "fraction_seed": one.seed, **limit}

    def _classifier(self, one: JudgePlan | CellPlan) -> dict[str, Any]:
        train = self.experiment.data.train
        return {
            **self.experiment.budget.classifier,
            **_chosen(train),
            "findings": list(self.classes),
            "size": train.size,
            **self._part(one),
            "seed": one.seed,
        }

    @property
    def _recipe(self) -> tuple[str, ...]:
        return _given(self.experiment.budget.recipe)

    @property
    def _smoke(self) -> tuple[str, ...]:
        return ("smoke",) if self.smoke else ()

    # --- keys ---

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Role to the hash of its images and labels."""
        found = {path: read_data_hash(path) for path in set(self.manifests.values())}
        return {role: found[path] for role, path in self.manifests.items()}

    def generator_key(self, one: GeneratorPlan) -> str:
        """Hash of all that decides a generator: its training, or the file that it is taken from."""
        if one.reused:
            return self._hash(["reused", one.reused["sha256"]])
        return self._key(self.generator(one), [FILTERED if one.filtered else "train"])

    def judge_key(self, one: JudgePlan) -> str:
        """Hash of all that decides a judge."""
        return self._key(self.judge(one), ["train"])

    def synthetic_key(self, one: SyntheticPlan, keys: Mapping[str, str]) -> str:
        """Hash of all that decides a synthetic set.

        Args:
            one: the set.
            keys: ids of generators and judges to their keys.
        """
        screening = self.experiment.screening if one.judges else None
        rule = None if screening is None else vars(screening)
        return self._hash(
            [keys[one.generator], [keys[judge] for judge in one.judges], rule, one.finding, one.n, one.seed]
        )

    def cell_key(self, one: CellPlan, keys: Mapping[str, str]) -> str:
        """Hash of all that decides a cell: what it is trained on, judged on, and where its thresholds come from.

        Args:
            one: the cell.
            keys: ids of synthetic sets to their keys.
        """
        data = self.experiment.data
        role, judged = data.judged
        answers: list[Any] = [role, self.hashes[role], _chosen(judged), load_json(classifier_file("evaluate"))]
        if data.calibration is not None:
            fitted = [self.hashes["validation"], _chosen(data.calibration), self.experiment.threshold]
            answers += [*fitted, load_json(classifier_file("calibrate"))]
        work = self.cell(one)
        made = [keys[name] for name in one.synthetic]
        if find_arm(one.arm).making and not made:
            made = [file_hash(Path(entry["folder"]) / "pack.npy") for entry in work.settings["synthetic"]]
        plain = Work(work.bundle, {**work.settings, "synthetic": []}, work.overlays)
        return self._key(plain, ["train"], [made, answers])

    def _key(self, work: Work, roles: Sequence[str], more: Any = None) -> str:
        # where images, weights and configurations lie decides nothing: hashes of their contents stand for them
        settings = dict(work.settings)
        if weights := settings.get("weights"):
            settings["weights"] = file_hash(Path(weights))
        files = [load_json(path) for path in work.files]
        return self._hash([work.bundle, files, settings, [self.hashes[role] for role in roles], more])

    def _hash(self, content: Any) -> str:
        return content_hash([content, self.experiment.budget.threads, __version__])


def classifier_file(name: str) -> Path:
    """Configuration of the classifier bundle, such as ``evaluate``, by which a cell answers."""
    return bundle_file(CLASSIFIER_BUNDLE, name)


def _chosen(spec: DataSpec) -> dict[str, Any]:
    return {"split": spec.split, "where": dict(spec.where)}


def check_budget(experiment: Experiment) -> None:
    """Refuse a budget key that the bundle does not have, before hours of training.

    Raises:
        ConfigError: the key is unknown, or one that the runner sets itself, or pretrained weights are not there.
    """
    weights = experiment.budget.classifier.get("weights")
    if weights and not Path(weights).is_file():
        raise ConfigError("budget.classifier key 'weights'", "must be a file", repr(weights), "check the path")
    budget = experiment.budget
    _require_settings(budget.classifier, "budget.classifier", bundle_settings(CLASSIFIER_BUNDLE))
    _require_settings(budget.generator, "budget.generator", bundle_settings(*GENERATOR_BUNDLES["gan"]))
    require_mapping(budget.generators, "budget.generators")
    for origin, settings in budget.generators.items():
        if origin not in GENERATOR_BUNDLES:
            hint = nearest(str(origin), GENERATOR_BUNDLES)
            raise ConfigError(f"budget.generators key {origin!r}", "unknown generator", repr(origin), hint)
        require_mapping(settings, f"budget.generators key {origin!r}")
        _require_settings(settings, f"budget.generators.{origin}", bundle_settings(*GENERATOR_BUNDLES[origin]))
    _require_recipe("budget.recipe", budget.recipe, CLASSIFIER_BUNDLE)
    _require_recipe("budget.generator_recipe", budget.generator_recipe, GENERATOR_BUNDLES["gan"][0])


def _require_recipe(where: str, recipe: str | None, bundle: str) -> None:
    names = (path.stem for path in bundle_file(bundle, "train").parent.glob("*.json"))
    known = sorted(name for name in names if name.startswith("recipe_") or name == "few_images")
    if recipe is not None and recipe not in known:
        raise ConfigError(where, "unknown recipe", repr(recipe), nearest(str(recipe), known))


def _given(recipe: str | None) -> tuple[str, ...]:
    return (recipe,) if recipe else ()


def check_overlays(experiment: Experiment) -> None:
    """Refuse overlays of one's own that are not there, are others', or change what is equal for every arm.

    Raises:
        InputError: one is missing or no configuration.
        ConfigError: one lies outside of the working folder, or sets what the runner or the budget sets.
    """
    for arm in experiment.arms:
        for name in find_arm(arm).overlays:
            if not name.endswith(OWN):
                continue
            require_trust(audit([name]), trusted=False)
            content = load_json(Path(name))
            if fixed := sorted(filter(_is_fixed, content)):
                rule = (
                    "an arm's overlay may not change what the runner sets, nor the steps, which are equal for every arm"
                )
                raise ConfigError(
                    f"{name} key {fixed[0]!r}", rule, repr(fixed[0]), "take it out; budget.classifier has it"
                )


def _is_fixed(key: str) -> bool:
    """Whether the runner or the budget decides what a key of an overlay names."""
    path = key.lstrip("+").replace("::", "#")
    inside = any(path == part or path.startswith(f"{part}#") for part in _OPEN_PARTS)
    return path.split("#")[0] in _OWN_KEYS | _EQUAL_KEYS | {"train"} and not inside


def check_sides(experiment: Experiment) -> None:
    """Refuse images whose side a generator of the experiment cannot have, before hours of training.

    Raises:
        ConfigError: a PGGAN's side must be a power of two, another generator's 4, 5, 6 or 7 times one.
    """
    side = experiment.data.train.size
    odd = side // (side & -side)  # what is left when every factor of two is taken out
    for arm in experiment.arms:
        making = find_arm(arm).making
        if making is None or making.origin == "external":
            continue
        doubling = making.origin in ("gan", "filtered_gan", CONDITIONAL)
        if side < 4 or odd > (1 if doubling else 7):
            rule = f"must be a power of two for arm {arm!r}"
            if not doubling:
                rule = f"must be 4, 5, 6 or 7 times a power of two for arm {arm!r}"
            raise ConfigError("experiment key 'data.train.size'", rule, f"{side} px", "for example 32, 64 or 128")


def bundle_settings(bundle: str, overlays: Sequence[str] = ()) -> dict[str, Any]:
    """Top-level keys of a bundle's training configuration and its overlays, the later ones in place of the earlier."""
    files = [load_json(bundle_file(bundle, name)) for name in ("train", *overlays)]
    return {key: value for content in files for key, value in content.items()}


def _require_settings(settings: Mapping[str, Any], where: str, brought: Mapping[str, Any]) -> None:
    known = [key for key, value in brought.items() if _is_setting(key, value)]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{where} key {key!r}", "unknown key", repr(key), nearest(key, known))


def _is_setting(key: str, value: Any) -> bool:
    """A plain value that the experiment may choose, rather than a component or a key of the runner's."""
    return key not in _OWN_KEYS and not key.startswith("_") and not isinstance(value, dict | list)

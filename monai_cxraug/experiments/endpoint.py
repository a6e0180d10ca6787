"""The part of an experiment that its endpoint needs, and the experiment as it may be published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.experiment import Data, DataSpec, Experiment

#: settings of a role that name files of a machine.
_PATHS: Final = ("images", "labels", "lists", "manifest", "salt")


def endpoint_only(experiment: Experiment, seeds: Sequence[int] | None = None) -> Experiment:
    """Keep the cells of the endpoint: its two arms at its fraction and ratio.

    Args:
        experiment: what was declared.
        seeds: those to keep; default all.

    Raises:
        ConfigError: it is a grid over numbers of real images, or a seed is none of the experiment's.
    """
    if experiment.top_up is not None:
        rule, mend = "a grid over numbers of real images cannot be cut to its endpoint", "run all of it"
        raise ConfigError("experiment key 'top_up'", rule, "one", mend)
    for seed in seeds or ():
        if seed not in experiment.seeds:
            known = ", ".join(map(str, experiment.seeds))
            raise ConfigError("seeds", "must be of the experiment", repr(seed), f"known: {known}")
    declared = experiment.endpoint
    return replace(
        experiment,
        arms=[arm for arm in experiment.arms if arm in (declared.arm, declared.reference)],
        fractions=[max(experiment.fractions) if declared.fraction is None else declared.fraction],
        ratios=[experiment.ratios[0] if declared.ratio is None else declared.ratio],
        seeds=list(experiment.seeds if seeds is None else seeds),
    )


def without_paths(experiment: Experiment) -> Experiment:
    """The same experiment with names of files and folders in place of the paths of this machine."""
    roles = {role: _named(spec) for role, spec in experiment.data.roles().items()}
    classifier = dict(experiment.budget.classifier)
    if weights := classifier.get("weights"):
        classifier["weights"] = Path(weights).name
    return replace(
        experiment,
        data=Data(**roles),
        external={finding: Path(folder).name for finding, folder in experiment.external.items()},
        budget=replace(experiment.budget, classifier=classifier),
    )


def _named(spec: DataSpec) -> DataSpec:
    given = {key: getattr(spec, key) for key in _PATHS}
    named: dict[str, Any] = {key: Path(path).name for key, path in given.items() if path is not None}
    return replace(spec, **named)

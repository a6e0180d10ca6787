"""Models that travel with a bundle: ``models/<experiment>/<stage>/`` holds each, and one index says what they are.

An index and the models beside it are what is left of a run when everything is taken out that its endpoint does not
need: enough to ask its classifiers about other images, and to train its cells again with its generators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import file_hash, read_json
from monai_cxraug.data.files import inside
from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.experiments.experiment import Experiment, make_experiment
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan

SCHEMA: Final = "cxraug.shipped/1"
INDEX: Final = "shipped.json"
MODEL: Final = "model.pt"
_FETCH: Final = "fetch the file again: it belongs to the repository and to the package"
_STAGES: Final[Mapping[str, type[GeneratorPlan] | type[CellPlan]]] = {
    one.kind: one for one in (GeneratorPlan, CellPlan)
}


@dataclass(frozen=True)
class ShippedModel:
    """One model: whose place in the plan it has, and what it was trained with.

    Args:
        folder: that holds its files.
        stage: the stage of the run that made it.
        files: names of its files to their SHA-256.
        settings: of its training, without folders.
        overlays: of its training, in order.
    """

    folder: Path
    stage: GeneratorPlan | CellPlan
    files: Mapping[str, str]
    settings: Mapping[str, Any]
    overlays: Sequence[str]

    @property
    def model(self) -> Path:
        """The model file."""
        return self.folder / MODEL

    def require_whole(self) -> None:
        """Refuse files that are not those that were shipped.

        Raises:
            InputError: one is missing.
            StateError: one has another content.
        """
        for name, wanted in self.files.items():
            path = inside(self.folder, name)
            if not path.is_file():
                raise InputError(path, "a shipped model must have its files", "no file", _FETCH)
            if (found := file_hash(path)) != wanted:
                rule = f"must be the file that was shipped (SHA-256 {wanted[:12]}…)"
                raise StateError(path, rule, f"another content ({found[:12]}…)", _FETCH)


@dataclass(frozen=True)
class Shipped:
    """What an experiment ships in one bundle.

    Args:
        folder: ``models/<experiment>`` of the bundle.
        experiment: its endpoint's arms, fraction and ratio, and the seeds of the models.
        classes: findings that the classifiers learnt.
        salt: fingerprint of the key that hashes its patients' names; None where they bear their own.
        models: in the order of the plan.
        operating: rows of the run's results about the arms of its classifiers, on the run's own images.
        declared: what the run's record says of its endpoint.
    """

    folder: Path
    experiment: Experiment
    classes: Sequence[str]
    salt: str | None
    models: Sequence[ShippedModel]
    operating: Sequence[Mapping[str, Any]] = field(default=())
    declared: Mapping[str, Any] | None = None

    def generators(self) -> list[ShippedModel]:
        """Those that make images."""
        return [one for one in self.models if isinstance(one.stage, GeneratorPlan)]

    def cells(self) -> dict[str, ShippedModel]:
        """Classifiers by the id of their cell."""
        return {one.stage.id: one for one in self.models if isinstance(one.stage, CellPlan)}


def find_shipped(where: Path) -> Shipped:
    """Find what a bundle ships.

    Args:
        where: a bundle, or the folder ``models/<experiment>`` of one.

    Raises:
        InputError: it ships nothing, or models of several experiments.
        StateError: the index does not hold what it should.
    """
    if (where / INDEX).is_file():
        return read_shipped(where)
    found = shipped_folders(where)
    if len(found) == 1:
        return read_shipped(found[0])
    if found:
        names = ", ".join(path.name for path in found)
        raise InputError(where / "models", "holds models of several experiments", names, f"give {found[0]}")
    rule = f"must be a run (plan.json), or a bundle that ships models (models/*/{INDEX})"
    raise InputError(where, rule, "neither", "check the path")


def shipped_folders(bundle: Path) -> list[Path]:
    """Folders of the experiments whose models a bundle ships."""
    return sorted(path.parent for path in bundle.glob(f"models/*/{INDEX}"))


def read_shipped(folder: Path) -> Shipped:
    """Read an index.

    Args:
        folder: that holds it.

    Raises:
        InputError: it is missing or no JSON, or a model's name leads out of the folder.
        StateError: it does not hold what it should.
    """
    path = folder / INDEX
    document = read_json(path, SCHEMA)
    try:
        return Shipped(
            folder=folder,
            experiment=make_experiment(document["experiment"], str(path)),
            classes=_texts(document["classes"]),
            salt=document["salt"],
            models=[_read_model(folder, entry) for entry in document["models"]],
            operating=[dict(row) for row in document.get("operating", [])],
            declared=document.get("declared"),
        )
    except CxrAugError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        rule, found = "must describe an experiment and its models", f"{type(error).__name__}: {error}"
        raise StateError(path, rule, found, _FETCH) from None


def _read_model(folder: Path, entry: Mapping[str, Any]) -> ShippedModel:
    stage = _STAGES[entry["kind"]](**entry["stage"])
    files = {str(name): str(value) for name, value in entry["files"].items()}
    if MODEL not in files:
        raise ValueError(f"{stage.id!r} lists no {MODEL}")
    return ShippedModel(inside(folder, stage.id), stage, files, dict(entry["settings"]), _texts(entry["overlays"]))


def _texts(values: Iterable[Any]) -> list[str]:
    if isinstance(values, str) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"must be a list of texts: {values!r}"[:200])
    return list(values)

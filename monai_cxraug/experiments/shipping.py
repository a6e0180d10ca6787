"""From a finished run to what its bundles ship: models in half precision, calibrated, with cards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from monai_cxraug.artifacts import file_hash, load_json, write_json, write_text
from monai_cxraug.calibration import FILE, read_calibration
from monai_cxraug.data.copies import COPIES
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.files import inside
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import InputError, LeakageError, StateError
from monai_cxraug.experiments.declared import describe_endpoint
from monai_cxraug.experiments.endpoint import endpoint_only, without_paths
from monai_cxraug.experiments.experiment import Experiment
from monai_cxraug.experiments.model_card import CARD, Card
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan, Plan, data_spec, read_plan, stage_folder
from monai_cxraug.experiments.shipped import INDEX, MODEL, SCHEMA
from monai_cxraug.experiments.stage import read_record
from monai_cxraug.experiments.work import CLASSIFIER_BUNDLE, GENERATOR_BUNDLES
from monai_cxraug.networks.weights import Model, load_model, save_model
from monai_cxraug.resources import resource_root
from monai_cxraug.synthesis.generators import make_generator

#: bytes that a model file may have.
LARGEST: Final[Mapping[str, int]] = {"generator": 8 * 2**20, "cell": 25 * 2**20}
#: images on which a rounded network is compared with the whole one.
_COMPARED: Final = 64

Shippable = GeneratorPlan | CellPlan


@dataclass(frozen=True)
class Shipping:
    """Writes the models of a run's endpoint into ``models/<experiment>/`` of their bundles.

    Of the endpoint's two arms one classifier each is shipped, that of one seed, with its calibration; of the generator
    behind them those of every seed, which is what ``cxraug run --reuse-generators`` needs. Names of patients whose
    images trained a model travel in its file, so that nobody judges it by them.

    Args:
        run: a finished run.
        bundles: folder of the bundles; default those of the package.
        seed: of the classifiers; default the first.
        names_are_public: say that the patients' names in the training manifest are public. Otherwise they must have
            been hashed, with a key that stays on site (``cxraug prepare --salt``).
        credits: lines of credit for the cards, beside the licence that the manifest states.
    """

    run: Path
    bundles: Path | None = None
    seed: int | None = None
    names_are_public: bool = False
    credits: Sequence[str] = ()

    def ship(self) -> list[Path]:
        """Write and return the folders written; what an earlier shipping left there is replaced.

        Raises:
            InputError: the run is not finished.
            StateError: it was a smoke run, a model is too large, or a generator makes copies of training images.
            LeakageError: patients' names are neither hashed nor public.
            ConfigError: the seed is none of the run's, or the experiment cannot be cut to its endpoint.
        """
        self._refuse_unfit()
        groups: dict[str, list[Shippable]] = {}
        shippable: list[Shippable] = [*self._generators, *self._cells]
        for one in shippable:
            groups.setdefault(_bundle_of(one), []).append(one)
        return [self._fill(bundle, stages) for bundle, stages in groups.items()]

    # --- what is shipped ---

    @cached_property
    def plan(self) -> Plan:
        """The run's plan."""
        return read_plan(self.run)

    @cached_property
    def results(self) -> dict[str, Any]:
        """The run's results."""
        found: dict[str, Any] = load_json(self.run / "results.json")
        return found

    @cached_property
    def _whole(self) -> Experiment:
        """The endpoint's cells, of all seeds."""
        return endpoint_only(self.plan.experiment)

    @property
    def _seed(self) -> int:
        return self._whole.seeds[0] if self.seed is None else self.seed

    @cached_property
    def _declared(self) -> list[CellPlan]:
        """The endpoint's cells, of all seeds."""
        kept = self._whole
        return [
            cell
            for cell in self.plan.cells
            if cell.arm in kept.arms and cell.fraction == kept.fractions[0] and cell.ratio in (None, kept.ratios[0])
        ]

    @property
    def _cells(self) -> list[CellPlan]:
        return [cell for cell in self._declared if cell.seed == self._seed]

    @property
    def _generators(self) -> list[GeneratorPlan]:
        sets = {name for cell in self._declared for name in cell.synthetic}
        wanted = {one.generator for one in self.plan.synthetic if one.id in sets}
        return [one for one in self.plan.generators if one.id in wanted]

    @property
    def _salt(self) -> str | None:
        salt: str | None = read_manifest(self.plan.manifests["train"]).info.get("salt")
        return salt

    # --- rules ---

    def _refuse_unfit(self) -> None:
        endpoint_only(self.plan.experiment, [self._seed])  # refuses a seed that is not there
        if self.plan.smoke:
            raise StateError(self.run, "must be a real run", "a smoke run", "its models mean nothing: run it in full")
        if not (self.run / "results.json").is_file():
            raise InputError(self.run, "the run must be finished", "no results.json", "finish it with cxraug run")
        if self._salt is None and not self.names_are_public:
            rule = "patients' names travel with the models: they must be hashed, or public"
            mend = "prepare with --salt, or say that they are public (--names-are-public)"
            raise LeakageError(self.plan.manifests["train"], rule, "neither", mend)
        needed: list[Shippable] = [*self._generators, *self._declared]
        for one in needed:
            if not (path := stage_folder(self.run, one) / MODEL).is_file():
                raise InputError(path, "every model of the endpoint must be there", "no file", "finish the run")
        if not self.plan.experiment.allow_copies:
            self._refuse_copies()

    def _refuse_copies(self) -> None:
        shipped = {one.id for one in self._generators}
        for row in self.results.get("synthetic", []):
            if row["generator"] in shipped and row["audit"].get("verdict") == COPIES:
                rule = "a generator that is given away may not make copies of training images"
                raise StateError(self.run / "generators" / row["generator"], rule, COPIES, "train it on more images")

    # --- files ---

    def _fill(self, bundle: str, stages: Sequence[Shippable]) -> Path:
        models = (self.bundles or resource_root() / "bundles") / bundle / "models"
        with _replaced(inside(models, self.plan.experiment.name)) as folder:
            entries = [self._write(one, inside(folder, one.id)) for one in stages]
            cells = [one for one in stages if isinstance(one, CellPlan)]
            kept = endpoint_only(self.plan.experiment, [self._seed] if cells else None)
            document = {
                "experiment": without_paths(kept).document(),
                "classes": list(self.plan.classes),
                "salt": self._salt,
                "declared": describe_endpoint(self.run),
                "models": entries,
                "operating": self._operating(cells),
            }
            write_json(folder / INDEX, SCHEMA, document)
        return inside(models, self.plan.experiment.name)

    def _write(self, one: Shippable, folder: Path) -> dict[str, Any]:
        """Write a model, what belongs beside it and its card; return its entry in the index."""
        origin, record = stage_folder(self.run, one), read_record(stage_folder(self.run, one))
        whole = load_model(origin)
        save_model(folder / MODEL, whole.kind, whole.network, whole.about, half=True)
        if (size := (folder / MODEL).stat().st_size) > (most := LARGEST[one.kind]):
            rule = f"a shipped {one.kind} may have {most / 2**20:g} MiB at most"
            raise StateError(origin / MODEL, rule, f"{size / 2**20:.1f} MiB", "train a smaller network")
        if (origin / FILE).is_file():
            fitted = replace(read_calibration(origin / FILE), model=file_hash(folder / MODEL))
            fitted.write(folder / FILE)
        settings = {key: value for key, value in record["settings"].items() if key != "synthetic"}
        rounded = load_model(folder)
        changed = self._compare(one, whole, rounded)
        files = {name: file_hash(folder / name) for name in (MODEL, FILE) if (folder / name).is_file()}
        card = Card(self.plan, self.results, one, rounded, settings, record["overlays"], changed, self.credits)
        write_text(folder / CARD, card.text())
        return {
            "kind": one.kind,
            "stage": asdict(one),
            "files": files,
            "settings": settings,
            "overlays": record["overlays"],
        }

    def _operating(self, cells: Sequence[CellPlan]) -> list[dict[str, Any]]:
        """What the run measured of the very classifiers that are shipped, on its own images."""
        arms = {(cell.arm, cell.fraction, cell.ratio, cell.seed) for cell in cells}
        rows = self.results.get("operating", [])
        own = [row for row in rows if (row["arm"], row["fraction"], row["ratio"], row["seed"]) in arms]
        return [{**row, "seed": "all"} for row in own]  # one seed is all there are

    def _compare(self, one: Shippable, whole: Model, rounded: Model) -> float:
        """Largest change of a pixel, or of a probability, by rounding."""
        if isinstance(one, GeneratorPlan):
            finding = one.finding or str(self.plan.experiment.findings[0])
            images = [make_generator(model).sample(_COMPARED, finding, 0) for model in (whole, rounded)]
            return float(abs(images[0] - images[1]).max())
        role, spec = self.plan.experiment.data.judged
        place = data_spec(spec, self.plan.manifests[role])
        rows = PackRows(**place, size=whole.about["size"], contrast=whole.about.get("contrast"))
        batch = torch.stack([rows.sample(k)["image"] for k in range(min(_COMPARED, len(rows)))])
        with torch.inference_mode():
            first, second = (model.network(batch).sigmoid() for model in (whole, rounded))
        return float((first - second).abs().max())


def _bundle_of(one: Shippable) -> str:
    return CLASSIFIER_BUNDLE if isinstance(one, CellPlan) else GENERATOR_BUNDLES[one.origin][0]


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the place of one only when all is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".ship.") as staging:
        new, old = Path(staging) / "new", Path(staging) / "old"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

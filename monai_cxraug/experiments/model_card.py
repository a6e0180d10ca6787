"""The card of a shipped model: what it is for, what it learnt from, how good it is and where that ends.

Its parts are those of Mitchell et al., Model Cards for Model Reporting (2019). Every figure is taken from the files of
the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monai_cxraug import __version__
from monai_cxraug.artifacts import file_hash
from monai_cxraug.calibration import FILE, read_calibration
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.experiments.arms import find_arm
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan, Plan
from monai_cxraug.networks.weights import Model

CARD: Final = "card.md"
#: data set to the credit that its owners ask for.
_CREDITS: Final[Mapping[str, Sequence[str]]] = {
    "NIH ChestX-ray14": (
        "Images: NIH Clinical Center, <https://nihcc.app.box.com/v/ChestXray-NIHCC>.",
        "Wang, Peng, Lu, Lu, Bagheri, Summers. ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on "
        "Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017.",
    )
}
_WEIGHTS: Final = "The weights are published under Apache-2.0, as the bundle is."

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """Markdown about one model.

    Args:
        plan: of the run that made it.
        results: of that run.
        stage: that made it.
        model: as it is shipped.
        settings: of its training.
        overlays: of its training.
        rounding: largest change, by half precision, of a probability or of a pixel in [0, 1].
        credits: lines of credit beside the licence that the training manifest states.
    """

    plan: Plan
    results: Mapping[str, Any]
    stage: GeneratorPlan | CellPlan
    model: Model
    settings: Mapping[str, Any]
    overlays: Sequence[str]
    rounding: float
    credits: Sequence[str] = ()

    def text(self) -> str:
        """Return the card."""
        parts = [
            self._head(),
            self._use(),
            self._data(),
            self._recipe(),
            self._figures(),
            self._limits(),
            self._licence(),
        ]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    # --- sections ---

    def _head(self) -> Iterator[str]:
        yield f"# {self._name}"
        yield ""
        yield "**Not for diagnosis.**"
        yield ""
        path = self.model.path
        version = self.results.get("provenance", {}).get("versions", {}).get("monai_cxraug", __version__)
        yield from _table(
            ("", ""),
            [
                ("File", f"`{path.name}`, {path.stat().st_size / 2**20:.1f} MiB"),
                ("SHA-256", f"`{file_hash(path)}`"),
                ("Experiment", f"`{self.plan.experiment.name}`: {self.results.get('title', '')}"),
                ("Stage", f"`{self.stage.id}`, seed {self.stage.seed}"),
                ("Made by", f"monai_cxraug {version}"),
            ],
        )

    def _use(self) -> Iterator[str]:
        yield "## Intended use"
        yield ""
        if self._generates:
            yield "To repeat the experiment without training generators anew (`cxraug run --reuse-generators`), and to"
            yield "study synthetic radiographs (`cxraug sample`). They show no patient and prove nothing about one."
        else:
            yield "To check the experiment's comparison on images of patients that no model here has seen (`cxraug"
            yield "evaluate`). It is an instrument to compare training sets, and no medical device."

    def _data(self) -> Iterator[str]:
        about, info = self.model.about, read_manifest(self.plan.manifests["train"]).info
        yield "## Training data"
        yield ""
        share = "" if self.stage.fraction == 1 else f" (a share of {self.stage.fraction:g} of the training patients)"
        images = f"{about['images']} images" if self._generates else f"{about['images']} images, real and added,"
        seen = len(about["patients_seen"])
        yield f"{info.get('name', 'Images')}: {images} of {seen} patients{share}, {self._side} px a side."
        yield f"Unsure labels: {info.get('uncertainty', 'nothing is said of them')}."
        yield ""
        names = "hashed with a key that stays on site" if info.get("salt") else "which are public"
        yield f"The file names those patients ({names}); evaluation refuses their images."
        if not self._generates:
            yield ""
            yield from self._composition(about["composition"])

    def _composition(self, counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
        origins = [name for name in next(iter(counts.values())) if any(one[name] for one in counts.values())]
        rows = [(finding, *(one[name] for name in origins)) for finding, one in counts.items()]
        yield from _table(("Positive images", *origins), rows)

    def _recipe(self) -> Iterator[str]:
        yield "## Recipe"
        yield ""
        overlays = f" with {', '.join(f'`{name}`' for name in self.overlays)}" if self.overlays else ""
        yield f"`configs/train.json` of this bundle{overlays}, and these settings; all others are the bundle's:"
        yield ""
        yield from _table(("Setting", "Value"), [(f"`{key}`", f"`{value}`") for key, value in self.settings.items()])

    def _figures(self) -> Iterator[str]:
        yield "## Figures"
        yield ""
        yield from self._audits() if self._generates else self._areas()
        yield ""
        yield from self._difference()
        yield ""
        what = "pixel, of values in [0, 1]," if self._generates else "probability"
        yield "Matrices and filters are stored in half precision and computed with in full. The largest change of a"
        yield f"{what} by that rounding, over 64 images at most: {self.rounding:.1g}."

    def _areas(self) -> Iterator[str]:
        cell = self.stage
        arm = [row for row in self.results["arms"] if _same(row, cell)]
        studied = [*self.plan.experiment.findings, "macro"]
        yield f"AUROC on the run's images ({self.results['split']}), with the 95 % interval over patients and seeds:"
        yield ""
        rows = []
        for finding in studied:
            own = next(row for row in arm if (row["finding"], row["seed"]) == (finding, cell.seed))
            every = next(row for row in arm if (row["finding"], row["seed"]) == (finding, "all"))
            rows.append((finding, own["positives"], own["n"], _number(own["auroc"]), _estimate(every, "auroc")))
        yield from _table(("Finding", "positive", "images", "this model", "its arm, all seeds"), rows)
        if (path := self.model.path.with_name(FILE)).is_file():
            yield ""
            yield from self._thresholds(read_calibration(path).findings, read_calibration(path).rule)

    def _thresholds(self, fitted: Mapping[str, Any], rule: str) -> Iterator[str]:
        yield f"Temperatures and thresholds (`{FILE}`; rule `{rule}`) were fitted on validation images before rounding:"
        yield ""
        rows = [
            (finding, f"{fitted[finding].temperature:.3f}", _number(fitted[finding].threshold))
            for finding in self.plan.experiment.findings
            if finding in fitted
        ]
        yield from _table(("Finding", "temperature", "threshold"), rows)

    def _audits(self) -> Iterator[str]:
        made = [row for row in self.results.get("synthetic", []) if row["generator"] == self.stage.id]
        yield "Are its images copies of training images? What the audit of each set of the run found:"
        yield ""
        rows = []
        for row in made:
            audit = row["audit"]
            near = "not known" if audit.get("near") is None else f"{audit['near']}, {audit['copies']} of them copies"
            rows.append((row["finding"], row["n"], near, audit.get("verdict") or audit.get("not_run") or "not audited"))
        yield from _table(("Finding", "images", "near a training image", "verdict"), rows)

    def _difference(self) -> Iterator[str]:
        primary = self.results["primary"]
        named = f"`{primary['arm']}` minus `{primary['reference']}`, {primary['finding']}"
        found = _estimate(primary, "difference", signed=True)
        yield f"The endpoint of the run: AUROC of {named}: {found}; verdict: {primary['verdict']}."

    def _limits(self) -> Iterator[str]:
        yield "## Limits"
        yield ""
        yield "- Other scanners, hospitals and populations need their own evaluation."
        yield f"- {self._side} px a side suit comparisons, not small lesions."
        yield "- Labels of public data sets are often mined from reports; they bound what any figure means."
        if self._generates:
            yield "- An image made to show a finding may show others too: they are unknown, not absent."
            yield "- No sign of copies is no proof of privacy."
        else:
            yield "- It is one of several seeds, and was not chosen: the interval of its arm says how far seeds differ."

    def _licence(self) -> Iterator[str]:
        info = read_manifest(self.plan.manifests["train"]).info
        name = str(info.get("name", ""))
        yield "## Licence and credits"
        yield ""
        yield f"- {_WEIGHTS}"
        yield f"- Training images: {info.get('licence', 'licence unknown')}."
        yield from (f"- {line}" for line in (*_CREDITS.get(name, ()), *self.credits))

    # --- words ---

    @property
    def _generates(self) -> bool:
        return isinstance(self.stage, GeneratorPlan)

    @property
    def _side(self) -> int:
        return int(self.model.settings["resolution"] if self._generates else self.model.about["size"])

    @property
    def _name(self) -> str:
        if isinstance(self.stage, CellPlan):
            return f"Classifier of the arm {self.stage.arm}: {find_arm(self.stage.arm).summary}"
        return f"Generator of {self.stage.finding or 'all findings'} ({self.model.kind})"


def _same(row: Row, cell: GeneratorPlan | CellPlan) -> bool:
    """Whether a row of the results is about the arm of a cell."""
    return isinstance(cell, CellPlan) and all(row[key] == getattr(cell, key) for key in ("arm", "fraction", "ratio"))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _estimate(row: Row, key: str, signed: bool = False) -> str:
    """A number with its interval."""
    value, interval = row[key], row["interval"]
    form = "{:+.3f}" if signed else "{:.3f}"
    if value is None:
        return "not estimable"
    ends = "" if interval is None else f" [{form.format(interval[0])}, {form.format(interval[1])}]"
    return form.format(value) + ends

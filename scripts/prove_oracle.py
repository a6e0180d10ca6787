"""Is an oracle found to help, and its placebo not? python -m scripts.prove_oracle FOLDER [--worlds N] [--out FILE]

The oracle is a generator that cannot be better: the simulator that makes the phantoms' radiographs. It makes images of
patients who never existed and who have the rare finding; they enter a whole experiment, run as any other, as images
made elsewhere. The placebo is the same images with shuffled labels. Each world has other phantoms, with seeds fixed
here; the finding, the sizes and the budget were chosen on other worlds (numbers from 900).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from monai_cxraug.artifacts import load_json, write_csv, write_json, write_text
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Study, sample_population
from monai_cxraug.experiments.experiment import Experiment, make_experiment
from monai_cxraug.experiments.runner import Runner

FINDING: Final = "Consolidation"
CLASSES: Final = ("Cardiomegaly", "Effusion", FINDING, "Nodule")
ARMS: Final = (
    *("plain", "weighted_loss", "oversampled", "duplicate_real"),
    *("external", "external+label_shuffled"),
)
#: each world's own numbers begin here; its training, test and oracle patients have seeds one apart.
_FIRST_SEED: Final = 1000
#: among patients of the oracle this share has the finding, so that few are drawn in vain.
_COMMON: Final = 0.5


@dataclass(frozen=True)
class Size:
    """How large a world is.

    Args:
        training: real images to train on; one in twenty-five shows the finding. Preparing them sets a tenth aside.
        test: images that the cells are judged on.
        ratio: oracle images per real positive.
        seeds: training seeds of each arm.
        side: of the images, in pixels.
        classifier: settings of the classifier's training.
    """

    training: int = 450
    test: int = 2000
    ratio: float = 10.0
    seeds: int = 3
    side: int = 32
    classifier: Mapping[str, Any] | None = None


_BUDGET: Final = {"architecture": "small_cnn", "steps": 150, "epoch_length": 50, "batch_size": 32}


def write_world(folder: Path, number: int, size: Size) -> tuple[Path, Path]:
    """Draw the real patients of a world and the oracle's, and prepare both.

    Args:
        folder: of the world.
        number: of the world.
        size: how large it is.

    Returns:
        The real manifest, and the folder of the oracle's set.
    """
    first = _FIRST_SEED + 10 * number
    rows = []
    for split, seed, images in (("train", first, size.training), ("test", first + 1, size.test)):
        studies = sample_population(images, seed, CLASSES, {FINDING: 0.04})
        rows += [_write(folder / "real", study, seed, split, size.side) for study in studies]
    write_csv(folder / "real" / "labels.csv", ["image", "patient_id", "split", *CLASSES], rows)
    labels = str(folder / "real" / "labels.csv")
    real = prepare(Request("table", labels=labels, size=size.side, seed=number), folder / "prepared")
    wanted = round(size.ratio * _count(rows, "train"))
    studies = sample_population(4 * wanted, first + 2, CLASSES, {FINDING: _COMMON})
    for study in [study for study in studies if FINDING in study.findings][:wanted]:
        _write(folder / "oracle", study, first + 2, "oracle", size.side)
    declaration = folder / "oracle.yaml"
    write_text(declaration, "generator: the phantoms' own simulator\npatients_seen: []\n")
    options = {"declaration": str(declaration), "finding": FINDING, "like": str(real)}
    prepare(Request("external", str(folder / "oracle"), size=size.side, options=options), folder / "external")
    return real, folder / "external"


def _write(folder: Path, study: Study, seed: int, split: str, side: int) -> list[object]:
    """Write a radiograph; its row of the table. Patients of two populations have different names."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{split}-{study.study_id}.png"
    Image.fromarray(np.round(render(study, side, seed) * 255).astype(np.uint8)).save(folder / name)
    return [name, f"{split}-{study.patient_id}", split, *(int(finding in study.findings) for finding in CLASSES)]


def _count(rows: Sequence[Sequence[object]], split: str) -> int:
    return sum(int(row[2] == split and row[3 + CLASSES.index(FINDING)] == 1) for row in rows)


def declare(real: Path, external: Path, number: int, size: Size) -> Experiment:
    """Declare the experiment of a world, as its file would."""
    document = {
        "name": f"oracle-{number}",
        "data": {role: {"manifest": str(real), "split": role, "size": size.side} for role in ("train", "test")},
        "findings": [FINDING],
        "arms": list(ARMS),
        "external": {FINDING: str(external)},
        "ratios": [size.ratio],
        "seeds": list(range(size.seeds)),
        "budget": {"classifier": dict(size.classifier or _BUDGET), "threads": 1, "replicates": 2000},
        "endpoint": {"arm": "external", "reference": "duplicate_real", "finding": FINDING},
    }
    return make_experiment(document, f"world {number}")


def run_world(folder: Path, number: int, size: Size) -> dict[str, Any]:
    """Run a world's experiment.

    Returns:
        ``positives`` in training, ``arms`` (AUROC of each) and the two comparisons ``oracle`` and ``placebo``, both
        with duplicated real images, as in ``results.json``.
    """
    real, external = write_world(folder, number, size)
    results = load_json(Runner(declare(real, external, number, size), folder / "run").execute())
    areas = [row for row in results["arms"] if row["finding"] == FINDING and row["seed"] == "all"]
    compared = {
        row["arm"]: row
        for row in results["comparisons"]
        if row["reference"] == "duplicate_real" and row["finding"] == FINDING
    }
    return {
        "world": number,
        "real_positives": next(row["real"] for row in results["composition"] if row["finding"] == FINDING),
        "patients": len(read_manifest(real).patients(read_manifest(real).rows("test"))),
        "arms": {row["arm"]: row["auroc"] for row in areas},
        "oracle": compared["external"],
        "placebo": compared["external+label_shuffled"],
    }


def as_markdown(worlds: Sequence[Mapping[str, Any]]) -> str:
    """The table: one line a world and comparison."""
    lines = [
        "| World | Arm less `duplicate_real` | Difference | 95 % interval | p | Verdict |",
        "|---|---|---|---|---|---|",
    ]
    for world in worlds:
        for name in ("oracle", "placebo"):
            row = world[name]
            low, high = row["interval"]
            numbers = f"{row['difference']:+.3f} | {low:+.3f} – {high:+.3f} | {row['p']:.2g}"
            lines.append(f"| {world['world']} | {name} | {numbers} | {row['verdict']} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run the worlds, print and write; returns 0 when every oracle helps and no placebo does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the runs; finished ones are not run again")
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    numbers = range(options.first, options.first + options.worlds)
    worlds = [run_world(options.folder / f"world{number}", number, Size()) for number in numbers]
    print(as_markdown(worlds))
    if options.out:
        write_json(options.out, "cxraug.oracle/1", {"finding": FINDING, "worlds": worlds})
    fine = all(world["oracle"]["verdict"] == "helps" and world["placebo"]["verdict"] != "helps" for world in worlds)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

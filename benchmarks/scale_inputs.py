"""Large things that benchmarks read: a manifest and pack of many small images, and a run of many fabricated cells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32
_IMAGES_EACH = 4  # of a patient, about
_ANSWERS = 17  # different tables of predictions
ARMS = ("plain", "weighted_loss", "focal_loss", "oversampled", "duplicate_real", "label_shuffled", "gan")
FINDINGS = ("Edema", "Emphysema")


def write_images(folder: Path, rows: int) -> Path:
    """Write a manifest of ChestX-ray14's findings and a pack of images of 32 px that are made cheaply.

    Four images a patient, split 8:1:1 by patient; a hundredth of the labels is unknown.
    """
    from monai_cxraug.data.manifest import Manifest
    from monai_cxraug.data.pack import write_info
    from monai_cxraug.keys import MANIFEST_COLUMNS
    from monai_cxraug.labels import NIH_FINDINGS

    rng, patients = np.random.default_rng(0), rows // _IMAGES_EACH
    labels = (rng.random((rows, len(NIH_FINDINGS))) < np.geomspace(0.15, 0.01, len(NIH_FINDINGS))).astype(np.float32)
    labels[rng.random(labels.shape) < 0.01] = np.nan
    owners = np.sort(rng.integers(0, patients, rows))
    split = rng.choice(["train", "val", "test"], patients, p=[0.8, 0.1, 0.1]).astype(object)
    columns: dict[str, Any] = {name: np.full(rows, "", dtype=object) for name in MANIFEST_COLUMNS}
    columns["image"] = np.array([f"{row:08d}_000.png" for row in range(rows)], dtype=object)
    columns["patient_id"] = owners.astype(str).astype(object)
    columns["study_id"] = np.array([f"{owner}_{row % 4}" for row, owner in enumerate(owners)], dtype=object)
    columns["split"], columns["source"] = split[owners], np.full(rows, "real", dtype=object)
    for name, values in (("view", ["PA", "AP"]), ("sex", ["M", "F"])):
        columns[name] = rng.choice(values, rows).astype(object)
    columns["age"] = rng.integers(18, 90, rows).astype(str).astype(object)
    columns["content"] = np.array([f"{value:016x}" for value in rng.integers(0, 2**62, rows)], dtype=object)
    path = Manifest(columns, NIH_FINDINGS, labels, {"name": "many"}).write(folder)
    pack = np.lib.format.open_memmap(folder / "pack.npy", "w+", np.uint8, (rows, SIZE, SIZE))
    picture = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    for start in range(0, rows, 50_000):
        block = pack[start : start + 50_000]
        block[:] = picture
        block[:, 0, :4] = np.arange(start, start + len(block), dtype="<u4")[:, None].view(np.uint8)
    pack.flush()
    write_info(folder, pack.shape, "uint8", columns["image"])
    return path


def grid(folder: Path, fractions: int, seeds: int) -> Any:
    """An experiment on such images: ten cells for each fraction and seed."""
    from monai_cxraug.experiments.experiment import make_experiment

    roles = {"train": "train", "validation": "val", "test": "test"}
    document = {
        "name": "many_cells",
        "data": {role: {"manifest": str(folder), "split": split, "size": SIZE} for role, split in roles.items()},
        "findings": list(FINDINGS),
        "arms": list(ARMS),
        "fractions": [round(1 - number / (2 * fractions), 3) for number in reversed(range(fractions))],
        "ratios": [0.5, 1.0],
        "seeds": list(range(seeds)),
        "endpoint": {"arm": "gan", "reference": "duplicate_real", "finding": "macro"},
    }
    return make_experiment(document, "many_cells")


def fabricate_run(run: Path, images: Path, fractions: int, seeds: int, judged: int) -> Any:
    """Write a run whose cells were never trained: plan, records, predictions, calibrations and synthetic sets.

    Args:
        run: folder to fill.
        images: folder of :func:`write_images`.
        fractions: how many; a cell more of each kind for each.
        seeds: likewise.
        judged: test images that every cell answers on.

    Returns:
        The plan.
    """
    from monai_cxraug.data.manifest import read_manifest
    from monai_cxraug.experiments.declared import record_endpoint
    from monai_cxraug.experiments.planning import make_plan

    table = read_manifest(images)
    tested = table.rows("test")[:judged]
    few = images.with_name(f"{images.name}-judged")  # only as many test images as are wanted
    if not few.exists():
        keep = np.concatenate([table.rows("train")[: 4 * judged], table.rows("val")[:judged], tested])
        _write_part(table, images, few, np.sort(keep))
    table = read_manifest(few)
    experiment = grid(few, fractions, seeds)
    plan = make_plan(experiment, dict.fromkeys(("train", "validation", "test"), table.path))
    record_endpoint(run, experiment)
    plan.write(run)
    for number, cell in enumerate(plan.cells):
        _write_cell(run / "cells" / cell.id, cell, plan, _answer(run / "answers", number % _ANSWERS, plan, table))
    for one in plan.synthetic:
        _write_set(run / "synthetic" / one.id, one, table)
    for one in plan.generators:
        _record(run / "generators" / one.id, one.key, {"about": {"images_seen": 1000}})
    return plan


def _write_part(table: Any, images: Path, folder: Path, rows: Any) -> None:
    from monai_cxraug.data.pack import write_pack

    table.select(rows).write(folder)
    write_pack(folder, np.load(images / "pack.npy", mmap_mode="r")[rows], table["image"][rows].tolist())


def _answer(folder: Path, number: int, plan: Any, table: Any) -> Path:
    """Predictions and calibration of a network that never was; some cells share them, to be written faster."""
    from monai_cxraug.calibration import fit_calibration
    from monai_cxraug.predictions import Predictions

    place = folder / str(number)
    if not place.exists():
        rows, rng = table.rows("test"), np.random.default_rng(number)
        labels = table.label_matrix(plan.classes)[rows].astype(np.float64)
        odds = (1 + number / _ANSWERS) * np.nan_to_num(labels) - 2 + rng.normal(size=labels.shape)
        names, owners = table["image"][rows].tolist(), table["patient_id"][rows].tolist()
        answers = Predictions(names, owners, tuple(plan.classes), labels, 1 / (1 + np.exp(-odds)))
        fitted = fit_calibration(answers, "youden", "0" * 64)
        fitted.write(place / "calibration.json")
        answers.write(place / "predictions.csv", fitted.columns(answers))
    return place


def _write_cell(folder: Path, cell: Any, plan: Any, answers: Path) -> None:
    folder.mkdir(parents=True)
    for path in answers.iterdir():
        shutil.copyfile(path, folder / path.name)
    real = dict.fromkeys(("duplicate", "filtered", "synthetic", "external"), 0)
    composition = {name: {"real": 100, **real} for name in plan.classes}
    for name, count in cell.counts.items():
        composition[name]["duplicate" if cell.arm == "duplicate_real" else "synthetic"] = count
    about = {"composition": composition, "images_seen": 64_000, "patients_seen": []}
    _record(folder, cell.key, {"settings": {"seed": cell.seed}, "overlays": [], "about": about, "inputs": {}})


def _write_set(folder: Path, one: Any, table: Any) -> None:
    from monai_cxraug.artifacts import write_json
    from monai_cxraug.data.manifest import Manifest, make_columns
    from monai_cxraug.data.pack import write_pack

    count = min(one.n, 12)  # a report shows no more
    rows = [{"image": f"{k}.png", "split": "train", "source": "synthetic"} for k in range(count)]
    labels = np.full((count, len(table.findings)), np.nan, dtype=np.float32)
    labels[:, table.findings.index(one.finding)] = 1
    Manifest(make_columns(rows), table.findings, labels).write(folder)
    write_pack(
        folder, np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE), np.uint8), [r["image"] for r in rows]
    )
    audit = {"verdict": "no sign", "near": 0, "share": 0.0, "training_images": 100}
    made = {"patients_seen": [], "finding": one.finding, "n": one.n, "drawn": one.n, "acceptance_rate": 1.0}
    write_json(folder / "provenance.json", "cxraug.synthetic/1", {**made, "memorisation_audit": audit})
    _record(folder, one.key, {})


def _record(folder: Path, key: str, content: dict[str, Any]) -> None:
    from monai_cxraug.artifacts import write_json

    write_json(folder / "run.json", "cxraug.run/1", {"key": key, **content})
    write_json(folder / "timing.json", "cxraug.timing/1", {"seconds": 60.0, "images": 64_000})


def study_of(readers: int) -> tuple[Any, Any]:
    """Answers of simulated readers to a study that is made of its tables alone, and the distance that they saw.

    Returns:
        The judgements and the distance.
    """
    from monai_cxraug.study.distances import Distance
    from monai_cxraug.study.files import Study, Trial
    from monai_cxraug.study.judgements import Judgements
    from monai_cxraug.study.observers import Observer

    rng, strengths = np.random.default_rng(0), (0.5, 1, 2, 4)
    counts = {"2afc": 160, "jnd": 60, "turing": 40}
    trials = []
    for number in range(sum(counts.values())):
        task = "2afc" if number < 160 else "jnd" if number < 220 else "turing"
        made = {"distortion_first": f"gaussian_blur {strengths[number % 4]}"} if task == "2afc" else {}
        second = "" if task == "turing" else f"gaussian_noise {strengths[number // 4 % 4]}"
        expected = ("real", "synthetic")[number % 2] if task == "turing" else ""
        about = {"distortion_second": second, "expected": expected, "patient_id": f"p{number % 30}"}
        family = {"2afc": "mixed", "jnd": "traditional", "turing": "turing"}[task]
        trials.append(Trial(f"t{number:04d}", task, "judged", family=family, **made, **about))
    sides = [dict(zip([one.trial for one in trials], rng.gamma(2, 0.1, len(trials)), strict=True)) for _ in range(2)]
    seen = Distance("SSIM", "structure", *sides)
    study = Study(Path(), {"title": "many readers", "seed": 0, "tasks": list(counts)}, tuple(trials))
    people = [Observer(f"r{k:03d}", seen, seed=k) for k in range(readers)]
    answers = {(one.reader, one.trial): one for person in people for one in person.answer(study)}
    return Judgements(study, tuple(person.row for person in people), answers, {}), seen


def remove(folder: Path) -> None:
    """Remove what was written; a gigabyte."""
    shutil.rmtree(folder, ignore_errors=True)

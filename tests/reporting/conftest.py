"""A realistic run folder, drawn rather than trained."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

FINDINGS = ("Edema", "Emphysema", "Fibrosis")
ARMS = ("plain", "duplicate_real", "gan")
Edit = Callable[[dict[str, Any]], None]


def chest(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Two dark lungs on a lighter body, each picture a little different."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    shift = rng.normal(scale=0.02, size=2)
    lungs = sum(np.exp(-(((x - side + shift[0]) / 0.15) ** 2 + ((y + shift[1]) / 0.3) ** 4)) for side in (-0.22, 0.22))
    ribs = 0.05 * np.cos(70 * (y + 0.5 * np.abs(x)) + rng.uniform(0, 6))
    heart = 0.35 * np.exp(-(((x - 0.06) / 0.14) ** 2 + ((y - 0.16) / 0.16) ** 2))
    picture = 0.72 - 0.5 * lungs + ribs + heart + rng.normal(scale=0.03, size=(size, size))
    return np.clip(picture, 0, 1)


def prepare(folder: Path, rng: np.random.Generator, source: str, split: str, n: int, rates: dict[str, float]) -> None:
    """Write a manifest and a pack whose every picture is distinct."""
    folder.mkdir(parents=True)
    pack = np.stack([np.round(255 * chest(rng, 32)).astype(np.uint8) for _ in range(n)])
    np.save(folder / "pack.npy", pack)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        head = ["image", "patient_id", "study_id", "view", "sex", "age", "split", "source", "resample"]
        writer.writerow([*head, *FINDINGS])
        for k in range(n):
            cells = [int(rng.random() < rate) if rate < 2 else "" for rate in rates.values()]
            row = [f"{k:05d}.png", f"p{k // 2}", f"s{k}", "PA", "F", 60, split, source, "area"]
            writer.writerow([*row, *cells])


def results() -> dict[str, Any]:
    """Outcome of three arms, two seeds, three findings."""
    areas = {"Edema": (0.842, 0.848, 0.861), "Emphysema": (0.771, 0.782, 0.779), "Fibrosis": (0.694, 0.701, 0.688)}
    areas["macro"] = tuple(float(np.mean([row[k] for row in areas.values()])) for k in range(3))  # type: ignore[assignment]
    counts = {"Edema": 34, "Emphysema": 41, "Fibrosis": 8, "macro": 83}
    arms, comparisons = [], []
    for finding, row in areas.items():
        for arm, area in zip(ARMS, row, strict=True):
            base = {"arm": arm, "fraction": 1.0, "ratio": 1.0 if arm != "plain" else None, "finding": finding}
            base |= {"n": 1842, "positives": counts[finding]}
            seeds = [(1, area - 0.006, None), (2, area + 0.006, None)]
            for seed, value, interval in [("all", area, [area - 0.041, area + 0.037]), *seeds]:
                arms.append({**base, "seed": seed, "auroc": value, "interval": interval})
        for reference in ("plain", "duplicate_real"):
            gap = row[2] - row[ARMS.index(reference)]
            p = 0.031 if (finding, reference) == ("Edema", "plain") else 0.47
            comparisons.append(
                {"arm": "gan", "reference": reference, "fraction": 1.0, "ratio": 1.0, "finding": finding}
                | {"difference": gap, "interval": [gap - 0.0174, gap + 0.0183], "p": p, "p_holm": min(1, 6 * p)}
                | {"verdict": "comparison incomplete"}
            )
    primary = next(row for row in comparisons if (row["finding"], row["reference"]) == ("macro", "duplicate_real"))
    composition = [
        {"arm": arm, "fraction": 1.0, "ratio": None if arm == "plain" else 1.0, "seed": seed, "finding": finding}
        | {"real": 60, "duplicate": 60 * (arm == "duplicate_real"), "synthetic": 60 * (arm == "gan")}
        | {"share": 0.5 if arm == "gan" else 0.0}
        for arm in ARMS
        for seed in (1, 2)
        for finding in FINDINGS
    ]
    cost = [
        {"stage": "generator", "id": f"{f}-seed{s}", "seconds": 541.2, "images": 60000}
        for f in FINDINGS
        for s in (1, 2)
    ]
    cost += [
        {"stage": "sampling", "id": f"{f}-seed{s}", "seconds": 1.9, "images": 60} for f in FINDINGS for s in (1, 2)
    ]
    cost += [{"stage": "cell", "id": f"{a}-seed{s}", "seconds": 301.4, "images": 76800} for a in ARMS for s in (1, 2)]
    return {
        "schema": "cxraug.results/1",
        "version": "0.1.0",
        "name": "nih_first_light",
        "title": "Do synthetic radiographs help three rare findings of ChestX-ray14?",
        "split": "validation",
        "primary": {"endpoint": "auroc", **{k: v for k, v in primary.items() if k != "p_holm"}},
        "missing": ["weighted_loss", "oversampled", "label_shuffled"],
        "arms": arms,
        "comparisons": comparisons,
        "composition": composition,
        "cost": cost,
        "warnings": ["17 files could not be read and are listed in quarantine.csv"],
        "provenance": {
            "versions": {"monai_cxraug": "0.1.0", "monai": "1.6.1", "torch": "2.13.0"},
            "hashes": {"experiment": "3f" * 32, "train": "0a" * 32},
            "seeds": [1, 2],
            "created": "2025-11-21T08:12:44+00:00",
        },
    }


def plan() -> dict[str, Any]:
    """Plan that belongs to the results."""
    return {
        "schema": "cxraug.plan/1",
        "version": "0.1.0",
        "name": "nih_first_light",
        "title": "Do synthetic radiographs help three rare findings of ChestX-ray14?",
        "experiment": {
            "data": {"train": {"source": "nih", "split": "train", "where": {"resample": "area"}, "size": 32}},
            "findings": list(FINDINGS),
            "arms": list(ARMS),
            "seeds": [1, 2],
            "budget": {"generator_images": 60000, "classifier_steps": 1200, "batch": 64},
            "endpoint": {"metric": "auroc", "finding": "macro", "arm": "gan", "reference": "duplicate_real"},
        },
        "data": {"train": "data/aaaa", "validation": "data/bbbb"},
        "findings": list(FINDINGS),
        "generators": [{"id": f"{f}-seed1", "finding": f, "fraction": 1.0, "seed": 1} for f in FINDINGS],
        "synthetic": [{"id": f"{f}-seed1", "generator": f"{f}-seed1", "finding": f, "n": 20} for f in FINDINGS],
        "cells": [
            {"id": f"{a}-seed{s}", "arm": a, "fraction": 1.0, "ratio": 1.0, "seed": s, "synthetic": []}
            for a in ARMS
            for s in (1, 2)
        ],
    }


def write_run(folder: Path) -> Path:
    """Build the whole run folder."""
    rng = np.random.default_rng(0)
    rates = dict(zip(FINDINGS, (0.2, 0.15, 0.1), strict=True))
    prepare(folder / "data" / "aaaa", rng, "real", "train", 200, rates)
    prepare(folder / "data" / "bbbb", rng, "real", "val", 60, rates)
    for finding in FINDINGS:
        own = {name: 1.0 if name == finding else 2.0 for name in FINDINGS}
        prepare(folder / "synthetic" / f"{finding}-seed1", rng, "synthetic", "train", 20, own)
    (folder / "plan.json").write_text(json.dumps(plan()))
    (folder / "results.json").write_text(json.dumps(results()))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that no test changes."""
    return write_run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of the test's own."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def edit(run: Path) -> Callable[[str, Edit], None]:
    """Change ``plan.json`` or ``results.json`` of the run: ``edit("results", lambda document: ...)``."""

    def change(name: str, how: Edit) -> None:
        path = run / f"{name}.json"
        document = json.loads(path.read_text())
        how(document)
        path.write_text(json.dumps(document))

    return change

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
from PIL import Image

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


MEASURES = ("auroc", "auprc", "sensitivity_90", "sensitivity_95", "accuracy", "all_negative", "balanced_accuracy")
MEASURES += ("sensitivity", "specificity", "ece", "brier", "log_loss", "slope", "intercept")


def newer_results() -> dict[str, Any]:
    """The same outcome as version 0.2 writes it, with two fractions and all that it adds; every value distinct."""
    rng = np.random.default_rng(5)
    number = lambda: round(float(rng.uniform(0.1, 0.9)), 4)  # noqa: E731
    ends = lambda value: [round(value - 0.0413, 4), round(value + 0.0377, 4)]  # noqa: E731
    document = results()
    document["schema"] = "cxraug.results/2"
    for row in document["comparisons"]:
        extra = {"p_bh": number(), "detectable": number(), "standard_error": number(), "dof": 11.5}
        row |= extra | {"bootstrap_interval": ends(number()), "n": 1842, "positives": 34, "skipped": 3}
    for row in document["arms"]:
        row |= {"bootstrap_interval": row["interval"] and ends(number()), "skipped": 3}
    for part in ("arms", "comparisons"):
        document[part] += [{**row, "fraction": 0.1} for row in document[part]]
    first = next(row for row in document["comparisons"] if (row["finding"], row["reference"]) == ("macro", ARMS[1]))
    harm = [
        {"finding": finding, "measure": name, "difference": number(), "interval": ends(number()), "worse": False}
        for finding in FINDINGS
        for name in ("sensitivity", "specificity", "brier", "ece")
    ]
    document["primary"] = {"endpoint": "auroc", **first, "harm": harm}
    document["declared"] = {"before": True, "cells_done": 0, "earlier": 0}
    where = [{"arm": arm, "fraction": 1.0, "ratio": None if arm == "plain" else 1.0} for arm in ARMS]
    document["operating"] = [
        {**group, "seed": seed, "finding": finding, "n": 1842, "positives": 34, "skipped": 5, "rule": "youden"}
        | {"threshold": None if seed == "all" else number(), "temperature": None if seed == "all" else 1.5}
        | {name: number() for name in MEASURES}
        | {f"{name}_interval": ends(number()) if seed == "all" else None for name in MEASURES}
        | {"ece_before": number()}
        for group in where
        for finding in FINDINGS
        for seed in ("all", 1, 2)
    ]
    document["subgroups"] = [
        {**group, "column": column, "group": name, "finding": finding, "auroc": number(), "interval": ends(number())}
        | {"n": 900 + k, "positives": 9 + k}
        for group in where
        for finding in FINDINGS
        for k, (column, name) in enumerate([("sex", "F"), ("sex", "M"), ("age", "18 to 39"), ("view", "PA")])
    ]
    document["curves"] = [
        {**group, "kind": kind, "seed": seed, "finding": finding, "x": [0, 0.25, 0.5, 1], "y": [0, 0.6, 0.8, 1]}
        for group in where
        for finding in FINDINGS
        for seed in (1, 2)
        for kind in ("roc", "precision_recall", "reliability")
    ]
    audit = {"verdict": "no sign of copies", "near": 1, "share": 0.05, "interval": [0.0013, 0.249]}
    document["synthetic"] = [
        {"id": f"{f}-seed1", "generator": f"{f}-seed1", "finding": f, "seed": 1, "n": 20, "drawn": 25}
        | {"acceptance_rate": 0.8, "rejected": {"Effusion": 5}}
        | {"audit": {**audit, "expected_share": 0.0123, "threshold": 0.08, "copies": 0, "training_images": 60}}
        for f in FINDINGS
    ]
    for row in document["composition"]:
        row |= {"filtered": 7, "external": 11}
    return document


@pytest.fixture
def newer(run: Path) -> Path:
    """A finished run of version 0.2 with what its stages leave behind."""
    (run / "results.json").write_text(json.dumps(newer_results()))
    for finding in FINDINGS:
        Image.new("L", (40, 30)).save(run / "synthetic" / f"{finding}-seed1" / "nearest.png")
    unread = "file,reason\na.png,broken <zip>\nb.png,broken <zip>\nd.png,empty\n"
    (run / "data" / "aaaa" / "quarantine.csv").write_text(unread)
    (run / "data" / "aaaa" / "dropped.csv").write_text("file,reason\nc.png,lateral\n")
    return run


# --- a grid over numbers of real images ---

COUNTS = (10, 50, 100, 250, 300)
FRACTIONS = {count: count / 300 for count in COUNTS}
TOPPED = ("plain", "weighted_loss", "gan", "infogan")


def topped_results() -> dict[str, Any]:
    """Outcome of four arms at five numbers of real images, three seeds, one finding; every value distinct."""
    rng = np.random.default_rng(8)
    document = results()
    document |= {"schema": "cxraug.results/2", "name": "top_up", "title": "How many real images are enough?"}
    document["scale"] = {"finding": "Edema", "images": [[FRACTIONS[n], n] for n in COUNTS[::-1]], "total": 300}
    cells = [
        ({"arm": arm, "fraction": FRACTIONS[n], "ratio": None}, n)
        for n in COUNTS
        for arm in TOPPED
        if n < 300 or arm in TOPPED[:2]
    ]
    areas = {(group["arm"], n): round(0.6 + 0.05 * np.log(n / 10) + rng.uniform(0, 0.04), 4) for group, n in cells}
    ends = lambda value, half=0.03: [round(value - half, 4), round(value + half * 1.1, 4)]  # noqa: E731
    counted = {"n": 660, "positives": 300, "skipped": 0}
    document["arms"] = [
        {**group, **counted, "seed": seed, "finding": finding, "interval": ends(value) if seed == "all" else None}
        | {"auroc": value if seed == "all" else round(value + 0.004 * (seed - 1), 4)}
        for group, n in cells
        for value in [areas[group["arm"], n]]
        for finding in ("Edema", "macro")
        for seed in ("all", 0, 1, 2)
    ]
    document["comparisons"] = [
        {"arm": group["arm"], "reference": base, "fraction": group["fraction"], "ratio": None, "finding": finding}
        | {"difference": gap, "interval": [gap - 0.02, gap + 0.02], "p": 0.3, "p_holm": 0.9, "p_bh": 0.5}
        | {"verdict": "no evidence", "bootstrap_interval": [gap - 0.03, gap + 0.03], "detectable": 0.05, **counted}
        | {"standard_error": 0.01, "dof": 9.0}
        for group, n in cells
        for base in TOPPED[: TOPPED.index(group["arm"])]
        for gap in [round(areas[group["arm"], n] - areas[base, n], 4)]
        for finding in ("Edema", "macro")
    ]
    declared = next(
        row
        for row in document["comparisons"]
        if (row["arm"], row["reference"], row["finding"], row["fraction"])
        == ("infogan", "plain", "Edema", FRACTIONS[50])
    )
    document["primary"] = {"endpoint": "auroc", **declared, "harm": []}
    document["operating"] = [
        {**group, **counted, "seed": seed, "finding": "Edema", "rule": "youden", "all_negative": 0.5455}
        | {"accuracy": value, "accuracy_interval": ends(value) if seed == "all" else None}
        | {
            "balanced_accuracy": value - 0.01,
            "balanced_accuracy_interval": ends(value - 0.01) if seed == "all" else None,
        }
        for group, n in cells
        for value in [round(areas[group["arm"], n] - 0.07, 4)]
        for seed in ("all", 0, 1, 2)
    ]
    document["composition"] = [
        {**group, "seed": seed, "finding": "Edema", "real": n, "duplicate": 0, "share": 0.0}
        | {"synthetic": 300 - n if "gan" in group["arm"] else 0}
        for group, n in cells
        for seed in (0, 1, 2)
    ]
    worth = {
        ("weighted_loss", 10): (14.2, None), ("weighted_loss", 50): (46.7, None), ("weighted_loss", 100): (107.1, None),
        ("weighted_loss", 250): (261.4, None), ("gan", 10): (10.0, "below"), ("gan", 50): (33.3, None),
        ("gan", 100): (88.8, None), ("gan", 250): (203.6, None), ("infogan", 10): (37.4, None),
        ("infogan", 50): (121.9, None), ("infogan", 100): (274.5, None), ("infogan", 250): (300.0, "above"),
    }  # fmt: skip
    document["exchange"] = [
        {"arm": arm, "reference": "plain", "finding": "Edema", "fraction": FRACTIONS[n], "real": n, "ratio": None}
        | {"auroc": areas[arm, n], "equivalent": images, "censored": beyond, "gain": images / n, "more": images - n}
        | {"low": max(10.0, images / 2), "low_censored": "below" if images < 20 else None}
        | {"high": min(300.0, images * 2), "high_censored": "above" if images > 150 else None}
        | {"bootstrap_low": images * 0.7, "bootstrap_low_censored": None}
        | {"bootstrap_high": min(300.0, images * 1.3), "bootstrap_high_censored": "above" if images > 230 else None}
        for (arm, n), (images, beyond) in worth.items()
    ]
    plain = [areas["plain", n] for n in COUNTS]
    document["exchange_curves"] = [
        {"reference": "plain", "finding": "Edema", "real": list(COUNTS), "auroc": plain, "rising": sorted(plain)}
        | {"rise": 0.1712, "interval": [0.1312, 0.2112], "p": 0.001}
    ]
    audit = {
        "verdict": "copies of training images",
        "interval": [0.2, 0.3],
        "expected_share": 0.0123,
        "threshold": 0.08,
    }
    document["synthetic"] = [
        {"id": f"{kind}-{n}-{seed}", "generator": f"g-{kind}-{n}-{seed}", "finding": "Edema", "seed": seed}
        | {"n": 300 - n, "drawn": 300 - n, "acceptance_rate": None, "rejected": {}}
        | {
            "audit": {
                **audit,
                "near": (300 - n) // (n // 5) - seed,
                "copies": seed,
                "training_images": n,
                "share": 0.25,
            }
        }
        for kind in TOPPED[2:]
        for n in COUNTS[:-1]
        for seed in (0, 1, 2)
    ]
    return document


def topped_plan() -> dict[str, Any]:
    """Plan that belongs to it."""
    document = plan() | {"schema": "cxraug.plan/2", "name": "top_up", "findings": ["Edema"], "data": {}}
    made = topped_results()
    published = [
        {"arm": arm, "real": n, "fraction": FRACTIONS.get(n, 1.0), "source": "Doe", "auroc": {"Edema": auroc}}
        | {"accuracy": {"Edema": auroc - 0.11}}
        for arm, n, auroc in [
            ("plain", 10, 0.6123),
            ("plain", 50, 0.7012),
            ("infogan", 10, 0.6543),
            ("infogan", 50, 0.7345),
        ]
    ]
    document["experiment"] |= {
        "findings": ["Edema"],
        "arms": list(TOPPED),
        "fractions": list(FRACTIONS.values()),
        "top_up": {"finding": "Edema", "real": [*COUNTS[:-1], "all"], "total": 300},
        "published": published,
    }
    document["generators"] = [
        {"id": f"g-{kind}-{n}-{seed}", "finding": "Edema", "fraction": FRACTIONS[n], "seed": seed}
        | ({"origin": kind} if kind != "gan" else {})
        for kind in TOPPED[2:]
        for n in COUNTS[:-1]
        for seed in (0, 1, 2)
    ]
    document["synthetic"] = [
        {key: row[key] for key in ("id", "generator", "finding", "n")} for row in made["synthetic"]
    ]
    document["cells"] = [
        {"id": f"{row['arm']}-{row['fraction']}-{row['seed']}", "synthetic": [], **row} for row in made["composition"]
    ]
    return document


@pytest.fixture
def topped(run: Path) -> Path:
    """A finished grid over numbers of real images."""
    (run / "results.json").write_text(json.dumps(topped_results()))
    (run / "plan.json").write_text(json.dumps(topped_plan()))
    return run

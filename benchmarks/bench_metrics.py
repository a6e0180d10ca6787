"""AUROC, its bootstrap and the Fréchet distance against loops of scikit-learn and MONAI's metric.

    make bench-metrics

Fourteen findings as rare as those of ChestX-ray14 on 22,433 images of 6,000 patients, every third score rounded so that
many tie. Values are compared before anything is timed. scikit-learn's bootstrap is timed on the first resamples only
and scaled; both sides' times include drawing the patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import torch
from harness import Row, faster, finish, race
from monai.metrics import FIDMetric
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from monai_cxraug.metrics import auroc_columns, bootstrap_auroc_columns, patient_weights
from monai_cxraug.metrics.fidelity import frechet_distance

Floats = NDArray[np.float64]

IMAGES, PATIENTS, REPLICATES = 22_433, 6_000, 1_000
#: shares of positives, near those of ChestX-ray14.
SHARES = (0.10, 0.02, 0.12, 0.18, 0.05, 0.056, 0.013, 0.047, 0.042, 0.02, 0.022, 0.015, 0.03, 0.002)
FEATURES, ROWS = 2048, 5000
#: scikit-learn's and ours may differ by so much; MONAI's and ours by this share of the distance.
_SAME, _SAME_FRECHET = 1e-12, 1e-6


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="timed runs of each side (%(default)s)")
    parser.add_argument("--part", type=int, default=10, help="resamples that scikit-learn is timed on (%(default)s)")
    parser.add_argument("--frechet-rounds", type=int, default=3, help="timed runs of MONAI's, 10 s each (%(default)s)")
    args = parser.parse_args()
    finish("metrics", list(_rows(args.rounds, args.part, args.frechet_rounds)))


def _rows(rounds: int, part: int, frechet_rounds: int) -> Iterator[Row]:
    scores, labels, patients = predictions()
    peer = f"scikit-learn {version('scikit-learn')}"
    _require("AUROC", auroc_columns(scores, labels), _by_scikit_learn(scores, labels), _SAME)
    seconds = race(lambda: auroc_columns(scores, labels), lambda: _by_scikit_learn(scores, labels), rounds)
    yield faster("auroc vs sklearn (findings/s)", len(SHARES), seconds, peer, 4.0)
    yield _bootstrap(scores, labels, patients, part, peer)
    yield _frechet(frechet_rounds)


def predictions(seed: int = 0) -> tuple[Floats, Floats, list[str]]:
    """Scores and labels ``[n, K]`` of a middling classifier, and the patient of each image."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((IMAGES, len(SHARES))) < SHARES).astype(np.float64)
    scores = 1 / (1 + np.exp(3 - labels - rng.normal(size=labels.shape)))
    scores[:, ::3] = scores[:, ::3].round(2)
    return scores, labels, [f"P{k}" for k in rng.integers(PATIENTS, size=IMAGES)]


def _by_scikit_learn(scores: Floats, labels: Floats) -> Floats:
    return np.array([roc_auc_score(labels[:, k], scores[:, k]) for k in range(labels.shape[1])])


def _bootstrap(scores: Floats, labels: Floats, patients: list[str], part: int, peer: str) -> Row:
    drawn = patient_weights(patients, part, np.random.default_rng(0))
    theirs = _loop(scores, labels, drawn)
    _require("bootstrap", bootstrap_auroc_columns(scores, labels, drawn), theirs, _SAME)

    def ours() -> Floats:
        return bootstrap_auroc_columns(scores, labels, patient_weights(patients, REPLICATES, np.random.default_rng(0)))

    def stock() -> Floats:
        return _loop(scores, labels, patient_weights(patients, part, np.random.default_rng(0)))

    mine, some = race(ours, stock, 3)
    scaled = some * REPLICATES / part
    return faster(f"bootstrap vs sklearn ({REPLICATES} resamples/s)", REPLICATES, (mine, scaled), peer, 50.0)


def _loop(scores: Floats, labels: Floats, drawn: NDArray[np.int32]) -> Floats:
    """What one writes with scikit-learn: take the drawn images, and ask again."""
    chosen = (np.repeat(np.arange(len(row)), row) for row in drawn)
    return np.array([_by_scikit_learn(scores[rows], labels[rows]) for rows in chosen])


def _frechet(rounds: int) -> Row:
    rng = np.random.default_rng(0)
    mix = np.linalg.qr(rng.normal(size=(FEATURES, FEATURES)))[0] * np.geomspace(1, 0.01, FEATURES)
    a, b = (np.maximum(rng.normal(size=(ROWS, FEATURES)) @ mix.T + shift, 0) for shift in (0.1, 0.11))
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    metric = FIDMetric()
    theirs = float(metric(left, right))
    _require("Fréchet distance", frechet_distance(a, b), theirs, _SAME_FRECHET * theirs)
    seconds = race(lambda: frechet_distance(a, b), lambda: metric(left, right), rounds)
    return faster("frechet vs monai (2048-d, n = 5000, distances/s)", 1, seconds, f"monai {version('monai')}", 10.0)


def _require(what: str, ours: Floats | float, theirs: Floats | float, within: float) -> None:
    gap = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    if not gap <= within:
        raise SystemExit(f"{what}: values differ by {gap:g}, more than {within:g}")
    print(f"{what}: values differ by at most {gap:.1e}", flush=True)


if __name__ == "__main__":
    main()

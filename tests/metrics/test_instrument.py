"""The instrument on simulated predictions, 1,000 times a case; scripts/prove_instrument.py plays more of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import norm

from monai_cxraug.metrics import auroc
from monai_cxraug.metrics.delong import clustered_delong

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT / "docs" / "results" / "instrument" / "predictions.json"
SIMULATIONS = 1000
PLAYED = (
    "1 seed, clustered",
    "3 seeds",
    "3 seeds, clustered",
    "3 seeds, macro",
    "5 seeds, retrained",
    "1 seed, planned effect, clustered",
    "3 seeds, planned effect",
    "3 seeds, printed effect",
    "5 seeds, printed effect, retrained",
)


@pytest.fixture(scope="module")
def proof() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prove_instrument", ROOT / "scripts" / "prove_instrument.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prove_instrument"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [*PLAYED[:3], *(pytest.param(one, marks=pytest.mark.slow) for one in PLAYED[3:])])
def test_rates_are_what_they_should_be(proof: ModuleType, name: str) -> None:
    """Each 95 % interval contains the wanted rate, or lies above it where an effect is to be found."""
    seeds = {case.name: (seed, case) for seed, case in enumerate(proof.cases())}
    seed, case = seeds[name]
    rows = proof.simulate(case, SIMULATIONS, seed)
    assert all(row.holds for row in rows), proof.as_markdown(rows)


def test_cases_have_names_of_their_own(proof: ModuleType) -> None:
    names = [case.name for case in proof.cases()]
    assert len(set(names)) == len(names)


def test_simulated_scores_have_the_auroc_that_is_called_true(proof: ModuleType) -> None:
    case = proof.Case("many", patients=40_000, positives=15_000, seeds=40, recipe=0.1, seed_sd=0.02)
    rng = np.random.default_rng(0)
    cohort = proof.draw_cohort(proof.replace(case, patients=4000, positives=1500), rng)
    scores, truth = proof.draw_scores(proof.replace(case, patients=4000), cohort, 0.05, rng)
    found = np.array([[auroc(row[:, 0], cohort.labels[:, 0]) for row in arm] for arm in scores])
    assert truth == (pytest.approx(0.85), 0.8)
    assert found.mean(axis=1) == pytest.approx(truth, abs=0.015)
    assert found.std(axis=1) == pytest.approx(0.02, abs=0.012)


def test_simulated_arms_share_what_the_case_says(proof: ModuleType) -> None:
    case = proof.Case("pieces", patients=3000, images=3.0, positives=1, recipe=0.2, network=0.3, seeds=2)
    rng = np.random.default_rng(1)
    cohort = proof.draw_cohort(case, rng)
    scores, _ = proof.draw_scores(case, cohort, 0.0, rng)
    noise = scores[..., 0].reshape(4, -1)  # arm a seeds 0, 1; arm b seeds 0, 1
    together = np.cov(noise)
    assert together.diagonal() == pytest.approx(1, abs=0.08)
    assert [together[0, 1], together[0, 2], together[0, 3]] == pytest.approx([0.7, 0.5, 0.5], abs=0.08)
    first = np.unique(cohort.patients, return_index=True)[1]
    pairs = first[np.diff(np.r_[first, len(cohort.patients)]) > 1]
    assert np.corrcoef(noise[0, pairs], noise[0, pairs + 1])[0, 1] == pytest.approx(0.5, abs=0.08)


def test_patients_taken_for_images_would_be_caught(proof: ModuleType) -> None:
    """The simulation can tell: DeLong by images, with clustered patients, gives false verdicts far too often."""
    case = proof.Case("by images", seeds=1, seed_sd=0, images=4.0, positives=150, resemblance=0.9)
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        cohort = proof.draw_cohort(case, rng)
        scores, _ = proof.draw_scores(case, cohort, 0.0, rng)
        areas, spread = clustered_delong(scores[:, 0, :, 0].T, cohort.labels[:, 0], range(len(cohort.patients)))
        error = np.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
        false += abs(areas[0] - areas[1]) > norm.ppf(0.975) * error
    assert not proof.Row("", "", "", int(false), 300, 0.05).holds


def test_rows_tell_below_from_above(proof: ModuleType) -> None:
    def row(count: int, at_least: bool = False) -> bool:
        return bool(proof.Row("", "", "", count, 1000, 0.8, at_least).holds)

    assert [row(740), row(800), row(860)] == [False, True, False]
    assert [row(740, True), row(800, True), row(860, True)] == [False, True, True]
    assert proof.Row("", "", "", 0, 10, 0.05).interval == pytest.approx((0, 1 - 0.025**0.1))


def test_the_pages_show_the_rows_of_the_file(proof: ModuleType) -> None:
    table = proof.as_markdown(proof.read_rows(ROWS))
    assert table in (ROWS.with_suffix(".md")).read_text(encoding="utf-8")
    page = (ROOT / "docs" / "instrument.md").read_text(encoding="utf-8")
    wanted = [line for line in table.splitlines() if "false verdict" in line or "effect found" in line]
    assert wanted
    assert [line for line in wanted if line not in page] == []

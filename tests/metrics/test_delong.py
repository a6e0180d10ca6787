import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics.auroc import auroc
from monai_cxraug.metrics.delong import clustered_delong, delong, measure_influence, number_patients

Floats = NDArray[np.float64]


def sample(seed: int, n: int = 60, columns: int = 3, levels: int = 12) -> tuple[Floats, Floats, list[int]]:
    """Scores [n, A] with ties, labels with unknowns, patients with one to four images of either class."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(np.float64)
    labels[:2] = 0, 1
    scores = np.round((labels[:, None] + rng.normal(size=(n, columns))) * levels / 4)
    labels[rng.random(n) < 0.1] = np.nan
    return scores, labels, rng.integers(0, n // 3, n).tolist()


def pair_by_pair(scores: Floats, labels: Floats) -> tuple[list[Floats], list[Floats]]:
    """DeLong's components (equations 4 and 5) from the kernel of every pair."""
    above, below = scores[labels == 1], scores[labels == 0]
    kernel = (above[:, None] > below[None]) + 0.5 * (above[:, None] == below[None])  # [m, n, A]
    return list(kernel.mean(axis=1).T), list(kernel.mean(axis=0).T)


def direct_delong(scores: Floats, labels: Floats) -> Floats:
    won, kept = pair_by_pair(scores, labels)
    return np.cov(won) / len(won[0]) + np.cov(kept) / len(kept[0])


def direct_obuchowski(scores: Floats, labels: Floats, patients: list[int]) -> Floats:
    """Obuchowski 1997, S10, S01 and S11 as printed, by loops over patients."""
    won, kept = pair_by_pair(scores, labels)
    owners = np.array(patients)
    sick, healthy = owners[labels == 1], owners[labels == 0]
    columns, m, n = len(won), len(sick), len(healthy)
    area = [row.mean() for row in won]
    everyone = sorted(set(sick) | set(healthy))

    def deviation(rows: list[Floats], who: NDArray[np.int64], k: int, i: int) -> float:
        return float(rows[k][who == i].sum() - (who == i).sum() * area[k])

    found = np.zeros((columns, columns))
    i10, i01, i = len(set(sick)), len(set(healthy)), len(everyone)
    for k in range(columns):
        for j in range(columns):
            s10 = sum(deviation(won, sick, k, p) * deviation(won, sick, j, p) for p in everyone) * i10 / (i10 - 1) / m
            s01 = sum(deviation(kept, healthy, k, p) * deviation(kept, healthy, j, p) for p in everyone)
            s01 *= i01 / (i01 - 1) / n
            s11 = sum(deviation(won, sick, k, p) * deviation(kept, healthy, j, p) for p in everyone) * i / (i - 1)
            s11_turned = (
                sum(deviation(won, sick, j, p) * deviation(kept, healthy, k, p) for p in everyone) * i / (i - 1)
            )
            found[k, j] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_the_definition_by_pairs(seed: int) -> None:
    scores, labels, _ = sample(seed)
    areas, covariance = delong(scores, labels)
    assert areas == pytest.approx([auroc(column, labels) for column in scores.T], abs=1e-14)
    np.testing.assert_allclose(covariance, direct_delong(scores, labels), rtol=0, atol=1e-16)


def test_delong_by_hand() -> None:
    """Positives 2, 4 and negatives 1, 2, 3: won 1/2, 1 and kept 1, 3/4, 1/2, so the variance is 1/8/2 + 1/16/3."""
    areas, covariance = delong(np.array([[2.0], [4], [1], [2], [3]]), np.array([1, 1, 0, 0, 0]))
    assert areas == pytest.approx([3 / 4])
    assert covariance == pytest.approx(np.array([[1 / 16 + 1 / 48]]))


@pytest.mark.parametrize("seed", range(5))
def test_clustered_equals_obuchowskis_formulas(seed: int) -> None:
    scores, labels, patients = sample(seed)
    areas, covariance = clustered_delong(scores, labels, patients)
    np.testing.assert_allclose(covariance, direct_obuchowski(scores, labels, patients), rtol=1e-10, atol=1e-16)
    assert (areas == delong(scores, labels)[0]).all()


def test_patients_of_one_image_are_plain_delong() -> None:
    scores, labels, _ = sample(1)
    names = [f"p{i}" for i in range(len(labels))]
    np.testing.assert_allclose(clustered_delong(scores, labels, names)[1], direct_delong(scores, labels), atol=1e-16)


@given(st.integers(0, 10_000))
def test_covariance_is_never_negative_and_the_order_means_nothing(seed: int) -> None:
    scores, labels, patients = sample(seed, n=24)
    areas, covariance = clustered_delong(scores, labels, patients)
    if math.isnan(covariance[0, 0]):
        return
    assert np.linalg.eigvalsh(covariance).min() > -1e-14
    order = np.random.default_rng(seed).permutation(len(labels))
    moved = clustered_delong(np.exp(scores[order] / 5), labels[order], [f"name {patients[i]}" for i in order])
    np.testing.assert_allclose(moved[0], areas, atol=1e-14)
    np.testing.assert_allclose(moved[1], covariance, atol=1e-14)


def test_kinds_of_numbers() -> None:
    """Columns of a table with gaps come as objects; networks' scores in single precision."""
    scores, labels, patients = sample(4)
    expected = clustered_delong(scores, labels, patients)
    for kind in (object, np.float32):
        found = clustered_delong(scores.astype(kind), labels.astype(kind), patients)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_copies_of_an_image_add_nothing_to_what_is_known() -> None:
    scores, labels, patients = sample(2)
    thrice = clustered_delong(np.repeat(scores, 3, axis=0), np.repeat(labels, 3), np.repeat(patients, 3).tolist())
    np.testing.assert_allclose(thrice[1], clustered_delong(scores, labels, patients)[1], rtol=1e-12)
    assert (delong(np.repeat(scores, 3, axis=0), np.repeat(labels, 3))[1].diagonal() < 0.4 * thrice[1].diagonal()).all()


def test_variance_is_that_of_repeated_draws() -> None:
    """Patients of two images, ill or not together: the mean variance is the variance over 3,000 data sets."""
    rng = np.random.default_rng(4)
    areas, variances = [], []
    for _ in range(3000):
        ill = np.repeat(rng.random(60) < 0.4, 2).astype(np.float64)
        if not 5 < ill.sum() < 115:
            continue
        score = ill + np.repeat(rng.normal(size=60), 2) + rng.normal(size=120)
        area, covariance = clustered_delong(score[:, None], ill, np.repeat(np.arange(60), 2).tolist())
        areas.append(area[0])
        variances.append(covariance[0, 0])
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.07)


def test_influence_of_unknown_labels_and_of_one_class() -> None:
    scores, labels, patients = sample(3)
    owners, count = number_patients(patients)
    labels[owners == 5] = np.nan
    found = measure_influence(scores, labels, owners, count)
    assert not found.parts[:, 5].any()
    assert found.parts.shape == (3, count, 3)
    for only in (0.0, 1.0, np.nan):
        alone = measure_influence(scores, np.full(len(labels), only), owners, count)
        assert np.isnan(alone.areas).all()
        assert alone.areas.shape == (3,)
        assert not alone.parts.any()
        assert alone.parts.shape == (3, count, 3)
        assert alone.carriers == (0, 0)
    assert np.isnan(delong(scores, np.r_[1, np.zeros(len(labels) - 1)])[1]).all()


@pytest.mark.parametrize(
    ("scores", "labels", "patients", "error"),
    [
        (np.zeros(4), np.zeros(4), range(4), InputError),
        (np.zeros((4, 1)), np.zeros(3), range(4), InputError),
        (np.zeros((4, 1)), np.zeros(4), range(3), InputError),
        (np.zeros((4, 1)), np.zeros(3), range(3), InputError),
        (np.array([[0.5, 0.5], [0.5, np.nan]]), np.array([0, 1]), range(2), InputError),
        (np.full((4, 1), np.inf), np.zeros(4), range(4), InputError),
        (np.zeros((4, 1)), np.array([0, 1, 2, 1]), range(4), LabelError),
    ],
)
def test_bad_input_is_refused(scores: Floats, labels: Floats, patients: range, error: type[Exception]) -> None:
    with pytest.raises(error):
        clustered_delong(scores, labels, patients)

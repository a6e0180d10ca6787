"""Label columns under wrong names: found where they were swapped, silent where they were not."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics.permutation import cross_auroc, find_permutations

Floats = NDArray[np.float64]
NAMES = ("Edema", "Fibrosis", "Mass", "Hernia", "Nodule")


def cohort(seed: int = 0, strength: float = 1.5, together: float = 0.5) -> tuple[Floats, Floats, list[str]]:
    """Scores [2, n, 5], labels [n, 5] of findings that come together, some unknown, and patients [n]."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(120), rng.integers(1, 5, 120))
    shared, own = rng.normal(size=(120, 1))[patients], rng.normal(size=(len(patients), 5))
    labels = (np.sqrt(together) * shared + np.sqrt(1 - together) * own > 1).astype(np.float64)
    scores = strength * labels + rng.normal(size=(2, *labels.shape))
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return scores, labels, [f"P{number}" for number in patients]


def test_every_pair_is_scored_as_scikit_learn_does() -> None:
    scores, labels, _ = cohort()
    found = cross_auroc(scores, labels)
    for i in range(5):
        for j in range(5):
            known = ~np.isnan(labels[:, j])
            wanted = np.mean([roc_auc_score(labels[known, j], one[known, i]) for one in scores])
            assert_allclose(found[i, j], wanted, atol=1e-12)


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [1, 2, 0, 3, 4], [1, 0, 2, 4, 3], [4, 3, 2, 1, 0]])
def test_permuted_columns_are_found_and_named(order: list[int]) -> None:
    """Column k holds the labels of finding order[k]; the scores are those of finding k."""
    scores, labels, patients = cohort(2)
    found = find_permutations(scores, labels[:, order], patients)
    fits = {
        one: two for ring in found for one, two in zip(ring.columns, ring.columns[1:] + ring.columns[:1], strict=True)
    }
    assert fits == {finding: column for column, finding in enumerate(order) if finding != column}
    assert all(ring.other > ring.own + 0.1 for ring in found)


def test_it_is_said_in_one_line() -> None:
    scores, labels, patients = cohort(2)
    (found,) = find_permutations(scores[0], labels[:, [2, 1, 0, 3, 4]], patients)
    line = found.describe(NAMES)
    assert "\n" not in line
    assert "Edema fits the labels of Mass, of Mass fits the labels of Edema" in line
    assert f"{found.other:.2f} instead of {found.own:.2f}" in line


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.5]), st.sampled_from([0.0, 0.8]))
def test_columns_in_order_are_left_alone(seed: int, strength: float, together: float) -> None:
    """Also where nothing was learnt, and where findings come together."""
    assert find_permutations(*cohort(seed, strength, together)) == []


@pytest.mark.parametrize(
    ("seed", "strength", "patients", "times", "least", "most", "counts"),
    [
        (17, 0.2052, 120, 5, (0.09, 4.4), (0.1, 9.0), False),  # sure, but a little less than 0.1
        (11, 0.168, 120, 5, (0.1, 4.4), (0.11, 9.0), True),
        (22, 0.2361, 30, 1, (0.11, 3.9), (0.3, 4.0), False),  # large, but not quite four errors
        (186, 0.6505, 30, 1, (0.11, 4.0), (0.3, 4.1), True),
    ],
)
def test_a_ring_counts_from_a_tenth_and_four_errors_on(
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    strength: float,
    patients: int,
    times: int,
    least: tuple[float, float],
    most: tuple[float, float],
    counts: bool,
) -> None:
    """Two findings with each other's labels; each limit is just missed and just reached."""
    scores, labels, owners = cohort(seed, strength, together=0.0)
    rows = [row for row, name in enumerate(owners) if int(name[1:]) < patients]
    names = [f"{owners[row]} {k}" for k in range(times) for row in rows]  # the same images of more patients
    given_ = np.tile(scores[:, rows, :2], (1, times, 1)), np.tile(labels[rows][:, [1, 0]], (times, 1)), names
    assert len(find_permutations(*given_)) == counts
    module = importlib.import_module("monai_cxraug.metrics.permutation")
    monkeypatch.setattr(module, "_LEAST_GAIN", -1.0)
    monkeypatch.setattr(module, "_LEAST_Z", -100.0)
    (ring,) = find_permutations(*given_)
    gain = ring.other - ring.own
    assert least[0] < gain < most[0]
    assert least[1] < gain / ring.standard_error < most[1]


def test_the_error_of_few_patients_is_that_of_leaving_each_out() -> None:
    scores, labels, patients = cohort(3, strength=2.5)
    rows = [row for row, name in enumerate(patients) if int(name[1:]) < 40]
    scores, labels, patients = scores[:, rows, :2], labels[rows][:, [1, 0]], [patients[row] for row in rows]
    (found,) = find_permutations(scores, labels, patients)
    gains = []
    for name in set(patients):
        kept = np.array([owner != name for owner in patients])
        areas = cross_auroc(scores[:, kept], labels[kept])
        gains.append((areas[0, 1] + areas[1, 0] - areas[0, 0] - areas[1, 1]) / 2)
    assert found.standard_error == pytest.approx(np.std(gains) * np.sqrt(39), rel=0.1)


@pytest.mark.parametrize(
    "change",
    [
        lambda s, y: (s, y[:-1]),
        lambda s, y: (s[..., :-1], y),
        lambda s, y: (s[0, :, 0], y[:, 0]),
        lambda s, y: (s[np.newaxis], y),
        lambda s, y: (s[:, :0], y[:0]),
    ],
)
def test_tables_that_do_not_fit_are_told_apart_from_bad_scores(change) -> None:
    scores, labels, _ = cohort()
    with pytest.raises(InputError, match=r"label permutation: scores \[S, n, K\] must fit"):
        cross_auroc(*change(scores, labels))


def test_every_label_is_seen_by_every_network() -> None:
    """One network of two is blind: areas are the mean of both."""
    scores, labels, _ = cohort()
    scores[1] = 0
    np.testing.assert_allclose(cross_auroc(scores, labels), (cross_auroc(scores[:1], labels) + 0.5) / 2)
    np.testing.assert_array_equal(cross_auroc(scores[0], labels), cross_auroc(scores[:1], labels))


def test_a_ring_tells_the_mean_of_its_findings() -> None:
    scores, labels, patients = cohort(2)
    labels = labels[:, [1, 2, 0, 3, 4]]
    (found,) = find_permutations(scores, labels, patients)
    areas = cross_auroc(scores, labels)
    assert found.columns == (0, 2, 1)
    assert found.own == pytest.approx(np.mean([areas[k, k] for k in (0, 1, 2)]))
    assert found.other == pytest.approx(np.mean([areas[0, 2], areas[2, 1], areas[1, 0]]))
    assert find_permutations(scores.astype(object), labels.astype(object), patients) == [found]


def test_a_few_images_prove_nothing() -> None:
    scores, labels, patients = cohort()
    few = np.concatenate([np.flatnonzero(labels[:, 0] == 1)[:3], np.flatnonzero(labels[:, 1] == 1)[:3], range(5)])
    swapped = labels[few][:, [1, 0]]
    assert find_permutations(scores[:, few, :2], swapped, [patients[row] for row in few]) == []


def test_images_of_one_patient_do_not_count_as_many() -> None:
    """The same images again under the same patients change no standard error by much; under new ones they shrink it."""
    scores, labels, patients = cohort()
    swapped = labels[:, [1, 0, 2, 3, 4]]
    (once,) = find_permutations(scores, swapped, patients)
    thrice = [np.tile(scores, (1, 3, 1)), np.tile(swapped, (3, 1))]
    (same,) = find_permutations(*thrice, patients * 3)
    (other,) = find_permutations(*thrice, [f"{name}{k}" for k in range(3) for name in patients])
    assert_allclose(same.standard_error, once.standard_error, rtol=0.02)
    assert_allclose(other.standard_error, once.standard_error / np.sqrt(3), rtol=0.02)


def test_the_error_is_that_of_leaving_patients_out() -> None:
    """The jackknife over patients, an independent way to the same number."""
    scores, labels, patients = cohort(1)
    labels = labels[:, [1, 0, 2, 3, 4]]
    (found,) = find_permutations(scores, labels, patients)
    names = sorted(set(patients))
    gains = []
    for name in names:
        kept = np.array([owner != name for owner in patients])
        areas = cross_auroc(scores[:, kept], labels[kept])
        gains.append((areas[0, 1] + areas[1, 0] - areas[0, 0] - areas[1, 1]) / 2)
    wanted = np.sqrt((len(names) - 1) / len(names) * np.sum((np.array(gains) - np.mean(gains)) ** 2))
    assert_allclose(found.standard_error, wanted, rtol=0.03)


def test_a_small_gain_is_no_permutation_however_sure() -> None:
    """Two findings that come together, of which each is a little easier to see where the other one is."""
    rng = np.random.default_rng(0)
    labels = (rng.random((40_000, 2)) < 0.3).astype(np.float64)
    scores = labels @ np.array([[0.5, 0.7], [0.7, 0.5]]) + rng.normal(size=labels.shape)
    areas = cross_auroc(scores[np.newaxis], labels)
    assert areas[0, 1] > areas[0, 0] + 0.03
    assert find_permutations(scores, labels, [str(row) for row in range(len(labels))]) == []


def test_findings_without_both_classes_are_left_out() -> None:
    scores, labels, patients = cohort()
    labels[:, 3] = 0
    labels[:, 4] = np.nan
    (found,) = find_permutations(scores, labels[:, [1, 0, 2, 3, 4]], patients)
    assert found.columns == (0, 1)
    assert find_permutations(scores, np.zeros_like(labels), patients) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda s, y, p: (s, y[:-1], p), InputError),
        (lambda s, y, p: (s[..., :-1], y, p), InputError),
        (lambda s, y, p: (s, y, p[:-1]), InputError),
        (lambda s, y, p: (s[0, :, 0], y[:, 0], p), InputError),
        (lambda s, y, p: (np.where(s > 2, np.nan, s), y, p), InputError),
        (lambda s, y, p: (s[:, :0], y[:0], []), InputError),
        (lambda s, y, p: (s, y - 1, p), LabelError),
    ],
)
def test_bad_input_is_refused(change, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        find_permutations(*change(*cohort()))

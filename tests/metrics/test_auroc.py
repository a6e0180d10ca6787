import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics import auroc, auroc_columns, bootstrap_auroc, bootstrap_auroc_columns

Floats = NDArray[np.float64]


def pairs(scores: Floats, labels: Floats, weights: Floats) -> float:
    """All pairs, one after another."""
    won = total = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            total += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won / total if total else float("nan")


def draw(n: int, rate: float, levels: int, seed: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(np.float64)
    labels[:2] = 0, 1
    return rng.integers(0, levels, n) / levels, labels, rng.integers(0, 4, n).astype(np.float64) + 0.5


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.9])
@pytest.mark.parametrize("levels", [3, 10**9])
def test_equals_scikit_learn(rate: float, levels: int) -> None:
    scores, labels, weights = draw(400, rate, levels, seed=1)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auroc(scores, labels, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 3)), max_size=14))
def test_equals_all_pairs(rows: list[tuple[int, float, int]]) -> None:
    scores, labels, weights = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    assert auroc(scores, labels, weights) == pytest.approx(pairs(scores, labels, weights), abs=1e-12, nan_ok=True)


def test_hand_worked_ties() -> None:
    # pairs (pos, neg): (.5,.5) half, (.5,.2) one, (.9,.5) one, (.9,.2) one
    assert auroc([0.5, 0.9, 0.5, 0.2], [1, 1, 0, 0]) == 3.5 / 4
    assert auroc([0.3, 0.3], [0, 1]) == 0.5


@pytest.mark.parametrize("labels", [[1, 1, np.nan], [0, 0, 0], [np.nan] * 3])
def test_missing_class_is_nan(labels: list[float]) -> None:
    assert np.isnan(auroc([0.1, 0.2, 0.3], labels))


def test_empty_is_nan() -> None:
    assert np.isnan(auroc([], []))


def test_unknown_labels_are_as_if_absent() -> None:
    scores, labels, weights = draw(200, 0.2, 20, seed=2)
    hidden = np.arange(200) % 3 == 0
    known = ~hidden
    expected = auroc(scores[known], labels[known], weights[known])
    labels[hidden] = np.nan
    assert auroc(scores, labels, weights) == expected


def test_order_and_monotone_maps_change_nothing() -> None:
    scores, labels, weights = draw(300, 0.1, 50, seed=3)
    order = np.random.default_rng(0).permutation(300)
    expected = auroc(scores, labels, weights)
    assert auroc(scores[order], labels[order], weights[order]) == pytest.approx(expected, abs=1e-12)
    assert auroc(np.exp(3 * scores), labels, weights) == expected
    assert auroc(-scores, labels, weights) == pytest.approx(1 - expected, abs=1e-12)


def test_each_replicate_equals_scikit_learn_on_repeated_images() -> None:
    scores, labels, _ = draw(120, 0.15, 8, seed=4)
    counts = np.random.default_rng(5).integers(0, 3, (40, 120))
    for row, area in zip(counts, bootstrap_auroc(scores, labels, counts), strict=True):
        repeated = np.repeat(np.arange(120), row)
        assert area == pytest.approx(roc_auc_score(labels[repeated], scores[repeated]), abs=1e-12)


def table(n: int = 150, findings: int = 5) -> tuple[Floats, Floats]:
    """Findings with ties, unknown labels and one class only in the last."""
    columns = [draw(n, 0.1 + 0.15 * k, 6 if k % 2 else 10**9, seed=k)[:2] for k in range(findings)]
    scores, labels = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    labels[np.random.default_rng(8).random(labels.shape) < 0.1] = np.nan
    labels[:, -1] = 0
    return scores, labels


def test_columns_are_each_findings_own() -> None:
    scores, labels = table()
    found = auroc_columns(scores, labels)
    np.testing.assert_array_equal(found, [auroc(scores[:, k], labels[:, k]) for k in range(5)])
    for k in range(4):
        known = ~np.isnan(labels[:, k])
        assert found[k] == pytest.approx(roc_auc_score(labels[known, k], scores[known, k]), abs=1e-12)
    assert np.isnan(found[4])
    assert auroc_columns(np.empty((3, 0)), np.empty((3, 0))).shape == (0,)


def test_findings_share_the_replicates() -> None:
    scores, labels = table()
    weights = np.random.default_rng(9).integers(0, 4, (23, 150), dtype=np.int32)
    found = bootstrap_auroc_columns(scores, labels, weights)
    assert found.shape == (23, 5)
    for k in range(5):
        np.testing.assert_array_equal(found[:, k], bootstrap_auroc(scores[:, k], labels[:, k], weights))
    np.testing.assert_array_equal(
        bootstrap_auroc_columns(scores, labels, np.ones((1, 150)))[0], auroc_columns(scores, labels)
    )


@pytest.mark.parametrize("levels", [4, 10**9])
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.97])
def test_fractional_weights_equal_scikit_learn(rate: float, levels: int) -> None:
    scores, labels, _ = draw(400, rate, levels, seed=3)
    weights = np.random.default_rng(1).gamma(0.5, size=(8, 400))
    expected = [roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    assert bootstrap_auroc(scores, labels, weights) == pytest.approx(expected, abs=1e-12)


def test_bad_tables_are_refused() -> None:
    with pytest.raises(InputError, match=r"both be \[n, K\]"):
        auroc_columns([0.1, 0.2], [0, 1])
    with pytest.raises(InputError, match=r"both be \[n, K\].*\(2, 1\) and \(2, 2\)"):
        auroc_columns([[0.1], [0.2]], [[0, 1], [1, 0]])
    with pytest.raises(InputError, match="finite"):
        auroc_columns([[np.nan]], [[1]])
    with pytest.raises(InputError, match=r"\[B, 2\]"):
        bootstrap_auroc([0.5, 0.6], [1, 0], [1, 1])
    with pytest.raises(LabelError):
        bootstrap_auroc_columns([[0.5]], [[3]], [[1]])
    with pytest.raises(InputError, match=r"\[B, 2\]"):
        bootstrap_auroc_columns([[0.5], [0.6]], [[1], [0]], [[1]])


@pytest.mark.parametrize("kind", [object, np.float32, np.float16])
def test_kinds_of_numbers(kind: type) -> None:
    """Columns of a table with gaps come as objects, networks' scores in single precision or half of it."""
    scores, labels = table()
    scores = np.round(scores * 8) / 8  # exact in every kind
    expected = auroc_columns(scores, labels)
    given_scores, given_labels = scores.astype(kind), labels.astype(kind)
    np.testing.assert_array_equal(auroc_columns(given_scores, given_labels), expected)
    assert auroc_columns(given_scores, given_labels).dtype == np.float64
    assert auroc(given_scores[:, 1], given_labels[:, 1]) == expected[1]


def test_none_is_unknown() -> None:
    assert auroc([0.1, 0.9, 0.5], np.array([0, 1, None], dtype=object)) == 1
    assert auroc_columns([[0.1], [0.9], [0.5]], np.array([[0], [1], [None]], dtype=object)).tolist() == [1]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, _ = draw(90, 0.3, 8, seed=6)
    counts = np.random.default_rng(7).integers(0, 3, (37, 90), dtype=np.int32)
    whole = bootstrap_auroc(scores, labels, counts)
    module = importlib.import_module("monai_cxraug.metrics.ranks")
    monkeypatch.setattr(module, "_BLOCK", 90 * 5)
    np.testing.assert_array_equal(bootstrap_auroc(scores, labels, counts), whole)


def test_replicate_without_a_class_is_nan() -> None:
    areas = bootstrap_auroc([0.2, 0.8, 0.5], [0, 1, 0], [[1, 1, 1], [1, 0, 1], [0, 2, 0]])
    np.testing.assert_array_equal(areas, [1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("scores", "labels", "weights", "error", "words"),
    [
        ([0.1, np.nan], [0, 1], None, InputError, "finite"),
        ([0.1, np.inf], [0, 1], None, InputError, "finite"),
        ([0.1, 0.2], [0, -1], None, LabelError, "-1.0"),
        ([0.1, 0.2], [0, 0.5], None, LabelError, "0.5"),
        ([0.1, 0.2], [0], None, InputError, r"\[n\]"),
        ([[0.1], [0.2]], [[0], [1]], None, InputError, r"\[n\]"),
        ([0.1, 0.2], [0, 1], [1, -1], InputError, "negative"),
        ([0.1, 0.2], [0, 1], [1, np.nan], InputError, "finite"),
        ([0.1, 0.2], [0, 1], [1, np.inf], InputError, "finite"),
        ([0.1, 0.2], [0, 1], [1], InputError, r"\[B, 2\]"),
    ],
)
def test_bad_input_is_refused(
    scores: object, labels: object, weights: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        auroc(scores, labels, weights)  # type: ignore[arg-type]

"""Measures that changed copies keep, against independent references; invariances; the search against whole tables."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from monai_cxraug.synthesis import likeness
from monai_cxraug.synthesis.alignment import aligned_distances
from monai_cxraug.synthesis.likeness import SHORTLIST, LikenessSearch, rank_levels, ssim, standardise


def draw(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures in [0, 1], float32 ``[n, side, side]``."""
    waves = np.random.default_rng(seed).normal(size=(n, side, side))
    smooth = ndimage.gaussian_filter(waves, (0, side / 10, side / 10), mode="wrap")
    return np.clip(0.5 + 0.25 * smooth / smooth.std(), 0, 1).astype(np.float32)


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two pictures, window by window in double precision, straight from the paper."""
    reach = min(5, (min(a.shape) - 1) // 2)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for y in range(reach, a.shape[0] - reach):
        for x in range(reach, a.shape[1] - reach):
            p, q = (one[y - reach : y + reach + 1, x - reach : x + reach + 1].astype(np.float64) for one in (a, b))
            m, n = (window * p).sum(), (window * q).sum()
            v, w = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum()
            c = (window * (p - m) * (q - n)).sum()
            values.append((2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m**2 + n**2 + 1e-4) * (v + w + 9e-4)))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(16, 16), (13, 20), (8, 8)])
def test_ssim_is_that_of_the_paper(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    a = rng.random((4, *shape), dtype=np.float32)
    b = np.clip(a + rng.normal(scale=0.2, size=a.shape), 0, 1).astype(np.float32)
    b[3] = 1 - a[3]
    expected = [plain_ssim(*pair) for pair in zip(a, b, strict=True)]
    assert_allclose(ssim(a, b), expected, atol=2e-4)
    assert_allclose(ssim(a, a), 1, atol=1e-5)


def test_standardised_pictures_give_the_correlation_of_pixels() -> None:
    a, b = draw(5, 12), draw(5, 12, 1)
    expected = [np.corrcoef(p.ravel().astype(float), q.ravel().astype(float))[0, 1] for p, q in zip(a, b, strict=True)]
    assert_allclose((standardise(a) * standardise(b)).mean(axis=(1, 2)), expected, atol=1e-6)
    assert_array_equal(standardise(np.full((1, 4, 4), 0.3, np.float32)), 0)


def test_ranks_are_those_of_scipy_and_forget_contrast() -> None:
    from scipy.stats import rankdata

    images = np.rint(draw(3, 12) * 255).astype(np.float32) / np.float32(255)
    expected = [(rankdata(np.rint(image * 255)) - 0.5).reshape(12, 12) / 144 for image in images]
    assert_allclose(rank_levels(images), expected, atol=1e-6)
    dark = np.rint(images * 255 // 2) / np.float32(255)  # half the levels: ranks of ties apart
    assert np.abs(rank_levels(dark.astype(np.float32)) - rank_levels(images)).max() < 0.06


@pytest.mark.parametrize("move", ["shift", "turn", "scale"])
def test_a_small_warp_is_undone(move: str) -> None:
    images = draw(20, 32)
    if move == "shift":
        warped = np.stack([ndimage.shift(image, (1.5, -1.5), order=1, mode="nearest") for image in images])
    elif move == "turn":
        warped = np.stack([ndimage.rotate(image, 6, reshape=False, order=1, mode="nearest") for image in images])
    else:
        grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij")) * 0.94 + 0.93
        warped = np.stack([ndimage.map_coordinates(image, grid, order=1, mode="nearest") for image in images])
    left = np.sqrt(np.square(standardise(warped) - standardise(images)).mean(axis=(1, 2)))
    found = aligned_distances(warped, images)
    assert (found < 0.4 * left).mean() > 0.9
    assert np.median(found) < 0.1
    others = aligned_distances(warped, np.roll(images, 1, axis=0))
    assert np.median(others) > 0.6


def test_alignment_does_not_know_brightness_contrast_or_its_neighbours() -> None:
    a, b = draw(300, 16), draw(300, 16, 1)
    found = aligned_distances(a, b)
    assert_allclose(aligned_distances(0.2 + 0.5 * a, b * np.float32(0.1)), found, atol=2e-3)
    assert_allclose(aligned_distances(a[255:258], b[255:258]), found[255:258], atol=1e-4)
    assert_allclose(aligned_distances(a, a), 0, atol=1e-3)
    flat = np.zeros((1, 16, 16), np.float32)
    assert np.isfinite(aligned_distances(np.concatenate([flat, a[:1]]), np.concatenate([a[:1], flat]))).all()


@pytest.mark.parametrize("side", [4, 6, 7, 48])
def test_every_side_is_compared(side: int) -> None:
    images = draw(30, 48)[:, :side, :side].copy()
    search = LikenessSearch(images, np.arange(30))
    for match in search(images[::-1, :, ::-1].copy()).values():
        assert np.isfinite(match.distances).all()
        assert (match.rows == np.arange(30)[::-1]).mean() > 0.8


def table_of(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """sqrt(2 (1 - r)), of the queries as they are and mirrored, ``[N, M, 2]``, by ``numpy.corrcoef``."""
    both = []
    for shown in (queries, queries[:, :, ::-1]):
        rows = np.concatenate([shown, references]).reshape(len(queries) + len(references), -1).astype(np.float64)
        both.append(np.corrcoef(rows)[: len(queries), len(queries) :])
    return np.sqrt(np.maximum(2 - 2 * np.stack(both, axis=2), 0))


@pytest.mark.parametrize("with_owners", [False, True])
def test_the_correlation_search_finds_what_the_whole_table_says(
    with_owners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "_QUERIES", 7)
    monkeypatch.setattr(likeness, "_REFERENCES", 11)
    references, queries = draw(60, 16), draw(25, 16, 1)
    patients = np.arange(60) // 3
    owners = np.arange(25) % 20 if with_owners else None
    table = table_of(queries, references)
    if owners is not None:
        table[owners[:, None] == patients[None, :]] = np.inf
    found = LikenessSearch(references, patients)(queries, owners)["correlation"]
    assert_array_equal(found.rows, table.min(axis=2).argmin(axis=1))
    chosen = table[np.arange(25), found.rows, found.mirrored.astype(int)]
    assert_allclose(found.values, 1 - chosen**2 / 2, atol=1e-5)
    assert_allclose(chosen, table.min(axis=(1, 2)), atol=1e-5)
    near = np.sort(table.min(axis=2), axis=1)[:, :SHORTLIST]
    order = np.argsort(table.min(axis=2), axis=1)[:, :SHORTLIST]
    for k in range(25):
        others = near[k][patients[order[k]] != patients[order[k][0]]]
        assert found.distances[k] == pytest.approx(near[k][0] / others.mean(), rel=1e-4)


def test_a_patient_who_fills_the_shortlist_is_compared_with_its_own() -> None:
    images = np.concatenate([draw(1, 16).repeat(40, axis=0) + 0.01 * draw(40, 16, 3), draw(5, 16, 1)])
    patients = np.array([0] * 40 + [1, 2, 3, 4, 5])
    for match in LikenessSearch(images, patients)(images[:3]).values():
        assert (match.distances < 0.5).all()


def test_without_another_patient_nothing_is_near() -> None:
    images = draw(4, 16)
    for match in LikenessSearch(images, np.zeros(4, dtype=int))(images, np.zeros(4, dtype=int)).values():
        assert np.isinf(match.distances).all()


def test_of_nothing_nothing_is_found() -> None:
    found = LikenessSearch(draw(4, 16), np.arange(4))(draw(4, 16)[:0])
    assert [len(match.rows) for match in found.values()] == [0, 0, 0]


def test_colour_is_seen_in_grey() -> None:
    grey = draw(20, 16)
    coloured = np.stack([grey, grey, grey], axis=3)
    search = LikenessSearch(coloured, np.arange(20))
    tinted = np.clip(coloured[[4, 9]] * np.array([0.6, 1.0, 0.8], np.float32), 0, 1)
    for match in search(tinted).values():
        assert_array_equal(match.rows, [4, 9])


def test_features_of_a_classifier_count_too(make_classifier) -> None:
    from monai_cxraug.synthesis.features import ClassifierFeatures

    features, images = ClassifierFeatures(make_classifier([])), draw(20, 32)
    found = LikenessSearch(images, np.arange(20), features)(images[[3, 7], :, ::-1].copy())["features"]
    seen = features(images).astype(np.float64)
    assert_array_equal(found.rows, [3, 7])
    assert found.mirrored.all()
    assert_allclose(found.values, 0, atol=1e-4)
    other = LikenessSearch(images[:10], np.arange(10), features)(images[10:12])["features"]
    turned = features(images[10:12, :, ::-1].copy()).astype(np.float64)
    table = [np.sqrt(np.square(one[:, None] - seen[None, :10]).mean(axis=2)) for one in (seen[10:12], turned)]
    assert_allclose(other.values, np.min(table, axis=(0, 2)), rtol=1e-4)

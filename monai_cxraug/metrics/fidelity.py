"""How near one set of images is to another, and how varied a set is: arrays in, numbers out, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.covariances import shared_spread

Array = NDArray[np.float64]

#: images worked on at once, which bounds memory.
_CHUNK: Final = 64
#: side of the coarsest level of the pyramid, and of a descriptor, in pixels.
COARSEST: Final = 16
_PATCH: Final = 7
#: weights of MS-SSIM from the finest scale on (Wang et al. 2003, section 3.2).
_SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW: Final = 11
_SIGMA: Final = 1.5
#: a standard deviation below this is a flat image, not a texture to be scaled up to 1.
_FLAT: Final = 1e-9


# --- distances between features ---


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Fréchet distance between normal distributions fitted to two sets of features (Heusel et al. 2017, eq. 6).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, the squared 2-Wasserstein distance of the two, exact to
    rounding whatever the ranks (to 2e-9 of ``tr(C_a + C_b)`` where a bound allows the fast way): see
    :func:`~monai_cxraug.metrics.covariances.shared_spread`.

    The fit makes it too large for few images, by an amount that depends on n: compare values of one n only.

    Args:
        features_a: ``[n_a, D]``, finite, at least two rows.
        features_b: ``[n_b, D]``, likewise.

    Returns:
        Distance of at least 0, in squared units of the features.

    Raises:
        InputError: the arrays are not what they should be.
    """
    a, b = feature_pair(features_a, features_b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    shared, total = shared_spread(a, b)
    return max(0.0, float(np.square(mean_a - mean_b).sum()) + total - 2 * shared)


class KernelDistance(NamedTuple):
    """A squared maximum mean discrepancy, which may be negative near 0, with its standard error."""

    value: float
    error: float


def kernel_distance(
    features_a: ArrayLike, features_b: ArrayLike, subset_size: int, subsets: int = 100, seed: int = 0
) -> KernelDistance:
    """Unbiased squared MMD with the kernel ``(x.y / D + 1)^3``, averaged over random subsets (Binkowski et al. 2018).

    Its expectation does not depend on n, unlike the Fréchet distance's. The standard error is that of subsampling
    (Politis and Romano 1994): the deviation s over subsets of size b, drawn without replacement from n, gives
    ``s sqrt(b / (n - b))``. Between equal distributions it is somewhat too large.

    Args:
        features_a: ``[n_a, D]``, finite.
        features_b: ``[n_b, D]``, likewise.
        subset_size: images drawn from each set, from 2 to half of the smaller set.
        subsets: number of draws, at least 2.
        seed: of the draws.

    Returns:
        Mean over the subsets and its standard error.

    Raises:
        InputError: the arrays are not what they should be.
        ConfigError: a number is out of range.
    """
    a, b = feature_pair(features_a, features_b)
    smaller = min(len(a), len(b))
    if not 2 <= subset_size <= smaller // 2:
        rule = f"must be from 2 to half of the smaller set ({smaller // 2})"
        raise ConfigError("kernel_distance(subset_size)", rule, subset_size, "use smaller subsets or more images")
    _require_count("kernel_distance(subsets)", subsets, 2)
    rng = np.random.default_rng(seed)
    values = [_unbiased_mmd(_draw(a, subset_size, rng), _draw(b, subset_size, rng)) for _ in range(subsets)]
    error = np.std(values, ddof=1) * np.sqrt(subset_size / (smaller - subset_size))
    return KernelDistance(float(np.mean(values)), float(error))


def _draw(features: Array, size: int, rng: np.random.Generator) -> Array:
    return features[rng.choice(len(features), size, replace=False)]


def _unbiased_mmd(a: Array, b: Array) -> float:
    """Gretton et al. 2012, eq. 3, for sets of equal size: pairs of an image with itself left out within a set."""
    n = len(a)
    within = (_off_diagonal_sum(_cubic(a, a)) + _off_diagonal_sum(_cubic(b, b))) / (n * (n - 1))
    return float(within - 2 * _cubic(a, b).mean())


def _cubic(a: Array, b: Array) -> Array:
    kernel: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def _off_diagonal_sum(matrix: Array) -> float:
    return float(matrix.sum() - np.trace(matrix))


def feature_pair(features_a: ArrayLike, features_b: ArrayLike) -> tuple[Array, Array]:
    """Check two sets of features ``[n, D]`` and return them in float64.

    Raises:
        InputError: the arrays are not what they should be.
    """
    a, b = np.asarray(features_a, dtype=np.float64), np.asarray(features_b, dtype=np.float64)
    for name, features in (("features_a", a), ("features_b", b)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] < 1:
            raise InputError(name, "must be [n, D] with at least 2 rows", list(features.shape))
        if not np.isfinite(features).all():
            raise InputError(name, "must be finite", "NaN or infinity", "check the images and the classifier")
    if a.shape[1] != b.shape[1]:
        found = f"{a.shape[1]} and {b.shape[1]}"
        raise InputError("features_b", "must have as many columns as features_a", found, "use one classifier for both")
    return a, b


# --- sliced Wasserstein distance ---


def sliced_wasserstein(
    images_a: ArrayLike, images_b: ArrayLike, seed: int = 0, descriptors: int = 128, directions: int = 512
) -> dict[int, float]:
    """Sliced Wasserstein distance of patches on each level of a Laplacian pyramid (Karras et al. 2017, section 5).

    From every image and level, ``descriptors`` patches of 7 x 7 px are taken, each channel scaled to mean 0 and
    deviation 1 over its own set (so a difference in contrast alone is not seen), and compared along random directions.
    Image k of both sets gives patches at the same places: equal sets are exactly 0 apart. It depends on n.

    Args:
        images_a: ``[N, H, W]`` or ``[N, H, W, C]``, unsigned integers or floats in [0, 1], sides of at least 16 px.
        images_b: as many of the same shape.
        seed: of patches and directions.
        descriptors: patches from an image and level (the paper's 128).
        directions: random projections (the paper's code takes 4 times 128).

    Returns:
        Shorter side of a level in pixels to 1000 times its distance, coarsest first: 16, 32, ... The coarsest holds
        the low frequencies, each other one the detail that is added to the one before.

    Raises:
        InputError: the images are not what they should be.
        ConfigError: a number is below 1.
    """
    a, b = _image_array("images_a", images_a), _image_array("images_b", images_b)
    if a.shape != b.shape:
        found = f"{list(a.shape)} and {list(b.shape)}"
        raise InputError("images_b", "must be as many as images_a, of the same shape", found, "compare equally many")
    if min(a.shape[1:3]) < COARSEST:
        raise InputError("images_a", f"sides must be at least {COARSEST} px", list(a.shape[1:3]))
    _require_count("sliced_wasserstein(descriptors)", descriptors, 1)
    _require_count("sliced_wasserstein(directions)", directions, 1)
    rng = np.random.default_rng(seed)
    shapes = _level_shapes(a.shape[1], a.shape[2])
    places = [rng.integers(0, np.subtract(shape, _PATCH - 1), (len(a), descriptors, 2)) for shape in shapes]
    axes = _directions(a.shape[3] * _PATCH**2, directions, rng)
    pairs = zip(_descriptors(a, places), _descriptors(b, places), strict=True)
    values = [1e3 * projected_distance(left, right, axes) for left, right in pairs]
    return {min(shape): value for shape, value in zip(reversed(shapes), reversed(values), strict=True)}


def projected_distance(points_a: Array, points_b: Array, directions: Array) -> float:
    """Mean over directions of the 1-Wasserstein distance between two projected sets of points.

    Args:
        points_a: ``[n, D]``.
        points_b: ``[n, D]``, equally many.
        directions: ``[D, K]``.
    """
    gaps = [np.abs(np.sort(points_a @ axis) - np.sort(points_b @ axis)).mean() for axis in directions.T]
    return float(np.mean(gaps))


def _directions(size: int, count: int, rng: np.random.Generator) -> Array:
    """Unit vectors ``[size, count]``, uniform on the sphere."""
    drawn = rng.standard_normal((size, count))
    unit: Array = drawn / np.linalg.norm(drawn, axis=0)
    return unit


def _level_shapes(height: int, width: int) -> list[tuple[int, int]]:
    shapes = [(height, width)]
    while min(shapes[-1]) >= 2 * COARSEST:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    return shapes


def laplacian_pyramid(images: Array) -> list[Array]:
    """Split images into levels of detail, finest first, the last the low frequencies (Burt and Adelson 1983).

    Args:
        images: ``[N, H, W, C]``.

    Returns:
        One array for each level, each half the size of the one before, down to 16 px.
    """
    levels, rest = [], images
    for _ in _level_shapes(*images.shape[1:3])[:-1]:
        low = _smooth(rest)[:, ::2, ::2]
        spread = np.zeros_like(rest)
        spread[:, ::2, ::2] = low
        levels.append(rest - 4 * _smooth(spread))
        rest = low
    return [*levels, rest]


def _smooth(images: Array) -> Array:
    """Binomial filter over both sides of ``[N, H, W, C]``, mirrored at the borders."""
    taps = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    smooth: Array = correlate1d(correlate1d(images, taps, axis=1, mode="mirror"), taps, axis=2, mode="mirror")
    return smooth


def _descriptors(images: NDArray[Any], places: list[NDArray[np.int64]]) -> list[Array]:
    """Patches of all images on each level, ``[N * P, 7 * 7 * C]``, scaled for each channel."""
    found: list[list[Array]] = [[] for _ in places]
    for start, chunk in _chunks(images):
        for level, image in enumerate(laplacian_pyramid(chunk)):
            found[level].append(_patches(image, places[level][start : start + len(chunk)]))
    return [_standardised(np.concatenate(parts)).reshape(-1, parts[0][0].size) for parts in found]


def _patches(images: Array, corners: NDArray[np.int64]) -> Array:
    """Patches ``[N * P, C, 7, 7]`` whose upper left corners are ``corners`` ``[N, P, 2]``."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (_PATCH, _PATCH), axis=(1, 2))  # [N, y, x, C, 7, 7]
    chosen: Array = windows[np.arange(len(images))[:, None], corners[..., 0], corners[..., 1]]
    return chosen.reshape(-1, *chosen.shape[2:])


def _standardised(patches: Array) -> Array:
    deviation = patches.std(axis=(0, 2, 3), keepdims=True)
    scaled: Array = (patches - patches.mean(axis=(0, 2, 3), keepdims=True)) / np.where(deviation > _FLAT, deviation, 1)
    return scaled


# --- diversity ---


class Diversity(NamedTuple):
    """Mean MS-SSIM of pairs, the number of scales it has, and of pairs it is taken over."""

    value: float
    scales: int
    pairs: int


def ms_ssim_diversity(images: ArrayLike, pairs: int = 1000, seed: int = 0) -> Diversity:
    """Mean multi-scale structural similarity of random pairs within a set: high where images resemble each other.

    Args:
        images: ``[N, H, W]`` or ``[N, H, W, C]``, unsigned integers or floats in [0, 1]; N and sides as said below.
        pairs: number of pairs drawn; all pairs are taken where there are no more than that.
        seed: of the pairs.

    Returns:
        Mean in [0, 1], with the number of scales: see :func:`ms_ssim`.

    Raises:
        InputError: fewer than two images, or sides below 11 px.
        ConfigError: ``pairs`` is below 1.
    """
    array = _image_array("images", images)
    _require_count("ms_ssim_diversity(pairs)", pairs, 1)
    if len(array) < 2:
        raise InputError("images", "a pair needs at least two images", len(array))
    left, right = _pairs(len(array), pairs, np.random.default_rng(seed))
    starts = range(0, len(left), _CHUNK)
    values = [ms_ssim(array[left[k : k + _CHUNK]], array[right[k : k + _CHUNK]]) for k in starts]
    return Diversity(float(np.concatenate(values).mean()), count_scales(*array.shape[1:3]), len(left))


def count_scales(height: int, width: int) -> int:
    """Number of MS-SSIM scales that images have room for, at most five: 64 px have three."""
    fitting = [k for k in range(len(_SCALE_WEIGHTS)) if min(height, width) >> k >= _WINDOW]
    if not fitting:
        raise InputError("images", f"sides must be at least {_WINDOW} px", f"{height} x {width}")
    return len(fitting)


def ms_ssim(images_a: ArrayLike, images_b: ArrayLike) -> Array:
    """Multi-scale structural similarity of images with images (Wang, Simoncelli and Bovik 2003).

    Gaussian window of 11 px and deviation 1.5, within the image; K1 = 0.01, K2 = 0.03; each scale is the 2 x 2 mean of
    the one before. Five scales need 176 px: smaller images have fewer, the weights then divided by their sum. The
    value is comparable only at equal scales. A negative mean of a scale counts as 0.

    Args:
        images_a: ``[N, H, W]`` or ``[N, H, W, C]``, unsigned integers or floats in [0, 1], sides of at least 11 px.
        images_b: the same shape.

    Returns:
        ``[N]`` in [0, 1], the mean over channels.
    """
    a, b = (_to_unit(_image_array(name, images)) for name, images in (("images_a", images_a), ("images_b", images_b)))
    if a.shape != b.shape:
        raise InputError("images_b", "must have the shape of images_a", f"{list(a.shape)} and {list(b.shape)}")
    weights = np.array(_SCALE_WEIGHTS[: count_scales(*a.shape[1:3])])
    value = np.ones((len(a), a.shape[3]))
    for scale, weight in enumerate(weights / weights.sum()):
        similarity, contrast = _ssim(a, b)
        last = scale == len(weights) - 1
        value *= np.maximum(similarity if last else contrast, 0) ** weight
        if not last:
            a, b = _halve(a), _halve(b)
    mean: Array = value.mean(axis=1)
    return mean


def _ssim(a: Array, b: Array) -> tuple[Array, Array]:
    """Mean structural similarity, and of its contrast-structure factor alone, ``[N, C]`` each."""
    mean_a, mean_b = _blur(a), _blur(b)
    spread = _blur(a * a) + _blur(b * b) - mean_a**2 - mean_b**2
    contrast = (2 * (_blur(a * b) - mean_a * mean_b) + 0.03**2) / (spread + 0.03**2)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return (luminance * contrast).mean(axis=(1, 2)), contrast.mean(axis=(1, 2))


def _blur(images: Array) -> Array:
    """Gaussian window over both sides of ``[N, H, W, C]``, where it fits."""
    radius = _WINDOW // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SIGMA) ** 2)
    taps /= taps.sum()
    for axis in (1, 2):
        images = correlate1d(images, taps, axis=axis)
    return images[:, radius:-radius, radius:-radius]


def _halve(images: Array) -> Array:
    n, height, width, channels = images.shape
    even = images[:, : height // 2 * 2, : width // 2 * 2]
    mean: Array = even.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return mean


def _pairs(n: int, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if count >= n * (n - 1) // 2:
        left, right = np.triu_indices(n, 1)
        return left, right
    first = rng.integers(n, size=count)
    return first, (first + rng.integers(1, n, size=count)) % n


# --- images ---


def _image_array(name: str, images: ArrayLike) -> NDArray[Any]:
    """``[N, H, W, C]`` of unsigned integers or finite floats in [0, 1]."""
    array = np.asarray(images)
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or 0 in array.shape:
        raise InputError(name, "must be [N, H, W] or [N, H, W, C]", list(array.shape))
    if array.dtype.kind == "u":
        return array
    if array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1):  # a NaN fails both
        found = f"{array.dtype} from {array.min()} to {array.max()}" if array.dtype.kind in "bif" else str(array.dtype)
        raise InputError(name, "must be unsigned integers, or floats in [0, 1]", found, "scale or clip the images")
    return array


def _chunks(images: NDArray[Any]) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(images), _CHUNK):
        yield start, _to_unit(images[start : start + _CHUNK])


def _to_unit(images: NDArray[Any]) -> Array:
    top = np.iinfo(images.dtype).max if images.dtype.kind == "u" else 1
    unit: Array = images.astype(np.float64) / top
    return unit


def _require_count(where: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(where, f"must be at least {least}", value)

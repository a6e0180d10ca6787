"""Filters and contrast against MONAI, SciPy, scikit-image and OpenCV, on 32 float images of 256 x 256.

    make bench-filters

Both run in this process in turn, each with all cores that it can use (OpenCV's threads work within one image, ours on
several); a row holds medians. What a peer takes image by image it is given image by image. MONAI's transforms take one
image too, as its pipelines give them; the rows with "as channels" hand it the batch as the channels of one image, the
fastest that it can be made to work. OpenCV's histogram functions want 8-bit images and get them; else all is float32.
The C library is told to keep freed memory, as our training tells it; that holds for both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.metadata import version

import cv2
import numpy as np
import skimage.exposure
import torch
from harness import Row, faster, finish, race
from monai.transforms import GaussianSmooth
from scipy import ndimage

from monai_cxraug.engines.allocator import keep_memory
from monai_cxraug.transforms.functional import contrast, filters

COUNT, SIZE = 32, 256
_CEILING = 0.9
_SQUARE = np.ones((3, 3), np.uint8)


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed runs of each side (%(default)s)")
    args = parser.parse_args()
    keep_memory()
    finish("filters", list(_rows(args.rounds)))


def _rows(rounds: int) -> Iterator[Row]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((COUNT, 1, SIZE, SIZE)), (0, 0, 3, 3))
    unit = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    images, channels, eight = torch.from_numpy(unit), torch.from_numpy(unit[:, 0]), np.rint(unit * 255).astype(np.uint8)
    eights = torch.from_numpy(eight)

    def each(apply: Callable[[np.ndarray], object], given: np.ndarray = unit) -> Callable[[], object]:
        return lambda: [apply(image[0]) for image in given]

    def sharpen(image: np.ndarray) -> np.ndarray:
        return np.clip(cv2.addWeighted(image, 2, cv2.GaussianBlur(image, (0, 0), 2.0), -1, 0), 0, 1)

    smoothed, doubled = GaussianSmooth(sigma=1.1), GaussianSmooth(sigma=2.0)
    equaliser = cv2.createCLAHE(2.0, (8, 8))
    rows: list[tuple[str, Callable[[], object], Callable[[], object], str, float]] = [
        (
            "blur vs monai",
            lambda: filters.gaussian_blur(images),
            lambda: [smoothed(image) for image in images],
            "monai",
            10,
        ),
        ("blur vs monai, as channels", lambda: filters.gaussian_blur(images), lambda: smoothed(channels), "monai", 10),
        (
            "blur vs opencv",
            lambda: filters.gaussian_blur(images),
            each(lambda image: cv2.GaussianBlur(image, (5, 5), 1.1)),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "unsharp vs monai",
            lambda: filters.unsharp_mask(images),
            lambda: [(2 * image - doubled(image)).clamp(0, 1) for image in images],
            "monai",
            15,
        ),
        (
            "unsharp vs monai, as channels",
            lambda: filters.unsharp_mask(images),
            lambda: (2 * channels - doubled(channels)).clamp(0, 1),
            "monai",
            15,
        ),
        ("unsharp vs opencv", lambda: filters.unsharp_mask(images), each(sharpen), "opencv-python-headless", _CEILING),
        (
            "minimum vs scipy",
            lambda: filters.minimum_filter(images),
            lambda: ndimage.minimum_filter(unit, (1, 1, 3, 3), mode="mirror"),
            "scipy",
            20,
        ),
        (
            "minimum vs opencv",
            lambda: filters.minimum_filter(images),
            each(lambda image: cv2.erode(image, _SQUARE)),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "median vs scipy",
            lambda: filters.median_filter(images),
            lambda: ndimage.median_filter(unit, (1, 1, 3, 3), mode="mirror"),
            "scipy",
            20,
        ),
        (
            "median vs opencv",
            lambda: filters.median_filter(images),
            each(lambda image: cv2.medianBlur(image, 3)),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "bilateral vs opencv",
            lambda: filters.bilateral_filter(images),
            each(lambda image: cv2.bilateralFilter(image, 5, 0.1, 2.0)),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "clahe vs scikit-image",
            lambda: contrast.clahe(images),
            each(lambda image: skimage.exposure.equalize_adapthist(image)),
            "scikit-image",
            20,
        ),
        (
            "clahe vs opencv",
            lambda: contrast.clahe(eights),
            each(equaliser.apply, eight),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "equalise vs scikit-image",
            lambda: contrast.equalise(images),
            each(skimage.exposure.equalize_hist),
            "scikit-image",
            20,
        ),
        (
            "equalise vs opencv",
            lambda: contrast.equalise(eights),
            each(cv2.equalizeHist, eight),
            "opencv-python-headless",
            _CEILING,
        ),
        (
            "stretch vs numpy",
            lambda: contrast.stretch(images),
            lambda: _stretch(unit),
            "numpy",
            1,
        ),
    ]
    for case, ours, peer, package, bound in rows:
        yield faster(f"{case} (images/s)", COUNT, race(ours, peer, rounds), f"{package} {version(package)}", bound)


def _stretch(images: np.ndarray) -> np.ndarray:
    low, high = np.percentile(images, [0.5, 99.5], axis=(2, 3), keepdims=True)
    return np.clip((images - low) / (high - low), 0, 1)


if __name__ == "__main__":
    main()

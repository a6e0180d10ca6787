"""Compression beside other decoders of the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.compression import encode, jpeg, jpeg2000


def picture(*size: int) -> np.ndarray:
    image = ndimage.gaussian_filter(np.random.default_rng(0).random(size), 2, axes=(-2, -1))
    return np.rint((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


def test_jpeg_as_opencv_decodes_the_same_bytes() -> None:
    cv2 = pytest.importorskip("cv2")
    for quality in (5, 30, 75, 100):
        image = picture(40, 51)
        code = np.frombuffer(encode(image, "JPEG", quality=quality), np.uint8)
        assert np.array_equal(jpeg(torch.from_numpy(image), quality).numpy(), cv2.imdecode(code, cv2.IMREAD_GRAYSCALE))


def test_jpeg_as_opencv_codes_and_decodes() -> None:
    cv2 = pytest.importorskip("cv2")
    for quality in (10, 50, 90):
        image = picture(40, 51)
        code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        assert np.array_equal(jpeg(torch.from_numpy(image), quality).numpy(), cv2.imdecode(code, cv2.IMREAD_GRAYSCALE))


def test_colour_jpeg_as_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(3, 40, 48)
    code = cv2.imencode(".jpg", image.transpose(1, 2, 0)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    expected = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1].transpose(2, 0, 1)
    found = jpeg(torch.from_numpy(image), 40, colour=True).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 2  # of the conversion of colours
    assert np.abs(found.astype(int) - image).mean() > 2


@pytest.mark.parametrize("ratio", [2.0, 6.0, 15.0])
def test_jpeg2000_as_opencv_decodes_the_same_bytes(ratio: float) -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(64, 70)
    found = jpeg2000(torch.from_numpy(image), ratio).numpy()
    options = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True, "no_jp2": True}
    code = np.frombuffer(encode(image, "JPEG2000", **options), np.uint8)
    assert np.abs(found.astype(int) - cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)).max() <= 1
    assert not np.array_equal(found, image)


@pytest.mark.parametrize("ratio", [3.0, 6.0, 12.0])
def test_the_code_has_the_size_that_was_asked_for(ratio: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watch(image: np.ndarray, *arguments: object, **options: object) -> bytes:
        code = encode(image, *arguments, **options)  # type: ignore[arg-type]
        sizes.append(len(code))
        return code

    monkeypatch.setattr("monai_cxraug.transforms.functional.distortions.compression.encode", watch)
    noisy = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    jpeg2000(torch.from_numpy(noisy), ratio)
    assert 0.9 * ratio < noisy.size / sizes[0] < 1.15 * ratio


def test_coarser_is_smaller_and_worse() -> None:
    image = picture(64, 64)
    sizes = [len(encode(image, "JPEG", quality=quality)) for quality in (90, 50, 20, 5)]
    assert sizes == sorted(sizes, reverse=True)
    tensor = torch.from_numpy(image)
    for apply, strengths in ((jpeg, (100, 90, 50, 20, 5)), (jpeg2000, (1, 3, 8, 15))):
        errors = [float((apply(tensor, one).double() - tensor).square().mean()) for one in strengths]
        assert errors == sorted(errors)
        assert errors[0] < 0.5 < errors[-1]


def test_blocks_of_eight_pixels() -> None:
    """At the lowest quality nothing but the mean of a block is left, and it is one of the coarsest steps."""
    image = np.full((16, 16), 100, np.uint8)
    image[:8, :8] = 180
    found = jpeg(torch.from_numpy(image), 1).numpy()
    for rows in (slice(8), slice(8, 16)):
        for columns in (slice(8), slice(8, 16)):
            assert len(np.unique(found[rows, columns])) == 1


@pytest.mark.parametrize("apply", [jpeg, jpeg2000])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 64), (17, 16)])
def test_every_size(apply: object, size: tuple[int, int]) -> None:
    image = torch.from_numpy(picture(2, 3, 24, 70)[..., : size[0], : size[1]].copy())
    for colour in (False, True):
        assert apply(image, colour=colour).shape == image.shape  # type: ignore[operator]


@pytest.mark.parametrize("apply", [jpeg, jpeg2000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_is_rounded_to_levels(apply: object, dtype: torch.dtype) -> None:
    levels = torch.from_numpy(picture(2, 16, 16))
    image = levels.to(torch.float32) / 255
    found = apply(image.to(dtype))  # type: ignore[operator]
    assert found.dtype == dtype
    if dtype in (torch.float32, torch.float64):
        assert torch.equal(found, (apply(levels).double() / 255).to(dtype))  # type: ignore[operator]
        assert torch.equal(apply((image + 0.4 / 255).clamp(0, 1).to(dtype)), found)  # type: ignore[operator]


def test_pillow_reads_what_it_wrote() -> None:
    image = picture(20, 30)
    for format_, options in (("JPEG", {"quality": 30}), ("JPEG2000", {"irreversible": True})):
        with Image.open(io.BytesIO(encode(image, format_, **options))) as read:
            assert (read.format, read.size, read.mode) == (format_, (30, 20), "L")


@pytest.mark.parametrize("quality", [0, 101, 30.5, -1, float("nan"), float("inf")])
def test_qualities_that_are_refused(quality: float) -> None:
    with pytest.raises(ConfigError, match=r"jpeg\(quality\): must be "):
        jpeg(torch.zeros(8, 8), quality)


@pytest.mark.parametrize("ratio", [0, 0.99, -1, float("nan"), float("inf")])
def test_ratios_that_are_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"jpeg2000\(ratio\): must be "):
        jpeg2000(torch.zeros(8, 8), ratio)


def test_colour_needs_three_channels() -> None:
    for apply in (jpeg, jpeg2000):
        with pytest.raises(InputError, match="three channels"):
            apply(torch.zeros(2, 8, 8), colour=True)
        with pytest.raises(InputError, match="must be floating point"):
            apply(torch.zeros(2, 8, 8, dtype=torch.int16))

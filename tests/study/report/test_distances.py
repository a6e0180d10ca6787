from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.study.distances import PIXEL_DISTANCES, Pictures, lpips_distance, pixel_distances, scales
from monai_cxraug.study.files import Study, Trial
from tests.study.report.studies import chest, make_study


def pair(side: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    one = chest(rng, side)
    two = np.clip(gaussian_filter(one, 1) + rng.normal(scale=0.02, size=one.shape), 0, 1)
    return torch.tensor(one, dtype=torch.float32)[None, None], torch.tensor(two, dtype=torch.float32)[None, None]


def test_pixel_distances_are_what_they_say() -> None:
    one, two = pair(32)
    a, b = one.double().numpy(), two.double().numpy()
    mse = np.mean((a - b) ** 2)
    assert PIXEL_DISTANCES["L1"][1](one, two).item() == pytest.approx(np.mean(np.abs(a - b)), rel=1e-5)
    assert PIXEL_DISTANCES["L2"][1](one, two).item() == pytest.approx(np.sqrt(mse), rel=1e-5)
    assert PIXEL_DISTANCES["PSNR"][1](one, two).item() == pytest.approx(10 * np.log10(mse), rel=1e-5)


def reference_ssim(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """SSIM and its part without luminance, by a window of 11 px and sigma 1.5, in float64."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def blur(x: np.ndarray) -> np.ndarray:
        rows = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
        return np.einsum("ijkl,kl->ij", rows, window)

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    contrast = (2 * vab + 0.03**2) / (va + vb + 0.03**2)
    return float((contrast * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)).mean()), float(contrast.mean())


def test_ssim_equals_its_formula() -> None:
    one, two = pair(40)
    expected, _ = reference_ssim(one[0, 0].double().numpy(), two[0, 0].double().numpy())
    assert PIXEL_DISTANCES["SSIM"][1](one, two).item() == pytest.approx(1 - expected, abs=1e-4)


@pytest.mark.parametrize("side", [24, 48, 64])
def test_ms_ssim_equals_its_formula_on_the_scales_that_fit(side: int) -> None:
    one, two = pair(side)
    a, b = one[0, 0].double().numpy(), two[0, 0].double().numpy()
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][: scales(side)])
    weights /= weights.sum()
    product = 1.0
    for k, weight in enumerate(weights):
        ssim, contrast = reference_ssim(a, b)
        product *= (ssim if k == len(weights) - 1 else contrast) ** weight
        a, b = (x[: side // 2 * 2, : side // 2 * 2].reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) for x in (a, b))
        side //= 2
    assert PIXEL_DISTANCES["MS-SSIM"][1](one, two).item() == pytest.approx(1 - product, abs=1e-3)


def test_scales_by_side() -> None:
    assert [scales(side) for side in (11, 21, 22, 43, 44, 98, 99, 175, 176, 1024)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    with pytest.raises(ConfigError, match="at least 11 px"):
        scales(10)


@given(st.sampled_from(list(PIXEL_DISTANCES)), st.integers(0, 5))
def test_properties(name: str, seed: int) -> None:
    compare = PIXEL_DISTANCES[name][1]
    one, two = pair(32, seed)
    assert compare(one, two).item() == pytest.approx(compare(two, one).item(), abs=1e-5)
    assert compare(one, one).item() < compare(one, two).item()
    both = compare(torch.cat([one, two]), torch.cat([two, two]))
    assert both[0].item() == pytest.approx(compare(one, two).item(), abs=1e-6)


def test_a_study_gets_every_distance_of_every_trial(study: Study) -> None:
    found, small = pixel_distances(Pictures(study), study.trials)
    assert [one.name for one in found] == list(PIXEL_DISTANCES)
    assert small == []
    for trial in study.trials:
        for one in found:
            assert (trial.trial in one.first) == (trial.task in ("2afc", "jnd"))
            assert (trial.trial in one.second) == (trial.task == "2afc")
    trial = study.trials[0]
    files = [np.asarray(Image.open(study.image(name)), dtype=float) / 255 for name in trial.shown]
    l1 = found[0]
    assert l1.first[trial.trial] == pytest.approx(np.abs(files[0] - files[1]).mean(), rel=1e-5)
    assert l1.second[trial.trial] == pytest.approx(np.abs(files[0] - files[2]).mean(), rel=1e-5)
    assert dict(found[4].about) == {"scales": 2}


def test_small_images_lack_what_they_are_too_small_for(tmp_path: Path) -> None:
    tiny = make_study(tmp_path / "study", choices=3, pairs=0, singles=0, side=12, repeats=0, sentinels=0)
    found, small = pixel_distances(Pictures(tiny), tiny.trials)
    assert [one.name for one in found] == ["L1", "L2", "PSNR", "SSIM", "MS-SSIM"]
    assert small == ["FSIM"]


def test_equal_images_are_the_closest(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", choices=0, pairs=8, singles=0, repeats=0, sentinels=0)
    equal = [one for one in study.trials if not one.distortion_second]
    assert len(equal) == 2
    for distance in pixel_distances(Pictures(study), study.trials)[0]:
        values = distance.between(study.trials)
        assert sorted(values)[:2] == pytest.approx([distance.first[one.trial] for one in equal], abs=1e-6)


def test_images_of_two_sizes_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, side in (("a", 32), ("b", 24)):
        Image.new("L", (side, side)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "c.png").write_bytes(b"nothing")
    for second, message in (("b", "one size"), ("c", "readable picture")):
        trial = Trial("t", "jnd", "judged", first="a", second=second)
        with pytest.raises(InputError, match=message):
            pixel_distances(Pictures(Study(tmp_path, {}, (trial,))), [trial])


def test_lpips_without_its_package_or_weights_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="alex=FILE, vgg=FILE or squeeze=FILE"):
        lpips_distance("resnet=x", Pictures(study), [])
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ConfigError, match="needs the package lpips"):
        lpips_distance("alex=x", Pictures(study), [])

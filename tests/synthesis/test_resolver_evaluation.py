from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import mean_squared_error
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.weights import save_model
from monai_cxraug.synthesis.resolver_evaluation import INTERPOLATIONS, OURS, EvaluateResolver, interpolate

SIDE = 32


def write_images(folder: Path, channels: int = 1, n: int = 12, depth: int = 8, side: int = SIDE) -> Path:
    """Smooth pictures, three of each patient; the last three of the test split."""
    draws, colour = np.random.default_rng(0), (3,) if channels == 3 else ()
    noise = gaussian_filter(draws.random((n, side, side, *colour)), (0, 1.5, 1.5, *(0 for _ in colour)))
    pictures = np.round((noise - noise.min()) / np.ptp(noise) * (2**depth - 1)).astype(f"uint{depth}")
    splits = ["test" if k >= n - 3 else "val" for k in range(n)]
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k // 3}", "split": split, "source": "real"}
        for k, split in enumerate(splits)
    ]
    write_pack(folder, pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), (), np.zeros((n, 0), dtype=np.float32), {"name": "smooth"}).write(folder)


def write_resolver(
    folder: Path, channels: int = 1, seen: tuple[str, ...] = (), scale: int = 2, bicubic: bool = False
) -> Path:
    torch.manual_seed(0)
    network = EnlargingNetwork(channels, scale, features=4, blocks=1, growth=2, residual=True)
    if bicubic:
        torch.nn.init.zeros_(network.last.weight)
    save_model(folder / "model.pt", "esrgan", network, {"patients_seen": list(seen)})
    return folder


def evaluate(folder: Path, **given: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"split": "val", "where": {}, "output_dir": folder / "out", "replicates": 200, **given}
    found: dict[str, Any] = EvaluateResolver(**settings).run()
    return found


@pytest.mark.parametrize(("channels", "depth"), [(1, 8), (3, 8), (1, 16)])
def test_figures_against_scikit_learn_and_pillow(channels: int, depth: int, tmp_path: Path) -> None:
    manifest = write_images(tmp_path, channels, depth=depth)
    found = evaluate(tmp_path, resolver=write_resolver(tmp_path / "model", channels), manifest=manifest)
    assert list(found["methods"]) == [*INTERPOLATIONS, OURS]
    top = 2**depth - 1
    stored = np.load(tmp_path / "pack.npy")[:9].reshape(9, SIDE, SIDE, channels) / top
    small = stored.reshape(9, SIDE // 2, 2, SIDE // 2, 2, channels).mean(axis=(2, 4))
    small = (np.round(small * top) / top).astype(np.float32)
    noise = []
    for one, original in zip(small, stored, strict=True):
        planes = [Image.fromarray(np.ascontiguousarray(one[..., c])) for c in range(channels)]
        made = np.stack([np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for plane in planes], -1)
        made = np.round(made.clip(0, 1) * top) / top
        noise.append(-10 * np.log10(mean_squared_error(original.ravel(), made.ravel())))
    assert found["methods"]["lanczos"]["psnr"]["mean"] == pytest.approx(
        np.mean(noise),
        abs=0.1 if depth == 8 else 0.01,  # halves of 8 bits are rounded up or down
    )
    nearest = small.repeat(2, axis=1).repeat(2, axis=2)
    changes = [
        sum(np.abs(np.diff(one, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2)) for one in (nearest, stored)
    ]
    assert found["methods"]["nearest"]["sharpness"]["mean"] == pytest.approx((changes[0] / changes[1]).mean(), rel=5e-3)


def test_intervals_are_over_patients(tmp_path: Path) -> None:
    manifest = write_images(tmp_path)
    found = evaluate(tmp_path, resolver=write_resolver(tmp_path / "model"), manifest=manifest)
    for figures in found["methods"].values():
        for value in figures.values():
            assert value["low"] <= value["mean"] <= value["high"]
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (document["n"], document["patients"], document["size"], document["scale"]) == (9, 3, [16, 32], 2)
    assert document["methods"] == found["methods"]
    with (tmp_path / "out" / "table.csv").open() as stream:
        rows = {row["method"]: row for row in csv.DictReader(stream)}
    assert float(rows[OURS]["psnr_low"]) == found["methods"][OURS]["psnr"]["low"]
    assert list(rows) == [*INTERPOLATIONS, OURS]


def test_a_gain_is_the_difference_on_the_same_images(tmp_path: Path) -> None:
    manifest = write_images(tmp_path)
    found = evaluate(tmp_path, resolver=write_resolver(tmp_path / "model"), manifest=manifest)
    for name in INTERPOLATIONS:
        for measure in ("psnr", "ssim", "sharpness"):
            difference = found["methods"][OURS][measure]["mean"] - found["methods"][name][measure]["mean"]
            assert found["gains"][OURS][name][measure]["mean"] == pytest.approx(difference, abs=1e-9)
    spread = found["gains"][OURS]["bicubic"]["psnr"]
    assert spread["high"] - spread["low"] < found["methods"][OURS]["psnr"]["high"]


def test_equal_networks_gain_nothing_and_a_better_one_does(tmp_path: Path) -> None:
    manifest, model = write_images(tmp_path), write_resolver(tmp_path / "model", bicubic=True)
    other = write_resolver(tmp_path / "other")
    found = evaluate(tmp_path, resolver=model, manifest=manifest, others={"same": model, "noisy": other})
    assert list(found["methods"]) == [*INTERPOLATIONS, OURS, "same", "noisy"]
    assert found["gains"][OURS]["same"]["psnr"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert found["gains"][OURS]["noisy"]["psnr"]["low"] > 0
    assert found["gains"]["noisy"][OURS]["psnr"]["mean"] == -found["gains"][OURS]["noisy"]["psnr"]["mean"]
    assert found["gains"][OURS]["nearest"]["psnr"]["low"] > 0
    assert found["gains"][OURS]["bicubic"]["psnr"]["low"] > 0.5  # of another parameter
    assert abs(found["gains"][OURS]["sharp_bicubic"]["psnr"]["mean"]) < 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_the_comparison_shows_the_same_square_of_every_way(channels: int, tmp_path: Path) -> None:
    manifest, model = write_images(tmp_path, channels), write_resolver(tmp_path / "model", channels)
    evaluate(tmp_path, resolver=model, manifest=manifest, others={"first": model}, rows=2, crop=16)
    picture = np.asarray(Image.open(tmp_path / "out" / "comparison.png")).reshape(18 + 2 * 48, -1, channels)
    assert picture.shape[1] == 3 * (5 * 16 + 4)
    columns = [picture[18:, 51 * k : 51 * k + 48] for k in range(5)]
    np.testing.assert_array_equal(columns[2], columns[3])  # one network under two names
    small = columns[0].reshape(16, 6, 8, 6, channels)
    assert (small == small[:, :1, :, :1]).all()
    stored = np.load(tmp_path / "pack.npy").reshape(-1, SIDE, SIDE, channels)
    original = columns[4][::3, ::3]
    for row, image in ((0, 0), (1, 8)):
        places = np.lib.stride_tricks.sliding_window_view(stored[image], (16, 16), axis=(0, 1))
        places = np.moveaxis(places, 2, -1)  # [17, 17, 16, 16, C]
        assert (places == original[16 * row : 16 * row + 16]).all(axis=(2, 3, 4)).any()


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3])
def test_interpolation_is_that_of_another_library(method: str, channels: int) -> None:
    images = torch.rand(2, channels, 7, 9, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, scale_factor=2, mode=method)
    torch.testing.assert_close(interpolate(images, 2, method), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("method", "a"), [("bicubic", -0.5), ("sharp_bicubic", -0.75)])
def test_bicubic_is_keys_kernel(method: str, a: float) -> None:
    """Keys 1981, equation 4 with its parameter, at a quarter of a pixel from the nearest sample."""
    row = torch.rand(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 2 + 0.25
    made = interpolate(row.float().expand(16, 16)[None, None].contiguous(), 2, method)[0, 0, 16]
    distances = torch.tensor([1.75, 0.75, 0.25, 1.25], dtype=torch.float64)
    near, far = distances < 1, distances >= 1
    kernel = near * ((a + 2) * distances**3 - (a + 3) * distances**2 + 1)
    kernel = kernel + far * (a * distances**3 - 5 * a * distances**2 + 8 * a * distances - 4 * a)
    for k in range(4, 12):  # the left half of pixel k
        expected = (row[k - 2 : k + 2] * kernel).sum()
        assert float(made[2 * k]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_interpolation_keeps_what_is_level_and_the_range(method: str) -> None:
    level = torch.full((1, 1, 6, 6), 0.25)
    torch.testing.assert_close(interpolate(level, 4, method), torch.full((1, 1, 24, 24), 0.25))
    edge = torch.zeros(1, 1, 6, 6)
    edge[..., 3:] = 1
    made = interpolate(edge, 2, method)
    assert float(made.min()) == 0
    assert float(made.max()) == 1


def test_patients_that_a_network_saw_are_refused(tmp_path: Path) -> None:
    manifest, clean = write_images(tmp_path), write_resolver(tmp_path / "model")
    seen = write_resolver(tmp_path / "seen", seen=("p1",))
    for given in ({"resolver": seen}, {"resolver": clean, "others": {"seen": seen}}):
        with pytest.raises(LeakageError, match="not trained on; found 1 others, for example 'p1'"):
            evaluate(tmp_path, manifest=manifest, **given)
    assert not (tmp_path / "out").exists()
    evaluate(tmp_path, manifest=manifest, resolver=seen, split="test")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"others": {"bicubic": "model"}}, ConfigError, "others: names must be new ones; found 'bicubic'"),
        ({"others": {"four": "four"}}, ConfigError, "others: networks must have one scale"),
        ({"resolver": "colour"}, ConfigError, r"images must have 3 channels \(colour\)"),
        ({"replicates": 0}, ConfigError, "replicates: must be a whole number of at least 1; found 0"),
        ({"size": 20}, InputError, "images must have at least 22 px; found 20 px"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], error: type, message: str, tmp_path: Path) -> None:
    manifest = write_images(tmp_path)
    write_resolver(tmp_path / "model")
    write_resolver(tmp_path / "four", scale=4)
    write_resolver(tmp_path / "colour", 3)
    given = {
        key: {name: str(tmp_path / place) for name, place in value.items()} if key == "others" else value
        for key, value in given.items()
    }
    resolver = tmp_path / given.pop("resolver", "model")
    with pytest.raises(error, match=message):
        evaluate(tmp_path, manifest=manifest, resolver=resolver, **given)


def test_a_share_of_the_images_is_the_same_each_time(tmp_path: Path) -> None:
    manifest, model = write_images(tmp_path), write_resolver(tmp_path / "model")
    told: list[tuple[int, int]] = []
    found = [
        evaluate(tmp_path, resolver=model, manifest=manifest, most=4, progress=lambda *two: told.append(two))
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert told == [(4, 4)] * 2
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["n"] == 4


def test_sides_that_the_scale_does_not_divide_are_cut(tmp_path: Path) -> None:
    manifest = write_images(tmp_path, side=33)
    found = evaluate(tmp_path, resolver=write_resolver(tmp_path / "model"), manifest=manifest)
    assert all(np.isfinite(value["mean"]) for figures in found["methods"].values() for value in figures.values())

"""The reference of real images: halves without a common patient, equal numbers everywhere; snapshots of a training."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError
from monai_cxraug.metrics.fidelity import frechet_distance, kernel_distance, ms_ssim_diversity, sliced_wasserstein
from monai_cxraug.metrics.manifold import expected_coverage, manifold
from monai_cxraug.networks.infogan import InfoGenerator
from monai_cxraug.networks.latents import draw_latents
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.fidelity import MeasureSnapshot, RealReference, split_by_patient


class Means:
    """Features that are easy to foresee: the means of the four quarters."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        side = images.shape[1] // 2
        return images.reshape(len(images), 2, side, 2, side).mean(axis=(2, 4)).reshape(len(images), 4)


MEANS: Any = Means()
IMAGES = np.random.default_rng(0).random((20, 16, 16), dtype=np.float32)
NAMES = [f"P{k}" for k in range(20)]


# --- halves ---


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(0, 9))
def test_halves_are_equal_and_share_no_patient(patients: list[int], seed: int) -> None:
    names = [f"P{patient}" for patient in patients]
    one, two = split_by_patient(names, seed)
    assert len(one) == len(two)
    assert len({*one, *two}) == 2 * len(one)
    assert not {names[k] for k in one} & {names[k] for k in two}
    if len(set(names)) == len(names):
        assert len(one) == len(names) // 2


def test_images_without_a_patient_are_patients_of_their_own() -> None:
    one, two = split_by_patient([""] * 9, 0)
    assert len(one) == len(two) == 4


def test_the_seed_decides_the_halves() -> None:
    first, again, other = (split_by_patient(NAMES, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again
    assert sorted(first) != sorted(other)
    assert sorted(first) != list(range(0, 20, 2))


# --- the reference ---


def test_every_figure_is_the_metric_over_the_halves() -> None:
    reference = RealReference(IMAGES, NAMES, MEANS, seed=2)
    one, two = (IMAGES[rows] for rows in split_by_patient(NAMES, 2))
    samples = np.random.default_rng(1).random((20, 16, 16), dtype=np.float32) ** 2
    values, pairs = reference.measure(samples), [(samples[:10], one), (samples[10:], two)]
    assert values["frechet"] == pytest.approx(np.mean([frechet_distance(MEANS(a), MEANS(b)) for a, b in pairs]))
    kernels = [kernel_distance(MEANS(a), MEANS(b), 5, seed=2) for a, b in pairs]
    assert values["kernel"] == pytest.approx(np.mean([kernel.value for kernel in kernels]))
    assert values["kernel_error"] == pytest.approx(np.sqrt(sum(kernel.error**2 for kernel in kernels)) / 2)
    balls = np.mean([manifold(MEANS(b), MEANS(a)) for a, b in pairs], axis=0)
    assert [values[name] for name in ("precision", "recall", "density", "coverage")] == pytest.approx(balls)
    sliced = [sliced_wasserstein(a, b, 2, directions=128)[16] for a, b in pairs]
    assert values["sliced_16"] == pytest.approx(np.mean(sliced))
    assert values["ms_ssim"] == pytest.approx(ms_ssim_diversity(samples).value)
    floor = reference.floor()
    assert floor["frechet_real"] == pytest.approx(frechet_distance(MEANS(one), MEANS(two)))
    assert floor["ms_ssim_real"] == pytest.approx(ms_ssim_diversity(IMAGES).value)
    names = {"frechet", "kernel", "precision", "recall", "density", "coverage", "sliced_16", "ms_ssim"}
    assert floor["recall_real"] == manifold(MEANS(two), MEANS(one)).recall
    assert set(values) == names | {"kernel_error"}
    assert set(floor) == {f"{name}_real" for name in names} | {"kernel_real_error"}


def test_new_real_images_reach_the_floor_and_others_do_not() -> None:
    rng = np.random.default_rng(3)
    images = rng.random((400, 16, 16), dtype=np.float32)
    reference = RealReference(images, [str(k) for k in range(400)], MEANS)
    fresh, floor = reference.measure(rng.random((400, 16, 16), dtype=np.float32)), reference.floor()
    assert fresh["frechet"] == pytest.approx(floor["frechet_real"], rel=0.8)
    assert abs(fresh["kernel"]) < 4 * fresh["kernel_error"]
    assert fresh["density"] == pytest.approx(1, abs=0.1)
    assert fresh["coverage"] == pytest.approx(expected_coverage(200, 200), abs=0.05)
    assert floor["coverage_real"] == pytest.approx(expected_coverage(200, 200), abs=0.05)
    assert abs(fresh["precision"] - floor["precision_real"]) < 0.1
    dull = reference.measure(rng.random((400, 16, 16), dtype=np.float32) / 2)
    assert dull["frechet"] > 20 * floor["frechet_real"]
    assert dull["kernel"] > 20 * dull["kernel_error"]
    assert dull["precision"] == dull["coverage"] == 0


def test_the_smallest_halves_have_fewer_neighbours() -> None:
    values = RealReference(IMAGES[:8], NAMES[:8], MEANS).measure(IMAGES[:8] / 2)
    assert {"precision", "recall", "density", "coverage"} <= set(values)


def test_figures_that_images_are_too_small_for_are_left_out() -> None:
    assert set(RealReference(IMAGES[:, :14, :14], NAMES).floor()) == {"ms_ssim_real"}
    assert RealReference(IMAGES[:, :8, :8], NAMES).floor() == {}


def test_too_few_images_or_patients_are_refused() -> None:
    with pytest.raises(InputError, match="two halves of at least 4, no patient in both; found 7 in all"):
        RealReference(IMAGES[:7], NAMES[:7], MEANS)
    with pytest.raises(InputError, match="two halves of at least 2"):
        RealReference(IMAGES, ["one"] * 20)
    with pytest.raises(InputError, match="samples: must be 20 of the real images' size"):
        RealReference(IMAGES, NAMES).measure(IMAGES[:10])


# --- snapshots ---


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """32 px: twelve val images of twelve patients, ten of them Edema, and two in train."""
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": "val" if k < 12 else "train", "source": "real"}
        for k in range(14)
    ]
    pictures = np.random.default_rng(0).integers(0, 256, (14, 32, 32), dtype=np.uint8)
    write_pack(tmp_path / "real", pictures, [row["image"] for row in rows])
    labels = np.array([[k != 1 and k != 5] for k in range(14)], dtype=np.float32)
    return Manifest(make_columns(rows), ("Edema",), labels).write(tmp_path / "real")


def snapshot(resolution: int = 32, alpha: float = 1.0, seed: int = 0) -> tuple[ProgressiveGenerator, dict[str, Any]]:
    torch.manual_seed(seed)
    network = ProgressiveGenerator(32, 8, fmap_base=32, fmap_max=8)
    content = {"settings": network.settings, "weights": network.state_dict()}
    return network, {**content, "growth": {"resolution": resolution, "alpha": alpha}}


def test_a_snapshot_is_sampled_at_its_phase_and_measured(manifest: Path, make_classifier) -> None:
    classifier = make_classifier(["P12"])
    measure = MeasureSnapshot(manifest, 32, ["P12", "P13"], finding="Edema", classifier=classifier, seed=4)
    network, content = snapshot(resolution=8, alpha=0.25)
    values = pickle.loads(pickle.dumps(measure))(content)
    with torch.no_grad():
        images = network(draw_latents(4, 0, 10, 8), 8, 0.25).clamp(0, 1)
    samples = np.kron(images[:, 0].numpy(), np.ones((1, 4, 4), dtype=np.float32))
    rows = [k for k in range(12) if k not in (1, 5)]
    real = np.load(manifest.parent / "pack.npy")[rows] / np.float32(255)
    reference = RealReference(real, [f"P{k}" for k in rows], ClassifierFeatures(classifier), 4)
    expected = {**reference.measure(samples), **reference.floor()}
    assert values == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert measure(snapshot(seed=1)[1])["frechet"] != values["frechet"]
    assert measure(content) == measure(content)


def test_a_generator_of_one_size_with_codes_is_sampled_as_it_is(manifest: Path) -> None:
    torch.manual_seed(0)
    network = InfoGenerator(32, 6, (3,), 1, 1, 2, 4).eval()
    content = {"settings": network.settings, "weights": network.state_dict(), "growth": {}}
    values = MeasureSnapshot(manifest, 32, ["P12", "P13"], finding="Edema", seed=4, kind="infogan")(content)
    with torch.no_grad():
        samples = network(network.layout.draw(4, 0, 10)).clamp(0, 1)[:, 0].numpy()
    rows = [k for k in range(12) if k not in (1, 5)]
    reference = RealReference(
        np.load(manifest.parent / "pack.npy")[rows] / np.float32(255), [f"P{k}" for k in rows], None, 4
    )
    assert values == pytest.approx({**reference.measure(samples), **reference.floor()}, rel=1e-3, abs=1e-4)


def test_only_so_many_real_images_are_used(manifest: Path) -> None:
    reference = MeasureSnapshot(manifest, 32, [], most=6)._reference[0]
    assert reference.n == 6
    assert MeasureSnapshot(manifest, 32, [])._reference[0].n == 12


def test_leaks_and_too_few_images_are_refused_when_it_is_made(manifest: Path, make_classifier) -> None:
    with pytest.raises(LeakageError, match="'P3'"):
        MeasureSnapshot(manifest, 32, ["P12", "P3"])
    with pytest.raises(LeakageError, match=r"a classifier whose features.*'P3'"):
        MeasureSnapshot(manifest, 32, ["P12"], classifier=make_classifier(["P3"]))
    with pytest.raises(ConfigError, match="at least its 32 px; found 16 px"):
        MeasureSnapshot(manifest, 16, ["P12"], classifier=make_classifier([]))
    with pytest.raises(InputError, match="two halves of at least 4 held-out images, no patient in both; found 6"):
        MeasureSnapshot(manifest, 32, [], classifier=make_classifier([]), most=6)
    with pytest.raises(InputError, match="two halves of at least 2 held-out"):
        MeasureSnapshot(manifest, 32, [], split="train")

"""Generators of colour: their sets, the audit over all channels, judges and figures of the same channels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.spatial.distance import cdist

from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import Pack, to_unit, write_pack
from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.fidelity import ms_ssim_diversity, sliced_wasserstein
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.synthesis.audit import MemorisationAudit, fit_all
from monai_cxraug.synthesis.distorted_set import DistortedSet
from monai_cxraug.synthesis.distorters import Distorter
from monai_cxraug.synthesis.evaluation import EvaluateGenerator
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.fidelity import MeasureSnapshot, RealReference, read_images, split_by_patient
from monai_cxraug.synthesis.nearest import NearestTraining, TwinSearch
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.screening import Judge, Screening, read_positives
from monai_cxraug.synthesis.synthetic_set import SyntheticSet, sample_images
from tests.synthesis.conftest import FINDINGS
from tests.synthesis.test_evaluation import linear_mmd

SIDE = 16
SEEN = [f"P{k}" for k in range(20)]


@pytest.fixture
def generator(make_generator: Callable[..., Path]) -> Path:
    """Of Edema in colour; it saw the training patients."""
    return make_generator(SEEN, channels=3)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """28 patients, an image in colour each, all with Edema; eight of them in val."""
    return write_real(tmp_path / "real", (SIDE, SIDE, 3))


def write_real(folder: Path, shape: tuple[int, ...]) -> Path:
    splits = ["val" if k > 19 else "train" for k in range(28)]
    rows = [{"image": f"{k}.png", "patient_id": f"P{k}", "split": splits[k], "source": "real"} for k in range(28)]
    labels = np.tile(np.float32([0, 1, np.nan]), (28, 1))
    pictures = np.random.default_rng(0).integers(0, 256, (28, *shape), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), tuple(FINDINGS), labels).write(folder)


def sample(generator: Path, out: Path, n: int = 12, **settings: object) -> Path:
    return SyntheticSet(Samples(generator, "Edema", n, 3, device="cpu"), out, **settings).run()  # type: ignore[arg-type]


def document(path: Path) -> dict:
    return json.loads((path.parent / "provenance.json").read_text())


# --- the set ---


def test_everything_is_written_in_colour(generator: Path, real: Path, tmp_path: Path) -> None:
    path = sample(generator, tmp_path / "out", png=True)
    images = sample_images(load_model(generator), 12, 3)
    assert images.shape == (12, SIDE, SIDE, 3)
    manifest = read_manifest(path)
    packed = Pack(path.parent, manifest)
    assert (packed.channels, packed.array.shape) == (3, (12, SIDE, SIDE, 3))
    sheet = np.asarray(Image.open(path.parent / "contact_sheet.png"))
    assert sheet.shape == (2 * 96, 10 * 96, 3)
    for row, name in enumerate(manifest["image"]):
        assert_allclose(packed.image(row), images[row], atol=0.51 / 255)
        assert_array_equal(np.asarray(Image.open(path.parent / "png" / f"{name}.png")), packed.array[row])
        top, left = row // 10 * 96, row % 10 * 96
        assert_array_equal(sheet[top : top + 96 : 6, left : left + 96 : 6], packed.array[row])
    assert np.abs(np.diff(images, axis=3)).max() > 0.01  # it is in colour at all
    mixed = MixedDataset(real, synthetic=[path.parent])
    assert_allclose(mixed[25]["image"], np.moveaxis(packed.image(5), 2, 0))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_centre_is_kept(generator: Path, tmp_path: Path, depth: int) -> None:
    path = sample(generator, tmp_path / "out", 3, crop=(10, 12), depth=depth)
    stored, images = np.load(path.parent / "pack.npy"), sample_images(load_model(generator), 3, 3)
    assert stored.shape == (3, 10, 12, 3)
    assert_allclose(to_unit(stored), images[:, 3:13, 2:14], atol=0.51 / (2**depth - 1))
    assert document(path)["crop"] == [10, 12]


# --- the audit ---


@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6))
def test_the_search_finds_what_the_whole_table_says(seed: int, high: int, wide: int) -> None:
    rng = np.random.default_rng(seed)
    references, queries = (rng.random((int(n), high, wide, 3), dtype=np.float32) for n in rng.integers(1, 30, 2))
    points = references.reshape(len(references), -1).astype(np.float64)
    both = [image.reshape(len(image), -1).astype(np.float64) for image in (queries, queries[:, :, ::-1])]
    table = np.stack([cdist(one, points) for one in both], axis=2) / np.sqrt(points.shape[1])
    found = TwinSearch(references)(queries)
    assert_allclose(found.distances, table.min(axis=(1, 2)), rtol=1e-12)
    chosen = table[np.arange(len(queries)), found.rows, found.mirrored.astype(int)]
    assert_allclose(chosen, found.distances, rtol=1e-12)


def test_another_hue_is_no_copy(real: Path) -> None:
    """An image whose channels changed places has the luma of another one, and is not the same picture."""
    about = {"patients_seen": SEEN, "finding": "Edema", "manifest": ""}
    audit = MemorisationAudit.of(about, real, SIDE, 3)
    assert isinstance(audit, MemorisationAudit)
    assert audit.images.shape == (20, SIDE, SIDE, 3)
    copies = audit.images[3:6, :, ::-1]
    found = audit.find(copies).pixels
    assert_array_equal(found.rows, [3, 4, 5])
    assert found.mirrored.all()
    assert_allclose(found.distances, 0, atol=1e-7)
    assert (audit.find(copies[..., ::-1]).pixels.distances > 0.3).all()


def test_copies_in_a_set_are_found_and_drawn(generator: Path, real: Path, tmp_path: Path) -> None:
    images = sample_images(load_model(generator), 12, 3)
    pack, names = np.load(real.with_name("pack.npy")), list(read_manifest(real)["image"])
    pack[7] = np.rint(images[4][:, ::-1] * 255)  # a training image that the generator will make, mirrored
    write_pack(real.parent, pack, names)
    path = sample(generator, tmp_path / "out", manifest=real)
    audit = document(path)["memorisation_audit"]
    assert audit["copies"] == 1
    nearest = audit["nearest"][0]
    assert (nearest["image"], nearest["training_image"], nearest["mirrored"]) == ("Edema-3-000004", "7.png", True)
    with Image.open(path.parent / "nearest.png") as picture:
        assert picture.mode == "RGB"
        sheet = np.asarray(picture)
    first = sheet[24 : 24 + 96 : 6, 20 : 20 + 96 : 6]
    assert_allclose(first, images[4] * 255, atol=0.51)
    assert_allclose(sheet[24 : 24 + 96 : 6, 136 : 136 + 96 : 6], images[4] * 255, atol=0.51)  # turned the same way


def test_grey_training_images_are_refused(generator: Path, tmp_path: Path) -> None:
    grey = write_real(tmp_path / "grey", (SIDE, SIDE))
    with pytest.raises(ConfigError, match=r"must have 3 channels .*--colour"):
        sample(generator, tmp_path / "out", manifest=grey)


def test_many_channels_are_compared_coarser(tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cxraug.synthesis.audit._NUMBERS", 20 * 3 * SIDE**2 - 1)
    monkeypatch.setattr("monai_cxraug.synthesis.audit._LEAST_SIDE", 8)
    audit = MemorisationAudit.of({"patients_seen": SEEN, "finding": "Edema", "manifest": ""}, real, SIDE, 3)
    assert isinstance(audit, MemorisationAudit)
    assert audit.side == 8
    assert_allclose(audit.images[0], PackRows(real, size=8).picture(0))
    assert fit_all(np.empty((0, 8, 8, 3), np.float32), 8, 0, 3).shape == (0, 8, 8, 3)


# --- judges ---


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A small classifier of colour with random weights, surer than it should be."""
    torch.manual_seed(0)
    network = Classifier(3, "small_cnn", channels=3)
    with torch.no_grad():
        network.head.weight.mul_(40)
    about = {"findings": FINDINGS, "size": 8, "patients_seen": SEEN[:10]}
    save_model(tmp_path / "judge" / "model.pt", "classifier", network.eval(), about)
    return tmp_path / "judge"


def test_a_judge_of_colour_says_what_its_network_says(judge: Path) -> None:
    images = np.random.default_rng(0).random((70, SIDE, SIDE, 3), dtype=np.float32)
    small = torch.from_numpy(images).movedim(3, 1).reshape(70, 3, 8, 2, 8, 2).mean(dim=(3, 5))
    with torch.no_grad():
        expected = load_model(judge).network(small).sigmoid().numpy()
    assert_allclose(Judge(judge)(images, ["Edema"])[:, 0], expected[:, 1], atol=1e-5)


def test_judges_of_the_same_channels_alone(generator: Path, make_generator, judge: Path, tmp_path: Path) -> None:
    path = sample(generator, tmp_path / "good", 4, screening=Screening([judge], {"Mass": 0.9}), cap=50)
    judged = Judge(judge)(to_unit(np.load(path.parent / "pack.npy")), ["Mass"])
    assert (judged < 0.9).all()
    screening = Screening([judge], {"Mass": 0.9})
    with pytest.raises(ConfigError, match="must look at 1 channel"):
        sample(make_generator([], "grey"), tmp_path / "bad", screening=screening)
    assert not (tmp_path / "bad").exists()


def test_the_threshold_is_that_of_real_images_in_colour(
    generator: Path, real: Path, judge: Path, tmp_path: Path
) -> None:
    other = load_model(judge)
    save_model(
        tmp_path / "other" / "model.pt", "classifier", other.network, {**other.about, "patients_seen": SEEN[10:]}
    )
    screening, about = Screening([judge, tmp_path / "other"], accept_share=0.9), load_model(generator).about
    rule = screening.prepare("Edema", SIDE, frozenset(), real, about, channels=3).rule
    assert rule is not None
    real_ones = Judge(judge)(read_images(PackRows(real, "train")), ["Edema"])[:, 0]
    assert rule.threshold == pytest.approx(np.sort(real_ones)[2], abs=1e-6)
    with pytest.raises(ConfigError, match="must have 1 channel"):
        read_positives(real, about, "Edema", SIDE)


# --- figures ---


def test_every_figure_is_the_metric_over_the_halves() -> None:
    rng = np.random.default_rng(0)
    images, samples = (rng.random((n, 32, 32, 3), dtype=np.float32) for n in (10, 10))
    patients = [str(k) for k in range(10)]
    reference = RealReference(images, patients)
    first, second = split_by_patient(patients, 0)
    values = reference.measure(samples)
    expected = [
        sliced_wasserstein(part, images[half], 0, directions=128)
        for part, half in zip(np.split(samples, 2), (first, second), strict=True)
    ]
    for side in (16, 32):
        assert values[f"sliced_{side}"] == pytest.approx(np.mean([one[side] for one in expected]))
    assert values["ms_ssim"] == pytest.approx(ms_ssim_diversity(samples, seed=0).value)


def test_features_of_other_channels_are_refused(judge: Path) -> None:
    assert ClassifierFeatures(judge, channels=3).channels == 3
    with pytest.raises(ConfigError, match=r"must look at 1 channel .grey.; found 3"):
        ClassifierFeatures(judge, channels=1)


def test_a_generator_of_colour_is_evaluated(generator: Path, real: Path, judge: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    values = EvaluateGenerator(generator, real, "val", {}, 0, out, classifier=judge).run()
    assert {"mmd", "ssim", "frechet", "sliced_16", "nearest_pixels"} <= set(values)
    assert np.isfinite(list(values.values())).all()
    held_out = read_images(PackRows(real, "val"))[np.random.default_rng(0).permutation(8)]
    made = sample_images(load_model(generator), 8, 0)
    assert values["mmd"] == pytest.approx(linear_mmd(held_out.reshape(8, -1), made.reshape(8, -1)), rel=1e-3)
    grey = write_real(tmp_path / "grey", (SIDE, SIDE))
    with pytest.raises(ConfigError, match="must have 3 channels"):
        EvaluateGenerator(generator, grey, "val", {}, 0, out).run()


def test_a_snapshot_of_colour_is_measured(make_generator, real: Path, judge: Path) -> None:
    generator = load_model(make_generator([], channels=3))
    measure = MeasureSnapshot(real, SIDE, [], finding="Edema", classifier=judge)
    growth = {"resolution": SIDE, "alpha": 1.0}
    snapshot = {"settings": generator.settings, "weights": generator.network.state_dict(), "growth": growth}
    found = measure(snapshot)
    reference = RealReference(
        read_images(PackRows(real, "val")), [f"P{k}" for k in range(20, 28)], ClassifierFeatures(judge)
    )
    expected = reference.measure(sample_images(generator, 8, 0))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    grey = Classifier(3, "small_cnn")
    save_model(judge / "model.pt", "classifier", grey, load_model(judge).about)
    with pytest.raises(ConfigError, match=r"must look at 3 channels .colour.; found 1"):
        MeasureSnapshot(real, SIDE, [], finding="Edema", classifier=judge)


def test_the_picture_of_the_nearest_is_in_colour(real: Path, tmp_path: Path) -> None:
    training = PackRows(real, "train")
    samples = to_unit(np.asarray(training.pack.array[:5]))
    values = NearestTraining(training).measure(samples, read_images(PackRows(real, "val")), tmp_path / "n.png")
    assert values["nearest_pixels"] == pytest.approx(0, abs=1e-6)
    sheet = np.asarray(Image.open(tmp_path / "n.png"))
    for place in (20, 136):  # the sample, and what is nearest to it
        assert_array_equal(sheet[24 : 24 + 96 : 6, place : place + 96 : 6], training.pack.array[0])


def test_distorters_keep_to_their_channels(real: Path, tmp_path: Path) -> None:
    for channels in (1, 3):
        network = EncoderDecoder(channels=channels, layers=2, width=4)
        about = {"task": "restore", "corruption": {"kind": "white_noise", "strength": 0.1}, "size": SIDE}
        save_model(tmp_path / f"d{channels}" / "model.pt", "distortion", network, {**about, "patients_seen": []})
    with pytest.raises(ConfigError, match="must have 1 channel"):
        DistortedSet(PackDataset(real), Distorter.load(tmp_path / "d1", "cpu"), tmp_path / "bad").run()
    DistortedSet(PackDataset(real), Distorter.load(tmp_path / "d3", "cpu"), tmp_path / "out", png=True).run()
    stored = np.load(tmp_path / "out" / "pack.npy")
    assert stored.shape == (28, SIDE, SIDE, 3)

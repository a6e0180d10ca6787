"""The generator interface: images by number, bit for bit; label vectors; truncation; training by the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare
from torch import Tensor, nn

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, LabelError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.dcgan import DcganGenerator
from monai_cxraug.networks.fastgan import FastGenerator
from monai_cxraug.networks.infogan import InfoGenerator
from monai_cxraug.networks.latents import CENTRE, LABELS, draw_latents, draw_uniform
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import Model, load_model, save_model
from monai_cxraug.synthesis.generators import (
    GENERATORS,
    LatentGenerator,
    PgganGenerator,
    load_generator,
    make_generator,
    ranges,
)

FINDINGS = ("Mass", "Edema", "Fibrosis")
ROWS = {"010": 60, "110": 30, "011": 10, "100": 500, "0?0": 7, "1?1": 5}


class StandIn(nn.Module):
    """A conditional generator whose image shows what it was given: the label vector, then the latent."""

    def __init__(self, latent_size: int = 4, findings: int = 3) -> None:
        super().__init__()
        self.settings = {"resolution": 8, "latent_size": latent_size, "channels": 1, "findings": findings}
        self.latent_size = latent_size
        self.scale = nn.Parameter(torch.ones(1))

    def forward(
        self, z: Tensor, resolution: int | None = None, alpha: float = 1.0, labels: Tensor | None = None
    ) -> Tensor:
        assert labels is not None
        shown = torch.cat([labels, z / 8 + 0.5], dim=1) * self.scale  # [N, 7]
        return nn.functional.pad(shown, (0, 57)).reshape(-1, 1, 8, 8)


def conditional(rows: Any = ROWS, **changes: Any) -> Model:
    about = {
        "findings": list(FINDINGS),
        "label_rows": rows,
        "manifest": "0" * 64,
        "patients_seen": [],
        "images_seen": 1,
    }
    return Model(StandIn(), "pggan", {**about, **changes}, Path("model.pt"))


@pytest.fixture
def generator(make_generator: Callable[..., Path]) -> PgganGenerator:
    return PgganGenerator(load_model(make_generator(["P0"])))


# --- images by number ---


def test_images_are_the_networks(generator: PgganGenerator) -> None:
    with torch.inference_mode():
        expected = generator.model.network(draw_latents(5, 0, 40, 8)).clamp(0, 1)[:, 0].numpy()
    images = generator.sample(40, "Edema", 5)
    assert images.dtype == np.float32
    assert generator.size == images.shape[1:] == (16, 16)
    assert_allclose(images, expected, atol=1e-5)
    assert_array_equal(generator.sample(40, "Edema", 5), images)
    assert not np.array_equal(generator.sample(40, "Edema", 6), images)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 49), count=st.integers(1, 50))
def test_any_range_has_equal_bits(generator: PgganGenerator, first: int, count: int) -> None:
    if "whole" not in generator.__dict__:
        generator.__dict__["whole"] = generator.sample(50, "Edema", 3)
    whole = generator.__dict__["whole"]
    count = min(count, 50 - first)
    assert_array_equal(generator.sample(count, "Edema", 3, first), whole[first : first + count], strict=True)


class Places(nn.Module):
    """Shows where in its batch an image was, and how large the batch: what might change the last bit of a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = {"resolution": 8, "latent_size": 4, "channels": 1}
        self.latent_size = 4
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        shown = self.scale * torch.arange(len(z)) / (1 + len(z))
        return shown[:, None, None, None].expand(-1, 1, 8, 8)


@pytest.mark.parametrize(("n", "start"), [(1, 0), (1, 17), (16, 0), (5, 14), (40, 3)])
def test_an_image_has_its_place_in_a_full_batch(n: int, start: int) -> None:
    model = Model(Places(), "pggan", {"finding": "Edema", "findings": FINDINGS}, Path("model.pt"))
    images = PgganGenerator(model).sample(n, "Edema", 0, start)
    assert_allclose(images[:, 0, 0], np.arange(start, start + n) % 16 / 17, rtol=1e-6)


@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_ranges_cover_everything_once(make_generator, truncation: float) -> None:
    generator = load_generator(make_generator([]), truncation, "cpu")
    cut = list(ranges(generator, 37, 11))
    assert cut == [(11, 5), (16, 16), (32, 16)]
    images = [generator.sample(count, "Edema", 0, first) for first, count in cut]
    assert_array_equal(np.concatenate(images), generator.sample(37, "Edema", 0, 11))


@pytest.mark.parametrize(("side", "chunk"), [(4, 16), (128, 16), (256, 8), (512, 2), (1024, 1)])
def test_large_images_pass_in_smaller_numbers(make_generator, side: int, chunk: int) -> None:
    network = ProgressiveGenerator(side, 4, fmap_base=4, fmap_max=1)
    model = Model(network, "pggan", {"finding": "Edema", "findings": FINDINGS}, Path("model.pt"))
    assert PgganGenerator(model).chunk == chunk


def test_half_precision_weights_give_float32(generator: PgganGenerator) -> None:
    generator.model.network.bfloat16()
    generator.model.network.register_forward_pre_hook(lambda _, given: (given[0].bfloat16(),))
    assert generator.sample(2, "Edema", 0).dtype == np.float32


# --- kinds, colour, codes ---

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "pggan": lambda channels: ProgressiveGenerator(16, 8, channels, fmap_base=32, fmap_max=8),
    "infogan": lambda channels: InfoGenerator(28, 6, (3,), 1, channels, 4, 8),
    "dcgan": lambda channels: DcganGenerator(28, 8, channels, 4, 8),
    "fastgan": lambda channels: FastGenerator(28, 8, channels, 2),
}
kinds = pytest.mark.parametrize("kind", NETWORKS)


def of_kind(kind: str, channels: int = 1, **given: Any) -> LatentGenerator:
    """A generator whose batch normalisation, if it has any, has seen some batches."""
    torch.manual_seed(0)
    network = NETWORKS[kind](channels)
    for _ in range(30):
        network(torch.randn(8, network.latent_size))
    about = {"finding": "Edema", "findings": FINDINGS, "manifest": "0", "images_seen": 1, "patients_seen": []}
    return make_generator(Model(network.eval(), kind, about, Path("model.pt")), **given)


@kinds
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("truncation", [1.0, 0.4])
def test_every_kind_makes_images_by_number(kind: str, channels: int, truncation: float) -> None:
    generator = of_kind(kind, channels, truncation=truncation)
    assert type(generator) is GENERATORS[kind]
    assert (generator.kind, generator.channels) == (kind, channels)
    whole = generator.sample(40, "Edema", 3)
    assert whole.shape == (40, *generator.size, *([3] if channels == 3 else []))
    assert whole.dtype == np.float32
    assert 0 <= whole.min() < whole.max() <= 1
    for first, count in ((0, 1), (7, 20), (39, 1)):
        assert_array_equal(generator.sample(count, "Edema", 3, first), whole[first : first + count], strict=True)
    if truncation == 1.0:
        with torch.inference_mode():
            made = generator.model.network(generator.layout.draw(3, 0, 40)).clamp(0, 1)
        assert_allclose(whole, made[:, 0] if channels == 1 else made.movedim(1, 3), atol=1e-5)
    assert generator.labels(1, "Edema", 0)[0, 1] == 1


@kinds
def test_every_kind_tells_its_origin(kind: str, tmp_path: Path) -> None:
    generator = of_kind(kind)
    save_model(tmp_path / "model.pt", kind, generator.model.network, generator.model.about)
    loaded = load_generator(tmp_path, device="cpu")
    assert loaded.provenance()["generator"]["kind"] == kind
    assert loaded.provenance()["generator"]["settings"] == generator.model.settings
    assert "codes" not in loaded.provenance()
    assert_array_equal(loaded.sample(3, "Edema", 0), generator.sample(3, "Edema", 0))


def test_codes_are_drawn_unless_they_are_fixed(tmp_path: Path) -> None:
    free, fixed = of_kind("infogan"), of_kind("infogan", codes={"category1": 2, "code1": 0.5})
    latents = free.layout.draw(0, 0, 5)
    with torch.inference_mode():
        expected = free.model.network(free.layout.fix(latents, {"category1": 2, "code1": 0.5}))
    assert_allclose(fixed.sample(5, "Edema", 0), expected[:, 0], atol=1e-6)
    assert not np.allclose(free.sample(5, "Edema", 0), expected[:, 0], atol=1e-4)
    save_model(tmp_path / "model.pt", "infogan", free.model.network, free.model.about)
    again = load_generator(tmp_path, device="cpu", codes={"category1": 2, "code1": 0.5})
    assert_array_equal(again.sample(5, "Edema", 0), fixed.sample(5, "Edema", 0))
    assert again.provenance()["codes"] == {"category1": 2, "code1": 0.5}


def test_truncation_leaves_codes() -> None:
    generator = of_kind("infogan", truncation=0.0)
    codes = generator.layout.draw(0, 0, 30)[:, 6:]
    images, centre = generator.sample(30, "Edema", 0), generator._centre("Edema")
    assert len(np.unique(images.reshape(30, -1).round(5), axis=0)) == 30  # codes still vary
    with torch.inference_mode():
        expected = generator.model.network(torch.cat([centre[:6].expand(30, 6), codes], dim=1))
    assert_allclose(images, expected[:, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["pggan", "infogan"])
def test_codes_that_a_generator_has_not_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="code: must be one of"):
        of_kind(kind, codes={"code7": 0.0})


# --- truncation ---


def test_truncation_gives_up_variety_for_typical_images(make_generator) -> None:
    folder = make_generator([])
    images = {share: load_generator(folder, share, "cpu").sample(30, "Edema", 0) for share in (0, 0.3, 0.7, 1)}
    assert_array_equal(images[1], load_generator(folder, device="cpu").sample(30, "Edema", 0))
    assert_allclose(images[0], np.broadcast_to(images[0][0], images[0].shape), atol=1e-6)
    variety = [images[share].std(axis=0).mean() for share in (0, 0.3, 0.7, 1)]
    assert variety == sorted(variety)
    assert variety[1] < 0.7 * variety[2] < 0.7 * variety[3]


def test_the_centre_is_the_most_typical_candidate(make_generator) -> None:
    generator = PgganGenerator(load_model(make_generator([])), 0.0)
    latents = draw_latents(0, 0, 64, 8, CENTRE)
    with torch.inference_mode():
        images = generator.model.network(latents).clamp(0, 1)[:, 0].numpy()
    distances = ((images - images.mean(axis=0)) ** 2).sum(axis=(1, 2))
    for seed in (0, 9):
        assert_allclose(generator.sample(1, "Edema", seed)[0], images[distances.argmin()], atol=1e-5)
    assert np.sort(distances)[1] > distances.min()  # another choice would show


# --- label vectors ---


def test_a_generator_of_one_finding_knows_nothing_else(generator: PgganGenerator) -> None:
    assert generator.findings == FINDINGS
    assert_array_equal(generator.labels(3, "Edema", 0), [[np.nan, 1, np.nan]] * 3)


def test_label_vectors_come_as_often_as_in_training() -> None:
    generator = PgganGenerator(conditional())
    labels = generator.labels(20_000, "Edema", 1)
    assert labels.dtype == np.float32
    seen = [(labels == row).all(axis=1).sum() for row in ([0, 1, 0], [1, 1, 0], [0, 1, 1])]
    assert sum(seen) == 20_000
    assert chisquare(seen, [12_000, 6_000, 2_000]).pvalue > 0.01
    masses = generator.labels(2000, "Mass", 1)
    assert set(masses[:, 0]) == {1}
    assert np.isnan(masses).any()


def test_the_network_gets_the_label_vectors_of_the_manifest() -> None:
    generator = PgganGenerator(conditional({"110": 2, "1?1": 1, "010": 5}))
    assert np.isnan(generator.labels(40, "Mass", 2)).any()
    for start in (0, 13):
        images, labels = generator.sample(40, "Mass", 2, start), generator.labels(40, "Mass", 2, start)
        assert_array_equal(images.reshape(40, 64)[:, :3], labels)  # what is unknown stays so
        latents = draw_latents(2, start, 40, 4).numpy()
        assert_allclose(images.reshape(40, 64)[:, 3:7], np.clip(latents / 8 + 0.5, 0, 1), atol=1e-6)
    whole = generator.labels(53, "Mass", 2)
    assert_array_equal(generator.labels(40, "Mass", 2, 13), whole[13:])


def test_the_order_of_the_counts_is_irrelevant_and_the_draw_is_by_cumulative_count() -> None:
    rows = {"011": 1, "010": 3}
    drawn = draw_uniform(4, 0, 50, 1, LABELS)[:, 0]
    expected = np.where(drawn[:, None] <= 0.75, [[0, 1, 0]], [[0, 1, 1]])
    for one in (rows, dict(reversed(rows.items()))):
        assert_array_equal(PgganGenerator(conditional(one)).labels(50, "Edema", 4), expected)


def test_a_conditional_generator_can_be_truncated() -> None:
    generator = PgganGenerator(conditional(), 0.0)
    images = generator.sample(20, "Edema", 0).reshape(20, 64)
    assert len(np.unique(images[:, :3], axis=0)) > 1  # label vectors still vary
    assert len(np.unique(images[:, 3:7].round(5), axis=0)) == 1


def test_a_finding_that_no_training_image_shows_is_refused() -> None:
    generator = PgganGenerator(conditional({"010": 3, "??0": 2}))
    assert generator.labels(1, "Edema", 0)[0, 1] == 1
    for finding in ("Mass", "Fibrosis", "Edma"):
        with pytest.raises(LabelError, match=f"--finding: unknown finding; found '{finding}'.*Edema"):
            generator.sample(1, finding, 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, "label_rows None"),
        ({}, "label_rows {}"),
        (["010"], "label_rows"),
        ({"01": 3}, "'01': 3"),
        ({"012": 3}, "'012': 3"),
        ({"010": 0}, "'010': 0"),
        ({"010": 0.5}, "'010': 0.5"),
        ({10: 3}, "10: 3"),
    ],
)
def test_a_conditional_generator_must_tell_its_label_vectors(rows: Any, words: str) -> None:
    with pytest.raises(StateError, match=r"model\.pt: ") as caught:
        PgganGenerator(conditional(rows))
    assert words in str(caught.value)


def test_findings_and_label_inputs_must_be_equally_many() -> None:
    with pytest.raises(StateError, match="must tell its findings"):
        PgganGenerator(conditional({"01": 3}, findings=["Mass", "Edema"]))


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"n": 0}, ConfigError, "n: must be a whole number of at least 1; found 0"),
        ({"n": 2.0}, ConfigError, "n: "),
        ({"seed": -1}, ConfigError, "seed: must be a whole number of at least 0; found -1"),
        ({"start": -1}, ConfigError, "start: "),
        ({"start": True}, ConfigError, "start: "),
        ({"finding": "Mass"}, LabelError, "'Mass'; known: Edema"),
    ],
)
def test_a_wrong_request(generator: PgganGenerator, change: dict[str, Any], kind: type, words: str) -> None:
    for call in (generator.sample, generator.labels):
        with pytest.raises(CxrAugError) as caught:
            call(**{"n": 1, "finding": "Edema", "seed": 0, **change})
        assert type(caught.value) is kind
        assert words in str(caught.value)


@pytest.mark.parametrize("truncation", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_a_wrong_truncation(generator: PgganGenerator, truncation: Any) -> None:
    with pytest.raises(ConfigError, match="truncation: must be a number from 0 to 1"):
        PgganGenerator(generator.model, truncation)


def test_a_wrong_model(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "classifier", Classifier(1), {})
    with pytest.raises(StateError, match="must be a pggan or infogan or dcgan or fastgan; found classifier"):
        load_generator(tmp_path)


# --- origin and training ---


def test_provenance(generator: PgganGenerator) -> None:
    model = generator.model
    assert generator.provenance() == {
        "generator": {"sha256": file_hash(model.path), "kind": "pggan", "settings": model.settings},
        "training_manifest": "0" * 64,
        "images_seen": 640,
        "patients_seen": ["P0"],
        "truncation": 1.0,
    }


def test_it_is_trained_by_its_bundle(tmp_path: Path) -> None:
    rows = [{"image": f"{k}.png", "patient_id": f"P{k}", "split": "train", "source": "real"} for k in range(6)]
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    write_pack(tmp_path / "real", pictures, [row["image"] for row in rows])
    labels = np.array([[0, 1]] * 4 + [[1, 0]] * 2, dtype=np.float32)
    manifest = Manifest(make_columns(rows), ("Mass", "Edema"), labels).write(tmp_path / "real")
    small = {"resolution": 8, "latent_size": 4, "fmap_max": 2, "total_images": 8, "batch_size": 2, "device": "cpu"}
    asked: list[Sequence[Path]] = []

    def train(files: Sequence[Path], given: Mapping[str, Any]) -> None:
        asked.append(files)
        run_stage(files, {**given, "fade_images": 2, "stable_images": 2, "threads": 1})

    out = tmp_path / "out"
    generator = PgganGenerator.fit(out, {**small, "manifest": str(manifest), "finding": "Edema", "seed": 3}, train)
    assert [[file.name for file in files] for files in asked] == [["train.json"]]
    assert generator.sample(2, "Edema", 0).shape == (2, 8, 8)
    assert generator.provenance()["patients_seen"] == ["P0", "P1", "P2", "P3"]
    assert generator.findings == ("Mass", "Edema")
    assert_array_equal(load_generator(out, device="cpu").sample(2, "Edema", 0), generator.sample(2, "Edema", 0))


@pytest.mark.parametrize(("kind", "overlays"), [("infogan", ()), ("dcgan", ("dcgan",)), ("fastgan", ("fastgan",))])
def test_other_kinds_are_trained_by_image_infogan(kind: str, overlays: tuple[str, ...], tmp_path: Path) -> None:
    generator = of_kind(kind)
    asked: list[tuple[Sequence[Path], Mapping[str, Any]]] = []

    def train(files: Sequence[Path], given: Mapping[str, Any]) -> None:
        asked.append((files, given))
        save_model(Path(given["output_dir"]) / "model.pt", kind, generator.model.network, generator.model.about)

    made = GENERATORS[kind].fit(tmp_path, {"manifest": "m.csv", "finding": "Edema"}, train)
    ((files, given),) = asked
    assert [file.stem for file in files] == ["train", *overlays]
    assert {file.parents[1].name for file in files} == {"image_infogan"} == {Path(given["bundle_root"]).name}
    assert given["manifest"] == "m.csv"
    assert made.kind == kind

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cxraug.artifacts import file_hash, write_json
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import to_unit, write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LeakageError, StateError
from monai_cxraug.networks.corruption import Corruption
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import save_model
from monai_cxraug.synthesis.distorted_set import DistortedSet
from monai_cxraug.synthesis.distorter_evaluation import EvaluateDistorter
from monai_cxraug.synthesis.distorters import Distorter, load_distorters

IMAGES = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def write_network(folder: Path, kind: str = "white_noise", seed: int = 0, patients: tuple[str, ...] = ("p0",)) -> Path:
    torch.manual_seed(seed)
    network = EncoderDecoder(layers=2, width=3, skips=1, dropout_layers=1)
    about = {"corruption": Corruption(kind).settings, "patients_seen": list(patients), "size": 16, "images_seen": 8}
    save_model(folder / "model.pt", "distortion", network, about)
    return folder


def test_a_distorter_says_who_it_is(tmp_path: Path) -> None:
    distorter = Distorter.load(write_network(tmp_path / "7", patients=("a", "b")))
    assert distorter.hash == file_hash(tmp_path / "7" / "model.pt")
    assert distorter.name == f"7-{distorter.hash[:8]}"
    assert distorter.patients_seen == {"a", "b"}
    assert Distorter.load(tmp_path / "7" / "model.pt").name == distorter.name


@pytest.mark.parametrize("kind", ["null", "white_noise", "pink_noise", "downsampling"])
def test_it_is_a_function_of_image_seed_and_number(kind: str, tmp_path: Path) -> None:
    distorter = Distorter.load(write_network(tmp_path, kind))
    made = distorter(IMAGES, 3)
    assert made.shape == IMAGES.shape
    assert made.dtype == torch.float32
    assert ((made >= 0) & (made <= 1)).all()
    assert torch.equal(made, distorter(IMAGES, 3))
    torch.testing.assert_close(distorter(IMAGES[2:4], 3, start=2), made[2:4], atol=1e-6, rtol=0)
    assert torch.equal(distorter(IMAGES, 4), made) == (kind in ("null", "downsampling"))
    torch.testing.assert_close(made, distorter.model.network(distorter.corrupt(IMAGES, 3)).detach(), atol=1e-6, rtol=0)


def test_many_images_and_none(tmp_path: Path) -> None:
    distorter = Distorter.load(write_network(tmp_path))
    many = IMAGES[:1].expand(70, -1, -1, -1)
    torch.testing.assert_close(distorter(many, 0)[65:66], distorter(IMAGES[:1], 0, start=65), atol=1e-6, rtol=0)
    assert distorter(IMAGES[:0], 0).shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("images", "seed", "error"),
    [
        (IMAGES, -1, ConfigError),
        (IMAGES, True, ConfigError),
        (IMAGES, 1.5, ConfigError),
        (IMAGES[..., :15], 0, InputError),
        (IMAGES.expand(-1, 3, -1, -1), 0, InputError),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    images: torch.Tensor, seed: Any, error: type[CxrAugError], tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        Distorter.load(write_network(tmp_path))(images, seed)
    assert "\n" not in str(caught.value)


def test_other_models_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "pggan", ProgressiveGenerator(8, 4, fmap_max=2), {})
    with pytest.raises(StateError, match="must be a distortion; found pggan"):
        Distorter.load(tmp_path)


def collection(folder: Path) -> Path:
    entries = []
    for number in range(3):
        write_network(folder / str(number), seed=number)
        entries.append({"folder": str(number), "sha256": file_hash(folder / str(number) / "model.pt")})
    write_json(folder / "networks.json", "cxraug.networks/1", {"networks": entries})
    return folder


def test_a_folder_of_networks(tmp_path: Path) -> None:
    found = load_distorters(collection(tmp_path))
    assert [one.name.split("-")[0] for one in found] == ["0", "1", "2"]
    assert len({one.hash for one in found}) == 3


def test_a_changed_network_is_refused(tmp_path: Path) -> None:
    write_network(collection(tmp_path) / "1", seed=9)
    with pytest.raises(StateError, match=r"must be the model that networks.json lists"):
        load_distorters(tmp_path)
    with pytest.raises(InputError, match="nothing there"):
        load_distorters(tmp_path / "nowhere")


# --- sets and figures ---


def radiographs(folder: Path, depth: int = 8) -> Path:
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k}", "split": "train" if k < 2 else "val", "source": "real"}
        for k in range(6)
    ]
    pictures = np.random.default_rng(0).integers(0, 2**depth, (6, 16, 16)).astype(f"uint{depth}")
    folder.mkdir()
    write_pack(folder, pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema",), np.full((6, 1), np.nan, np.float32), {"name": "t"}).write(
        folder, {}
    )


@pytest.mark.parametrize("depth", [8, 16])
def test_a_set_holds_what_the_network_makes(tmp_path: Path, depth: int) -> None:
    manifest = radiographs(tmp_path / "data", depth)
    distorter = Distorter.load(write_network(tmp_path / "net"))
    made = DistortedSet(PackDataset(manifest, "val"), distorter, tmp_path / "out", seed=2, png=True).run()
    with made.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["original"] for row in rows] == ["2.png", "3.png", "4.png", "5.png"]
    assert [row["patient_id"] for row in rows] == ["p2", "p3", "p4", "p5"]
    assert [row["image"] for row in rows] == [f"{k}.png+{distorter.name}" for k in range(2, 6)]
    stored = np.load(made.parent / "pack.npy")
    assert stored.dtype == f"uint{depth}"
    originals = torch.from_numpy(to_unit(np.load(tmp_path / "data" / "pack.npy")[2:]))[:, None]
    expected = distorter(originals, 2)[:, 0].numpy()
    np.testing.assert_allclose(to_unit(stored), expected, atol=0.51 / (2**depth - 1))
    pictures = [np.asarray(Image.open(made.parent / "png" / f"{row['image']}.png")) for row in rows]
    np.testing.assert_allclose(np.stack(pictures) / 255, expected, atol=0.6 / 255)
    provenance = json.loads((made.parent / "provenance.json").read_text())
    assert provenance["network"]["sha256"] == distorter.hash
    assert provenance["patients_seen"] == ["p0"]
    DistortedSet(PackDataset(manifest, "val"), distorter, tmp_path / "out", seed=3).run()  # over its own kind


def test_a_network_that_saw_a_judged_patient_is_refused(tmp_path: Path) -> None:
    manifest = radiographs(tmp_path / "data")
    write_network(tmp_path / "net", patients=("p0", "p3"))
    with pytest.raises(LeakageError, match="'p3'"):
        DistortedSet(PackDataset(manifest, "val"), Distorter.load(tmp_path / "net"), tmp_path / "out").run()
    assert not (tmp_path / "out").exists()
    with pytest.raises(LeakageError, match="'p3'"):
        EvaluateDistorter(tmp_path / "net", manifest, "val", {}, 0, tmp_path / "out").run()


def test_other_data_stay(tmp_path: Path) -> None:
    manifest = radiographs(tmp_path / "data")
    distorter = Distorter.load(write_network(tmp_path / "net"))
    with pytest.raises(StateError, match="must hold nothing, or a distorted set"):
        DistortedSet(PackDataset(manifest, "val"), distorter, tmp_path / "data").run()


def test_figures_are_means_over_images(tmp_path: Path) -> None:
    manifest = radiographs(tmp_path / "data")
    write_network(tmp_path / "net")
    values = EvaluateDistorter(tmp_path / "net", manifest, "val", {}, 4, tmp_path / "out").run()
    distorter = Distorter.load(tmp_path / "net")
    originals = torch.from_numpy(to_unit(np.load(tmp_path / "data" / "pack.npy")[2:]))[:, None]
    made = distorter(originals, 4).double().numpy()
    given = distorter.corrupt(originals, 4).double().numpy()
    exact = originals.double().numpy()
    for suffix, images in (("", made), ("_given", given)):
        mse = ((images - exact) ** 2).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(values[f"mae{suffix}"], np.abs(images - exact).mean(), rtol=1e-5)
        np.testing.assert_allclose(values[f"psnr{suffix}"], np.mean(-10 * np.log10(mse)), rtol=1e-5)
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["n"] == 4
    assert written["ssim"] == values["ssim"]

"""Settings of the super-resolution bundle, run in this process; nonsense is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import CxrAugError, LeakageError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.weights import load_model, save_model

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "image_superresolution"


def run(stage: str, out: Path, *overlays: str, **settings: Any) -> None:
    files = [BUNDLE / "configs" / f"{name}.json" for name in (stage, *overlays)]
    place = {"bundle_root": str(BUNDLE), "output_dir": str(out), "device": "cpu", "threads": 1}
    run_stage(files, {**place, **settings})


def train(manifest: Path, out: Path, **settings: Any) -> Any:
    run("train", out, "smoke", manifest=str(manifest), **settings)
    return load_model(out, "esrgan")


def training(manifest: Path) -> frozenset[str]:
    table = read_manifest(manifest)
    return table.patients(table.rows("train", {}))


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures in colour."""
    folder = tmp_path_factory.mktemp("colour")
    splits = ["train"] * 12 + ["val"] * 4
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k}", "split": split, "source": "real"} for k, split in enumerate(splits)
    ]
    pictures = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("malignant",), np.zeros((16, 1), np.float32), {"name": "skin"}).write(folder)


def test_the_model_says_what_it_is_and_whom_it_saw(manifest: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "c" / "model.pt", "classifier", Classifier(1, "small_cnn"), {"patients_seen": ["elsewhere"]})
    model = train(manifest, tmp_path / "out", feature_network=str(tmp_path / "c"), interpolation=0.5)
    about = model.about
    assert about["patients_seen"] == sorted(training(manifest) | {"elsewhere"})
    assert about["weights"] == [0.01, 1.0, 0.005]
    assert len(about["feature_network"]) == 64
    assert (about["scale"], about["size"], about["channels"], about["images"]) == (2, 32, 1, 32)
    assert (about["steps"], about["interpolation"], about["images_seen"]) == ([4, 4], 0.5, 32)
    before = load_model(tmp_path / "out" / "psnr")
    assert before.about["interpolation"] == 0.0
    assert any(
        not torch.equal(value, before.network.state_dict()[name]) for name, value in model.network.state_dict().items()
    )


def test_colours_are_enlarged_and_judged(colour: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = train(colour, out)
    assert model.settings["channels"] == 3
    run("evaluate", out, manifest=str(colour), checkpoint=str(out), others={"first": str(out / "psnr")}, rows=2)
    assert set(json.loads((out / "metrics.json").read_text())["methods"]) >= {"model", "first", "bicubic"}
    with pytest.raises(LeakageError, match="not trained on"):
        run("evaluate", tmp_path / "new", manifest=str(colour), checkpoint=str(out), split="train")


def test_another_interpolation_is_exported_without_training_again(manifest: Path, tmp_path: Path) -> None:
    whole = train(manifest, tmp_path)
    stamp = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    half = train(manifest, tmp_path, interpolation=0.5)
    before = load_model(tmp_path / "psnr").network.state_dict()
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == stamp
    for name, value in half.network.state_dict().items():
        torch.testing.assert_close(value, (before[name] + whole.network.state_dict()[name]) / 2)


def test_a_training_for_psnr_alone_writes_one_network(manifest: Path, tmp_path: Path) -> None:
    model = train(manifest, tmp_path, gan_steps=0, keep_checkpoint=False, feature_weight=1.0)
    assert not (tmp_path / "psnr").exists()
    assert (model.about["interpolation"], model.about["steps"]) == (None, [4, 0])


def test_public_weights_are_gone_on_from(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    given = EnlargingNetwork(3, 2, features=8, blocks=1, growth=4)
    dense = {
        f"RRDB_trunk.0.RDB{d + 1}.conv{k + 1}": given.trunk.get_submodule(f"0.dense.{d}.layers.{k}")
        for d in range(3)
        for k in range(5)
    }
    around = {"conv_first": given.first, "trunk_conv": given.body, "HRconv": given.fine, "conv_last": given.last}
    layers = {**dense, **around, "upconv1": given.doublings[0]}
    state = {f"{name}.{kind}": value for name, layer in layers.items() for kind, value in layer.state_dict().items()}
    torch.save(state, tmp_path / "public.pth")
    settings = {"weights": str(tmp_path / "public.pth"), "gan_steps": 0, "learning_rate": 1e-9}
    model = train(manifest, tmp_path / "out", **settings)
    torch.testing.assert_close(model.network.state_dict()["body.weight"], given.body.weight.detach(), atol=1e-6, rtol=0)
    said = capsys.readouterr().out
    assert "public.pth (ESRGAN, second layout): 40 weights loaded; first.weight summed over the colours" in said


def test_a_cut_of_the_training_images_is_a_cut_of_the_patients_seen(manifest: Path, tmp_path: Path) -> None:
    whole, limited = training(manifest), {"Edema": 4}
    model = train(manifest, tmp_path, limit=limited, gan_steps=0)
    assert frozenset(model.about["patients_seen"]) < whole
    assert model.about["images"] < 32


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"scale": 3}, r"EnlargingNetwork\(scale\): must be 1, 2 or 4; found 3"),
        ({"crop": 15}, r"crop: must be a multiple of the scale \(2\), at least 4; found 15"),
        ({"crop": 64}, r"must be \[N, C, H, W\], sides of at least 64"),
        ({"pixel_steps": 0, "gan_steps": 0}, "steps: must be a whole number of at least 1"),
        ({"gan_steps": 3}, r"steps: must be a multiple of epoch_length \(4\); found 7"),
        ({"adversarial_weight": 0.0}, "adversarial_weight above 0 go together"),
        ({"halvings": [2]}, r"halvings: must be shares of a stage, in \(0, 1\); found \[2\]"),
        ({"interpolation": 2.0}, r"interpolation: must be in \[0, 1\]; found 2.0"),
        ({"discriminator_normalisation": "batches"}, "unknown normalisation; found 'batches'; did you mean 'batch'"),
        ({"feature_network": "nowhere.pt"}, "nowhere.pt: must be a model file"),
        ({"weights": "nowhere.pth"}, "nowhere.pth: must be a file of weights"),
        ({"batch_size": 1000}, "batch_size: must be between 1 and the number of training images"),
        ({"gan_step": 4}, "unknown key; found 'gan_step'; did you mean 'gan_steps'"),
        ({"size": 64}, "images must have at least 64 px; found 32 px"),
    ],
)
def test_nonsense_is_refused_in_one_line(settings: dict[str, Any], line: str, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrAugError, match=line) as caught:
        train(manifest, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "model.pt").exists()

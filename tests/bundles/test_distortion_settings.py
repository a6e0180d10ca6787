"""Settings and overlays of the distortion bundle, run in this process; nonsense is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import CxrAugError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import load_model, save_model

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_distortion"


def train(manifest: Path, out: Path, overlays: tuple[str, ...] = (), **settings: Any) -> Any:
    files = [BUNDLE / "configs" / f"{name}.json" for name in ("train", *overlays, "smoke")]
    place = {"bundle_root": str(BUNDLE), "output_dir": str(out), "device": "cpu", "threads": 1}
    run_stage(files, {"manifest": str(manifest), "keep_checkpoint": False, **place, **settings})
    return load_model(out, "distortion")


def test_a_conditional_gan_imitates_what_it_is_told(manifest: Path, tmp_path: Path) -> None:
    model = train(manifest, tmp_path, ("conditional_gan",), skips=2, imitated="gaussian_noise 0.1 + jpeg 30")
    assert model.about["task"] == "distort"
    assert model.about["distortions"] == {"text": "gaussian_noise 0.1 + jpeg 30", "count": 1}
    assert model.about["corruption"]["kind"] == "null"
    assert model.about["patients_seen"] == sorted(_training(manifest))


def _training(manifest: Path) -> frozenset[str]:
    table = read_manifest(manifest)
    return table.patients(table.rows("train", {}))


def test_patients_behind_the_features_are_patients_seen(manifest: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "c" / "model.pt", "classifier", Classifier(1, "small_cnn"), {"patients_seen": ["elsewhere"]})
    model = train(manifest, tmp_path / "out", feature_network=str(tmp_path / "c"), feature_weight=1.0)
    assert model.about["patients_seen"] == sorted(_training(manifest) | {"elsewhere"})
    assert model.about["weights"] == [1.0, 1.0, 0.0]
    assert len(model.about["feature_network"]) == 64


def test_features_change_what_is_learnt(manifest: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "c" / "model.pt", "classifier", Classifier(1, "small_cnn"), {"patients_seen": []})
    plain = train(manifest, tmp_path / "plain").network.state_dict()
    given = {"feature_network": str(tmp_path / "c"), "feature_weight": 1.0}
    compared = train(manifest, tmp_path / "compared", **given).network.state_dict()
    assert any(not torch.equal(plain[name], compared[name]) for name in plain)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"corruption": "pinknoise"}, "corruption: unknown corruption; found 'pinknoise'; did you mean 'pink_noise'"),
        ({"corruption": "colour_removal"}, "corruption 'colour_removal': needs colour images"),
        ({"corruption_strength": -1.0}, r"corruption_strength: must be in \[0, 1\]; found -1.0"),
        ({"layers": 9}, r"EncoderDecoder\(layers\): must be a whole number from 1 to 8; found 9"),
        ({"layers": 6}, r"images: must be \[N, 1, H, W\], H and W multiples of 64"),
        ({"skips": 7}, r"EncoderDecoder\(skips\): must be a whole number from 0 to 2; found 7"),
        ({"upsampling": "cubic"}, r"EncoderDecoder\(upsampling\): must be nearest or bilinear or transposed"),
        ({"feature_weight": 1.0}, "feature_weight: needs a network to take features from"),
        ({"feature_network": "nowhere.pt"}, "nowhere.pt: must be a model file"),
        ({"pixel_weight": -1.0}, "pixel_weight: must be at least 0 and finite"),
        ({"adversarial_weight": -1.0}, "adversarial_weight: must be at least 0 and finite"),
        ({"steps": 7}, r"steps: must be a multiple of epoch_length \(4\); found 7"),
        ({"learning_rate": -1.0}, "torch.optim.Adam: refuses an argument; found Invalid learning rate: -1.0"),
        ({"batch_size": 1000}, "batch_size: must be between 1 and the number of training images"),
        ({"corrupt_strength": 0.1}, "unknown key; found 'corrupt_strength'; did you mean 'corruption_strength'"),
        ({"split": "trian"}, "split"),
    ],
)
def test_nonsense_is_refused_in_one_line(settings: dict[str, Any], line: str, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrAugError, match=line) as caught:
        train(manifest, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "model.pt").exists()


def test_small_images_and_the_whole_catalogue_do_not_go_together(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrAugError, match="images to distort: must have 64 px at least"):
        train(manifest, tmp_path, ("conditional_gan",), skips=2)

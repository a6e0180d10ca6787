"""Pooled features: those below the last layer, whatever the batch; images handled as in the classifier's training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError, InputError, LeakageError, StateError
from monai_cxraug.networks.classifiers import ARCHITECTURES, Classifier
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.synthesis.features import ClassifierFeatures, Pretrained

IMAGES = np.random.default_rng(0).random((5, 32, 32), dtype=np.float32)


def test_the_last_layer_makes_the_logits_of_them(make_classifier) -> None:
    model = load_model(make_classifier([]))
    features = ClassifierFeatures(model.path)(IMAGES)
    assert features.shape == (5, 1024)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    last = model.network.body.class_layers.out
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(IMAGES)[:, None])
        torch.testing.assert_close(last(torch.from_numpy(features)), expected, rtol=1e-4, atol=1e-5)


def test_the_batch_size_is_irrelevant(make_classifier) -> None:
    folder = make_classifier([])
    whole = ClassifierFeatures(folder)(IMAGES)
    for batch_size in (1, 2):
        np.testing.assert_allclose(
            ClassifierFeatures(folder, batch_size=batch_size)(IMAGES), whole, rtol=1e-4, atol=1e-5
        )


def test_integers_are_the_same_images_and_one_channel_may_be_named(make_classifier) -> None:
    features = ClassifierFeatures(make_classifier([]))
    stored = np.rint(IMAGES * 255).astype(np.uint8)
    np.testing.assert_array_equal(features(stored), features(stored / np.float32(255)))
    np.testing.assert_array_equal(features(stored), features(stored[..., None]))


def test_larger_images_are_averaged_over_areas(make_classifier) -> None:
    features = ClassifierFeatures(make_classifier([]))
    large = np.random.default_rng(1).random((2, 48, 48), dtype=np.float32)
    small = np.stack([resize_area(image, 32, 32) for image in large])
    np.testing.assert_array_equal(features(large), features(small))


def test_colour_goes_channel_by_channel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "model.pt", "classifier", Classifier(1, channels=3), {"size": 32, "patients_seen": []})
    features = ClassifierFeatures(tmp_path)
    images = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32)
    small = images.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(features(images), features(small), atol=1e-5)
    assert np.abs(features(small) - features(small[..., ::-1].copy())).max() > 1e-3
    with pytest.raises(InputError, match="with 3 channels"):
        features(IMAGES)


def test_its_name_and_patients(make_classifier) -> None:
    features = ClassifierFeatures(make_classifier(["P1", "P2"]))
    assert features.name.startswith("densenet121 at 32 px, model ")
    features.refuse_seen(frozenset({"P3"}))
    with pytest.raises(LeakageError, match=r"found 1 of them, for example 'P2'; train it on"):
        features.refuse_seen(frozenset({"P2", "P3"}))


@pytest.mark.parametrize(
    ("images", "kind"), [(IMAGES[:, :16, :16], ConfigError), (IMAGES[:, :, :16], InputError), (IMAGES[:0], InputError)]
)
def test_images_that_do_not_fit_are_refused(make_classifier, images: np.ndarray, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ClassifierFeatures(make_classifier([]))(images)


def test_what_has_no_features(make_generator, make_classifier, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(StateError, match="must be a classifier; found pggan"):
        ClassifierFeatures(make_generator([]))
    with pytest.raises(ConfigError, match="batch_size"):
        ClassifierFeatures(make_classifier([]), batch_size=0)
    save_model(tmp_path / "bare" / "model.pt", "classifier", Classifier(1), {"size": 32})
    with pytest.raises(StateError, match="no patients_seen"):
        ClassifierFeatures(tmp_path / "bare")
    monkeypatch.setitem(ARCHITECTURES, "flat", lambda channels, outputs, dropout: nn.Conv2d(channels, outputs, 32))
    about = {"size": 32, "patients_seen": []}
    save_model(tmp_path / "flat" / "model.pt", "classifier", Classifier(1, "flat"), about)
    with pytest.raises(StateError, match="global average pooling"):
        ClassifierFeatures(tmp_path / "flat")


def test_another_packages_network_is_read_from_its_file_and_named(make_classifier, tmp_path: Path) -> None:
    model = load_model(make_classifier([]))
    torch.save(model.network.body.state_dict(), tmp_path / "theirs.pt")
    pretrained = Pretrained(tmp_path / "theirs.pt", "monai", size=32, patients_seen=("P1",))
    features = ClassifierFeatures(pretrained)
    np.testing.assert_array_equal(features(IMAGES), ClassifierFeatures(model.path)(IMAGES))
    assert features.name == f"monai densenet121 at 32 px, model {file_hash(tmp_path / 'theirs.pt')[:12]}"
    with pytest.raises(LeakageError, match="'P1'"):
        features.refuse_seen(frozenset({"P1"}))
    with pytest.raises(StateError, match="all weights of resnet50"):
        ClassifierFeatures(Pretrained(tmp_path / "theirs.pt", "monai", "resnet50"))

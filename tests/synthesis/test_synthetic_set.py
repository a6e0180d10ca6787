"""The synthetic set: repeatable, labelled with what was intended and no more, and open about its origin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LabelError, LeakageError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.latents import sample_latent
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.synthesis.synthetic_set import SyntheticSet, sample_images

PRODUCTS = {"manifest.csv", "manifest.json", "pack.npy", "pack.json", "provenance.json", "contact_sheet.png"}


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Four patients, two images each: two in train, one in val, one in test."""
    patients, splits = [f"P{k // 2}" for k in range(8)], ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    rows = [{"image": f"{k}.png", "patient_id": patients[k], "split": splits[k], "source": "real"} for k in range(8)]
    write_pack(tmp_path / "real", np.zeros((8, 16, 16), dtype=np.uint8), [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema", "Mass"), np.ones((8, 2), dtype=np.float32)).write(tmp_path / "real")


def sample(generator: Path, out: Path, n: int = 7, seed: int = 3, **settings: object) -> Path:
    return SyntheticSet(generator, settings.pop("finding", "Edema"), n, seed, out, **settings).run()  # type: ignore


def test_everything_is_written(make_generator, tmp_path: Path) -> None:
    generator = make_generator(["P0", "P1"])
    calls: list[tuple[int, int]] = []
    path = sample(generator, tmp_path / "out", progress=lambda *done: calls.append(done))
    assert {file.name for file in path.parent.iterdir()} == PRODUCTS
    assert calls == [(7, 7)]
    manifest = read_manifest(path)
    assert manifest.findings == ("Mass", "Edema", "Fibrosis")
    assert_array_equal(manifest.labels, [[np.nan, 1, np.nan]] * 7)
    assert set(manifest["source"]) == {"synthetic"}
    assert set(manifest["split"]) == {"train"}
    assert manifest.patients() == frozenset()
    images = sample_images(load_model(generator), 7, 3)
    packed = Pack(path.parent, manifest)
    for row in range(7):
        assert_allclose(packed.image(row), images[row], atol=0.51 / 255)


def test_provenance(make_generator, tmp_path: Path) -> None:
    generator = make_generator(["P0", "P1"])
    path = sample(generator, tmp_path / "out")
    document = json.loads((path.parent / "provenance.json").read_text())
    sha = file_hash(generator / "model.pt")
    assert document["schema"] == "cxraug.synthetic/1"
    assert document["generator"] == {"sha256": sha, "kind": "pggan", "settings": load_model(generator).settings}
    assert document["training_manifest"] == "0" * 64
    assert document["patients_seen"] == ["P0", "P1"]
    assert (document["seed"], document["finding"], document["n"], document["images_seen"]) == (3, "Edema", 7, 640)
    assert (document["filters"], document["acceptance_rate"], document["memorisation_audit"]) == ([], 1.0, None)
    assert json.loads((path.parent / "manifest.json").read_text())["inputs"] == {"generator": sha}


def test_the_seed_decides(make_generator, tmp_path: Path) -> None:
    generator = make_generator([])
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        sample(generator, tmp_path / name, seed=seed)
    for name in PRODUCTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "pack.npy").read_bytes() != (tmp_path / "three" / "pack.npy").read_bytes()
    assert len({image.tobytes() for image in np.load(tmp_path / "one" / "pack.npy")}) == 7


def test_images_are_the_generators_and_the_batch_size_is_irrelevant(make_generator) -> None:
    model = load_model(make_generator([]))
    latents = sample_latent(9, 8, torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected = model.network(latents).clamp(0, 1)[:, 0].numpy()
    for batch_size in (1, 4, 9, 64):
        images = sample_images(model, 9, 5, batch_size)
        assert images.dtype == np.float32
        assert_allclose(images, expected, atol=1e-5)
    assert_allclose(sample_images(model, 4, 5), expected[:4], atol=1e-5)  # more images, the same first ones


def test_images_stay_in_range(make_generator, tmp_path: Path) -> None:
    model = load_model(make_generator([]))
    with torch.no_grad():
        model.network.to_image[-1].bias += 3
    assert sample_images(model, 5, 0).max() == 1
    with torch.no_grad():
        model.network.to_image[-1].bias -= 9
    assert sample_images(model, 5, 0).min() == 0


def test_the_contact_sheet(make_generator, tmp_path: Path) -> None:
    path = sample(make_generator([]), tmp_path / "out", n=13)
    sheet, pack = np.asarray(Image.open(path.parent / "contact_sheet.png")), np.load(path.parent / "pack.npy")
    assert sheet.shape == (2 * 96, 10 * 96)
    for row in range(13):
        top, left = row // 10 * 96, row % 10 * 96
        assert_array_equal(sheet[top : top + 96 : 6, left : left + 96 : 6], pack[row])


def test_a_generator_that_saw_an_evaluation_patient_is_refused(make_generator, real: Path, tmp_path: Path) -> None:
    sample(make_generator(["P0", "P1", "Z"]), tmp_path / "good", manifest=real)
    for stranger in ("P2", "P3"):
        generator = make_generator(["P0", stranger], name=f"saw {stranger}")
        with pytest.raises(LeakageError, match=rf"model\.pt: a generator may only have seen training.*'{stranger}'"):
            sample(generator, tmp_path / "bad", manifest=real)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"finding": "Edma"}, LabelError, ("--finding", "'Edma'", "did you mean 'Edema'?")),
        ({"finding": "Mass"}, LabelError, ("'Mass'", "Edema")),
        ({"finding": None}, LabelError, ("'None'",)),
        ({"n": 0}, ConfigError, ("n:", "0", "--n")),
        ({"n": 2.5}, ConfigError, ("n:", "2.5")),
        ({"n": "7"}, ConfigError, ("n:", "'7'")),
        ({"n": True}, ConfigError, ("n:", "True")),
    ],
)
def test_what_cannot_be_sampled(make_generator, tmp_path: Path, settings, kind, words) -> None:
    with pytest.raises(CxrAugError) as caught:
        sample(make_generator([]), tmp_path / "out", **settings)
    assert type(caught.value) is kind
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "out").exists()


def test_what_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: must be a model file"):
        sample(tmp_path / "none", tmp_path / "out")
    save_model(tmp_path / "model.pt", "classifier", Classifier(1), {})
    with pytest.raises(StateError, match="must be a pggan; found classifier"):
        sample(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_set_cannot_be_mixed_in(make_generator, real: Path, tmp_path: Path, monkeypatch) -> None:
    out = sample(make_generator(["P0"]), tmp_path / "out").parent

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    other = make_generator(["P0", "P2"], name="other", seed=1)
    monkeypatch.setattr("monai_cxraug.synthesis.synthetic_set.write_json", stop)  # the pack is new, the rest is old
    with pytest.raises(KeyboardInterrupt):
        sample(other, out)
    with pytest.raises(InputError, match=r"provenance\.json: file must exist"):
        MixedDataset(real, findings=["Edema"], size=16, synthetic=[out])


def test_it_can_be_mixed_in(make_generator, real: Path, tmp_path: Path) -> None:
    out = sample(make_generator(["P0"]), tmp_path / "out", n=3).parent
    dataset = MixedDataset(real, findings=["Edema", "Mass"], synthetic=[out])
    assert_array_equal([dataset[k]["label"] for k in range(4, 7)], [[1, np.nan]] * 3)
    assert dataset.composition()["Edema"] == {"real": 4, "duplicate": 0, "synthetic": 3}

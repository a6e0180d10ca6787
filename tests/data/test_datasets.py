"""Samples of a pack: what the dictionary holds, and that a draw alone decides what a sample looks like."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from monai.transforms import Compose, RandAffined, RandGaussianNoised, ScaleIntensityd
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.samplers import Draw, SeededBatches
from monai_cxraug.data.splits import choose_fraction
from monai_cxraug.errors import ConfigError, InputError, LabelError
from monai_cxraug.transforms.functional.contrast import CONTRASTS


def augment() -> Compose:
    return Compose(
        [
            RandAffined("image", prob=1, rotate_range=1.0, translate_range=2),
            RandGaussianNoised("image", prob=1, std=0.2),
        ]
    )


def test_the_sample_dictionary(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path)
    manifest, stored = read_manifest(path), np.load(tmp_path / "pack.npy")
    dataset = PackDataset(path, "val")
    assert dataset.findings == ("Edema", "Fibrosis", "Mass")
    assert len(dataset) == 4
    for position, row in enumerate(range(8, 12)):
        sample = dataset[position]
        assert set(sample) == {"image", "label", "name", "patient_id", "source"}
        assert sample["image"].shape == (1, 8, 8)
        assert sample["image"].dtype == sample["label"].dtype == torch.float32
        assert_allclose(sample["image"][0], stored[row] / 255, atol=1e-7)
        assert_array_equal(sample["label"], manifest.labels[row])
        assert (sample["name"], sample["patient_id"], sample["source"]) == (
            f"P{row:03d}.png",
            f"P{row // 2:03d}",
            "real",
        )


def test_samples_in_colour_have_their_channels_first(tmp_path: Path, make_colour_set) -> None:
    path = make_colour_set(tmp_path)
    dataset, stored = PackDataset(path, "val"), np.load(tmp_path / "pack.npy")
    assert dataset.real.channels == 3
    for position, row in enumerate(range(8, 12)):
        image = dataset[position]["image"]
        assert image.shape == (3, 8, 8)
        assert image.is_contiguous()
        for channel in range(3):
            assert_allclose(image[channel], stored[row, :, :, channel] / 255, atol=1e-7)
    small = PackDataset(path, "val", size=4)[0]["image"]
    assert_allclose(small[1], stored[8, :, :, 1].reshape(4, 2, 4, 2).mean((1, 3)) / 255, atol=1e-6)


def test_a_model_s_channels_are_required_of_the_images(tmp_path: Path, make_set, make_colour_set, refuses) -> None:
    grey, colour = make_set(tmp_path / "grey"), make_colour_set(tmp_path / "colour")
    assert PackDataset(grey, channels=1).real.channels == 1
    assert PackDataset(colour, channels=3).real.channels == 3
    for path, channels in ((grey, 3), (colour, 1)):
        with refuses(ConfigError, path.parent, "channel", "--colour"):
            PackDataset(path, channels=channels)


def test_contrast_of_colour_changes_the_luma_and_leaves_the_differences(tmp_path: Path, make_colour_set) -> None:
    path = make_colour_set(tmp_path, side=16)
    plain, stretched = PackDataset(path)[0]["image"].double(), PackDataset(path, contrast="stretch")[0]["image"]
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    luma = torch.einsum("chw,c->hw", plain, weights)
    low, high = np.percentile(luma.numpy(), [0.5, 99.5])
    moved = plain + (((luma - low) / (high - low)).clamp(0, 1) - luma)
    assert_allclose(stretched, moved.clamp(0, 1), atol=1e-5)
    assert stretched.dtype == torch.float32


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_grey_picture_in_three_channels_gets_the_contrast_of_one(tmp_path: Path, make_set, contrast: str) -> None:
    path = make_set(tmp_path, side=32)
    one = PackDataset(path, contrast=contrast)[2]["image"]
    stored = np.load(tmp_path / "pack.npy")
    write_pack(tmp_path, np.stack([stored] * 3, axis=3), list(read_manifest(path)["image"]))
    assert_allclose(PackDataset(path, contrast=contrast)[2]["image"], one.expand(3, -1, -1), atol=2e-6)


def test_the_order_of_findings_and_the_size_are_chosen(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path)
    sample = PackDataset(path, findings=["Mass", "Edema"], size=4)[0]
    assert_array_equal(sample["label"], [np.nan, 1])
    assert_allclose(
        sample["image"][0], np.load(tmp_path / "pack.npy")[0].reshape(4, 2, 4, 2).mean((1, 3)) / 255, atol=1e-6
    )


def test_rows_are_chosen_by_split_column_finding_and_fraction(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path, n=40, resample=["area", "linear"] * 20)
    names = lambda dataset: [dataset[k]["name"] for k in range(len(dataset))]  # noqa: E731
    assert names(PackDataset(path, "train", {"resample": "linear"})) == [f"P{k:03d}.png" for k in range(1, 20, 2)]
    assert names(PackDataset(path, "train", having="Edema")) == [f"P{k:03d}.png" for k in range(0, 20, 3)]
    part = PackDataset(path, "train", fraction=0.4, fraction_seed=7)
    chosen = choose_fraction([f"P{k:03d}" for k in range(10)], 0.4, 7)
    assert {part[k]["patient_id"] for k in range(len(part))} == chosen == part.real.patients()
    assert len(part) == 8
    # a generator of one finding uses the patients of the whole fraction
    rare = PackDataset(path, "train", having="Edema", fraction=0.4, fraction_seed=7)
    assert rare.real.patients() <= chosen


def test_a_transform_cannot_change_the_pack(tmp_path: Path, make_set) -> None:
    dataset = PackDataset(make_set(tmp_path))
    before = dataset[0]
    expected = {key: before[key].clone() for key in ("image", "label")}
    before["image"] += 1
    before["label"] += 1
    for key, value in expected.items():
        assert_array_equal(dataset[0][key], value)


def batches_of(path: Path, workers: int, skip: int = 0) -> list[dict[str, object]]:
    dataset = PackDataset(path, "train", transform=augment(), seed=3)
    sampler = SeededBatches(len(dataset), 3, seed=5, steps=4)
    sampler.skip = skip
    return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))


def test_workers_and_resuming_change_no_sample(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path)
    whole = batches_of(path, 0)
    assert len(whole) == 4
    for other in (batches_of(path, 2), batches_of(path, 0, skip=2)):
        for one, two in zip(reversed(whole), reversed(other), strict=False):
            assert one["name"] == two["name"]
            assert_array_equal(one["image"], two["image"])
    assert batches_of(path, 0, skip=2)[0]["name"] == whole[2]["name"]


def test_a_draw_fixes_the_augmentation(tmp_path: Path, make_set) -> None:
    dataset = PackDataset(make_set(tmp_path), "train", transform=augment(), seed=3)
    first = dataset[Draw(2, 17)]["image"]
    assert_array_equal(dataset[Draw(2, 17)]["image"], first)
    assert np.abs(dataset[Draw(2, 18)]["image"] - first).max() > 0.01
    other = PackDataset(tmp_path / "manifest.csv", "train", transform=augment(), seed=4)
    assert np.abs(other[Draw(2, 17)]["image"] - first).max() > 0.01


def test_a_plain_transform_is_applied(tmp_path: Path, make_set) -> None:
    dataset = PackDataset(make_set(tmp_path), transform=ScaleIntensityd("image", minv=0, maxv=7))
    assert float(dataset[0]["image"].max()) == pytest.approx(7)


def test_it_is_a_monai_data_set(tmp_path: Path, make_set) -> None:
    dataset = PackDataset(make_set(tmp_path), "val")
    assert [sample["name"] for sample in dataset[1:3]] == ["P009.png", "P010.png"]
    assert [sample["name"] for sample in dataset[[3, 0]]] == ["P011.png", "P008.png"]
    assert len(list(dataset)) == 4


def test_target_in_a_configuration(tmp_path: Path, make_set) -> None:
    config = {
        "dataset": {
            "_target_": "monai_cxraug.data.datasets.PackDataset",
            "manifest": str(make_set(tmp_path)),
            "split": "train",
            "transform": {"_target_": "RandAffined", "keys": "image", "prob": 1.0, "rotate_range": 1.0},
        }
    }
    dataset = ConfigParser(config).get_parsed_content("dataset")
    assert isinstance(dataset, PackDataset)
    assert dataset[Draw(1, 4)]["image"].shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"split": "vall"}, ConfigError, ("'vall'", "did you mean 'val'?")),
        ({"findings": ["Oedema"]}, LabelError, ("'Oedema'", "did you mean 'Edema'?")),
        ({"having": "Mas"}, LabelError, ("'Mas'", "did you mean 'Mass'?")),
        ({"having": "Mass"}, InputError, ("manifest.csv", "positive for 'Mass'")),
        ({"size": 16}, ConfigError, ("pack.npy", "16 px")),
        ({"fraction": 0}, ConfigError, ("fraction",)),
    ],
)
def test_what_a_data_set_refuses(tmp_path: Path, make_set, refuses, settings, kind, words) -> None:
    path = make_set(tmp_path)
    with refuses(kind, *words):
        PackDataset(path, **settings)


def test_every_training_image_is_drawn_once_a_pass(tmp_path: Path, make_set) -> None:
    dataset = PackDataset(make_set(tmp_path), "train")
    loader = DataLoader(dataset, batch_sampler=SeededBatches(len(dataset), 4, seed=1, steps=2))
    names = list(itertools.chain(*(batch["name"] for batch in loader)))
    assert sorted(names) == [f"P{k:03d}.png" for k in range(8)]


def test_images_that_come_again_get_a_transform_of_their_own(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path)
    plain = PackDataset(path, "train", transform=augment(), seed=3)
    twice = PackDataset(
        path, "train", transform=augment(), seed=3, repeat_transform=RandAffined("image", prob=1.0, rotate_range=1.0)
    )
    first = Draw(2, 40)
    assert torch.equal(twice[first]["image"], plain[first]["image"])
    again = Draw(2, 40, again=True)
    assert not torch.equal(twice[again]["image"], plain[again]["image"])
    assert torch.equal(twice[again]["image"], twice[again]["image"])
    assert not torch.equal(twice[Draw(2, 41, again=True)]["image"], twice[again]["image"])
    assert torch.equal(plain[again]["image"], plain[first]["image"])
    bare = PackDataset(path, "train", repeat_transform=ScaleIntensityd("image", 0.0, 0.5))
    assert bare[again]["image"].max() <= 0.5 < bare[first]["image"].max()


def test_contrast_is_changed_before_anything_else(tmp_path: Path, make_set) -> None:
    path = make_set(tmp_path)
    plain = PackDataset(path, "train")
    for name in ("stretch", "equalise"):
        change = CONTRASTS[name]
        changed = PackDataset(path, "train", contrast=name, transform=ScaleIntensityd("image", 0.0, 0.5))
        expected = change(plain[1]["image"])
        assert_allclose(changed[1]["image"], ScaleIntensityd("image", 0.0, 0.5)({"image": expected})["image"])
    with pytest.raises(ConfigError, match=r"contrast: .*'equalize'; did you mean 'equalise'\?"):
        PackDataset(path, "train", contrast="equalize")

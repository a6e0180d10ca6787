"""The builder of studies: what is balanced, known, repeated and locked, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LeakageError, StateError
from monai_cxraug.study import build
from monai_cxraug.study.build import BuildStudy
from monai_cxraug.study.files import CHOICES, Study, Trial
from monai_cxraug.study.patches import name_strata
from monai_cxraug.transforms.functional.distortions.catalogue import apply_steps, parse_steps

SIZE, SHOWN, COUNT = 80, 40, 40
FINDINGS = ("Edema", "Hernia")


def write_images(folder: Path, count: int = COUNT, source: str = "real", finding: str = "") -> Path:
    """Images of half as many patients: PA and AP in turn, every fourth with Edema, every twentieth with Hernia."""
    rng = np.random.default_rng(len(source))
    coarse = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(one).resize((SIZE, SIZE))) for one in coarse])
    rows = [
        {"image": f"{source}{k}.png", "patient_id": f"p{k // 2}" if source == "real" else "", "source": source}
        | {"view": ("PA", "AP")[k % 2], "split": "train" if k < count // 2 or source != "real" else "val"}
        for k in range(count)
    ]
    labels = np.stack([np.arange(count) % 4 == 0, np.arange(count) % 20 == 0], axis=1).astype(np.float32)
    if finding:
        labels[:] = np.nan
        labels[:, FINDINGS.index(finding)] = 1
    write_pack(folder, images, [row["image"] for row in rows])
    return Manifest(make_columns(rows), FINDINGS, labels, {"name": source}).write(folder, {})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("synthetic"), 24, "synthetic", "Edema")


class Inverter:
    """Stands for a trained network: darkens by a tenth for each of its number."""

    def __init__(self, number: int) -> None:
        self.name, self.hash, self.number = f"{number}-abcdef01", f"{number}" * 64, number
        self.patients_seen = frozenset(f"p{k}" for k in range(5))

    def __call__(self, pictures: Tensor, seed: int) -> Tensor:
        return pictures * (0.9 - self.number / 10)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(build, "load_distorters", lambda folder: [Inverter(0), Inverter(1)])
    return "networks"


def built(images: Path, out: Path, **settings: Any) -> Study:
    BuildStudy(images, out, **{"size": SHOWN, "choices": 24, "pairs": 16, **settings}).run()
    return Study.load(out)


def picture(study: Study, name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(study.image(name)))


def of(study: Study, **wanted: str) -> list[Trial]:
    return [one for one in study.trials if all(getattr(one, key) == value for key, value in wanted.items())]


def other_way_round(trial: Trial) -> tuple[str, ...]:
    return trial.reference, trial.second, trial.first, trial.distortion_second, trial.distortion_first


# --- what is asked ---


def test_tasks_have_the_trials_asked_for(images: Path, synthetic: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, pictures=20, synthetic=synthetic, training=3)
    found = Counter((trial.task, trial.role) for trial in study.trials)
    assert found == {
        **{("2afc", "judged"): 24, ("2afc", "repeat"): 2, ("2afc", "sentinel"): 2, ("2afc", "training"): 3},
        **{("jnd", "judged"): 16, ("jnd", "repeat"): 2, ("jnd", "sentinel"): 2, ("jnd", "training"): 3},
        **{("turing", "judged"): 20, ("turing", "repeat"): 2, ("turing", "training"): 3},
    }
    assert study.info["counts"]["task"] == {"2afc": 31, "jnd": 23, "turing": 25}
    assert all(trial.expected in (*CHOICES[trial.task], "") for trial in study.trials)
    judged = [trial for trial in study.trials if trial.role in ("judged", "repeat") and trial.task != "turing"]
    assert {trial.expected for trial in judged} == {""}
    assert all(trial.expected for trial in study.trials if trial.role in ("training", "sentinel"))


def test_families_and_sides_are_balanced(images: Path, networks: str, tmp_path: Path) -> None:
    study = built(images, tmp_path, choices=30, pairs=20, networks=networks, sentinels=0.4)
    choices = Counter(trial.family for trial in of(study, task="2afc", role="judged"))
    assert choices == {"traditional": 10, "cnn": 10, "mixed": 10}
    on_the_left = [trial.distortion_first.startswith("network") for trial in of(study, family="mixed", role="judged")]
    assert sum(on_the_left) == 5
    for family in ("traditional", "cnn"):
        first = [trial.distortion_first == "" for trial in of(study, task="jnd", role="judged", family=family)]
        assert (len(first), sum(first)) == (10, 5)
    right = Counter(trial.expected for trial in of(study, task="2afc", role="sentinel"))
    assert right == {"left": 6, "right": 6}
    equal = Counter(trial.expected for trial in of(study, task="jnd", role="sentinel"))
    assert equal == {"same": 4, "different": 4}


def test_both_networks_are_used_alike_and_their_patients_left_out(images: Path, networks: str, tmp_path: Path) -> None:
    study = built(images, tmp_path, choices=30, pairs=20, networks=networks)
    texts = [text for one in study.trials for text in (one.distortion_first, one.distortion_second)]
    used = Counter(text.split()[1] for text in texts if text.startswith("network") and text)
    assert used.keys() == {"0-abcdef01", "1-abcdef01"}
    judged = [one for one in study.trials if one.role == "judged"]
    texts = [text for one in judged for text in (one.distortion_first, one.distortion_second)]
    counts = Counter(text.split()[1] for text in texts if text.startswith("network"))
    assert abs(counts["0-abcdef01"] - counts["1-abcdef01"]) <= 1
    assert not {one.patient_id for one in study.trials} & {f"p{k}" for k in range(5)}


def test_pictures_are_what_their_texts_say(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path)
    for trial in of(study, task="2afc", family="traditional"):
        reference = torch.from_numpy(picture(study, trial.reference).copy()).float() / 255
        sides = ((trial.first, trial.distortion_first), (trial.second, trial.distortion_second))
        for name, text in sides:
            made = apply_steps(reference, parse_steps(text)).numpy()
            # the study distorts before it rounds to 8 bits, as the reference here was rounded
            assert np.abs(made * 255 - picture(study, name)).mean() < 2.5, text


def test_patch_is_a_part_of_its_image(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path)
    pack = np.load(images.with_name("pack.npy"))
    names = [f"real{k}.png" for k in range(COUNT)]
    places = set()
    for trial in of(study, task="2afc"):
        part = pack[names.index(trial.source)][trial.top : trial.top + SHOWN, trial.left : trial.left + SHOWN]
        assert (part == picture(study, trial.reference)).all()
        places.add((trial.left, trial.top))
    assert len(places) > 10


def test_whole_images_are_averaged(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, whole=True)
    pack = np.load(images.with_name("pack.npy")).astype(float)
    for trial in of(study, task="2afc")[:5]:
        image = pack[int(trial.source.removeprefix("real").removesuffix(".png"))]
        averaged = image.reshape(SHOWN, 2, SHOWN, 2).mean(axis=(1, 3))
        assert np.abs(averaged - picture(study, trial.reference)).max() <= 0.51


def test_images_that_are_compared_differ_and_sentinels_are_beyond_doubt(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, sentinels=0.5)
    for trial in study.trials:
        shown = [picture(study, name) for name in trial.shown]
        if trial.expected == "same":
            assert (shown[0] == shown[1]).all()
            assert trial.first != trial.second  # equal names would tell
        else:
            assert not (shown[-1] == shown[-2]).all()
    for trial in of(study, task="2afc", role="sentinel"):
        right = picture(study, trial.first if trial.expected == "left" else trial.second).astype(float)
        wrong = picture(study, trial.second if trial.expected == "left" else trial.first).astype(float)
        reference = picture(study, trial.reference).astype(float)
        assert np.abs(right - reference).mean() < np.abs(wrong - reference).mean()
        assert (wrong == 255 - reference).all()


def test_repeats_show_the_same_the_other_way_round(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, repeats=0.5)
    by_name = {trial.trial: trial for trial in study.trials}
    repeats = of(study, role="repeat")
    assert len(repeats) == 12 + 8
    for repeat in repeats:
        original = by_name[repeat.repeat_of]
        assert original.role == "judged"
        turned = (original.reference, original.first, original.second)
        assert (repeat.reference, repeat.second, repeat.first) == turned
        assert other_way_round(repeat)[3:] == (original.distortion_first, original.distortion_second)
    assert len({repeat.repeat_of for repeat in repeats}) == len(repeats)


def test_strata_take_turns_and_patients_come_before_second_images(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, choices=20, pairs=0, repeats=0, sentinels=0, training=0)
    strata = Counter((trial.finding, trial.view) for trial in study.trials)
    # the fixture has images of Edema and Hernia in PA only, and none with neither in both views
    assert strata == {("Edema", "PA"): 5, ("Hernia", "PA"): 5, ("none", "PA"): 5, ("none", "AP"): 5}
    healthy = [trial.patient_id for trial in study.trials if trial.finding == "none" and trial.view == "AP"]
    assert len(set(healthy)) == 5


def test_strata_are_named_by_the_rarest_finding() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [1, np.nan], [np.nan, 1]], dtype=np.float32)
    assert name_strata(labels, ("Common", "Rare")) == ["Common", "Rare", "none", "Common", "Rare"]


def test_real_images_share_the_findings_of_synthetic_ones(images: Path, synthetic: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, choices=0, pairs=0, pictures=12, synthetic=synthetic)
    shown = of(study, task="turing", role="judged")
    assert Counter(trial.expected for trial in shown) == {"real": 6, "synthetic": 6}
    real = [int(trial.source.removeprefix("real").removesuffix(".png")) for trial in shown if trial.expected == "real"]
    assert all(number % 4 == 0 for number in real)
    assert all(trial.source.startswith("synthetic") for trial in shown if trial.expected == "synthetic")


def test_names_tell_nothing(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path, choices=60, pairs=60, repeats=0.3)
    by_name = sorted(study.trials, key=lambda trial: trial.trial)
    for key in ("task", "role"):  # runs of equal values are no longer than chance makes them
        kinds = [getattr(trial, key) for trial in by_name]
        changes = sum(one != other for one, other in pairwise(kinds))
        shares = [count / len(kinds) for count in Counter(kinds).values()]
        expected = len(kinds) * (1 - sum(share**2 for share in shares))
        assert changes > 0.7 * expected
    assert not {name for trial in study.trials for name in trial.shown} & {"", "reference", "first"}
    assert "exif" not in study.image(by_name[0].first).read_bytes().decode("latin-1").lower()


# --- same seed, same study ---


def test_same_seed_same_study(images: Path, networks: str, tmp_path: Path) -> None:
    one = built(images, tmp_path / "one", networks=networks)
    two = built(images, tmp_path / "two", networks=networks)
    assert one.trials == two.trials
    assert one.identity == two.identity
    assert built(images, tmp_path / "other", networks=networks, seed=1).trials != one.trials


def test_pictures_in_colour_are_refused(images: Path, synthetic: Path, tmp_path: Path) -> None:
    def colour(path: Path, name: str) -> Path:
        folder = Path(shutil.copytree(path.parent, tmp_path / name))
        stored = np.load(folder / "pack.npy")
        write_pack(folder, np.stack([stored] * 3, axis=3), list(read_manifest(folder)["image"]))
        return folder / "manifest.csv"

    with pytest.raises(ConfigError, match=r"must have 1 channel .*without --colour"):
        built(colour(images, "real"), tmp_path)
    with pytest.raises(ConfigError, match=r"must have 1 channel"):
        built(images, tmp_path, pictures=12, synthetic=colour(synthetic, "made"))


def test_one_task_does_not_depend_on_another(images: Path, synthetic: Path, tmp_path: Path) -> None:
    def judged(study: Study) -> set[Any]:
        blank = [replace(trial, trial="", first="", second="", reference="") for trial in of(study, role="judged")]
        return {trial for trial in blank if trial.task == "turing"}

    alone = built(images, tmp_path / "a", choices=0, pairs=0, pictures=12, synthetic=synthetic)
    beside = built(images, tmp_path / "b", pictures=12, synthetic=synthetic)
    assert {trial.source for trial in judged(alone)} == {trial.source for trial in judged(beside)}


def test_built_study_is_kept_and_not_changed(images: Path, tmp_path: Path) -> None:
    study = built(images, tmp_path)
    before = (tmp_path / "study.json").stat().st_mtime_ns
    built(images, tmp_path)
    assert (tmp_path / "study.json").stat().st_mtime_ns == before
    with pytest.raises(StateError, match=r"not changed once it is built; found other choices, seed"):
        built(images, tmp_path, choices=30, seed=3)
    study.image(study.trials[0].first).write_bytes(b"another")
    with pytest.raises(StateError, match="must be the file that was built"):
        built(images, tmp_path)


def test_killed_before_its_end_it_is_built_anew(images: Path, tmp_path: Path) -> None:
    wanted = built(images, tmp_path / "whole")
    left = tmp_path / "left" / "images"
    left.mkdir(parents=True)
    (left / f"{wanted.trials[0].first}.png").write_bytes(b"half a picture")
    assert built(images, tmp_path / "left").identity == wanted.identity


def test_document_names_settings_and_inputs_but_no_place(images: Path, tmp_path: Path) -> None:
    built(images, tmp_path, per_reader=10)
    text = (tmp_path / "study.json").read_text()
    document = json.loads(text)
    assert str(images.parent) not in text
    assert document["per_reader"] == 10
    assert document["request"]["inputs"].keys() == {"manifest"}
    assert (document["display_ms"], document["gap_ms"]) == (1000, 250)


# --- refusals ---


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"size": 32}, ConfigError, "size: must be a whole number of at least 40; found 32"),
        ({"size": 128}, ConfigError, "images must have at least 128 px; found 80 px"),
        ({"choices": -1}, ConfigError, "choices: must be a whole number"),
        ({"choices": 0, "pairs": 0}, ConfigError, "at least one trial must be asked"),
        ({"repeats": 1.5}, ConfigError, r"repeats: must be a share in \[0, 1\]"),
        ({"pictures": 4}, ConfigError, "pictures: needs synthetic images"),
        ({"per_reader": 0}, ConfigError, "per_reader: must be a whole number of at least 1"),
        ({"seed": True}, ConfigError, "seed: must be a whole number"),
        ({"split": "tset"}, ConfigError, "did you mean 'test'|at least one row"),
        ({"networks": "nowhere"}, InputError, "nowhere"),
    ],
)
def test_refusals_are_one_line(
    images: Path, tmp_path: Path, settings: dict[str, Any], error: type[CxrAugError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        built(images, tmp_path / "study", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "study" / "study.json").exists()


def test_images_that_are_not_real_are_refused(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match=r"shows real images.*found synthetic"):
        built(synthetic, tmp_path)


def test_images_of_no_contrast_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "flat")
    flat = np.zeros((COUNT, SIZE, SIZE), dtype=np.uint8)
    write_pack(images.parent, flat, [f"real{k}.png" for k in range(COUNT)])
    monkeypatch.setattr("monai_cxraug.study.changes.draw_steps", lambda *_: parse_steps("gaussian_blur 1"))
    with pytest.raises(InputError, match="changed images must differ"):
        built(images, tmp_path / "study")

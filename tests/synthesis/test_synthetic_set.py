"""The synthetic set: repeatable, labelled with what was intended and no more, and open about its origin."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LabelError, LeakageError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.synthesis.generators import Generator, Images
from monai_cxraug.synthesis.samples import Samples
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
    drawn = {name: settings.pop(name) for name in ("start", "truncation", "device") if name in settings}
    samples = Samples(generator, settings.pop("finding", "Edema"), n, seed, **drawn)  # type: ignore[arg-type]
    return SyntheticSet(samples, out, **settings).run()  # type: ignore[arg-type]


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
    assert (document["start"], document["truncation"], document["crop"]) == (0, 1.0, None)
    assert (document["filters"], document["acceptance_rate"]) == ([], 1.0)
    assert (document["drawn"], document["accepted"], document["rejected"]) == (7, 7, {})
    assert list(document["memorisation_audit"]) == ["not run"]
    assert "no manifest was given" in document["memorisation_audit"]["not run"]
    assert json.loads((path.parent / "manifest.json").read_text())["inputs"] == {"generator": sha}


def test_the_seed_decides(make_generator, tmp_path: Path) -> None:
    generator = make_generator([])
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        sample(generator, tmp_path / name, seed=seed)
    for name in PRODUCTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "pack.npy").read_bytes() != (tmp_path / "three" / "pack.npy").read_bytes()
    assert len({image.tobytes() for image in np.load(tmp_path / "one" / "pack.npy")}) == 7


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
        ({"seed": -1}, ConfigError, ("seed:", "-1")),
        ({"start": -1}, ConfigError, ("start:", "-1")),
        ({"truncation": 1.5}, ConfigError, ("truncation:", "1.5")),
        ({"depth": 12}, ConfigError, ("depth:", "12", "8 or 16")),
        ({"crop": [17, 16]}, ConfigError, ("crop:", "[17, 16]", "from 1 to 16 and 16", "--crop H W")),
        ({"crop": [0, 16]}, ConfigError, ("crop:", "[0, 16]")),
        ({"crop": [16]}, ConfigError, ("crop:", "[16]")),
        ({"crop": 16}, ConfigError, ("crop:", "16")),
        ({"crop": [8.0, 8]}, ConfigError, ("crop:", "8.0")),
        ({"crop": "ab"}, ConfigError, ("crop:", "ab")),
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
    with pytest.raises(StateError, match=r"must be a pggan .*; found classifier"):
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


# --- options ---


def test_ranges_of_one_seed_make_one_set(make_generator, tmp_path: Path) -> None:
    generator = make_generator([])
    cuts = ((0, 45), (0, 20), (20, 25))
    paths = [sample(generator, tmp_path / f"{start} {n}", n, start=start) for start, n in cuts]
    pictures = [np.load(path.parent / "pack.npy") for path in paths]
    assert_array_equal(np.concatenate(pictures[1:]), pictures[0], strict=True)
    names = [list(read_manifest(path)["image"]) for path in paths]
    assert names[1] + names[2] == names[0]
    assert (names[0][0], names[2][0]) == ("Edema-3-000000", "Edema-3-000020")
    assert json.loads((paths[2].parent / "provenance.json").read_text())["start"] == 20


@pytest.mark.parametrize("depth", [8, 16])
def test_depth(make_generator, tmp_path: Path, depth: int) -> None:
    path = sample(make_generator([]), tmp_path / "out", depth=depth)
    pictures = np.load(path.parent / "pack.npy")
    assert pictures.dtype == f"uint{depth}"
    images = sample_images(load_model(tmp_path / "generator"), 7, 3)
    assert_allclose(pictures, images * (2**depth - 1.0), atol=0.51)
    assert_allclose(Pack(path.parent, read_manifest(path)).image(6), images[6], atol=0.51 / (2**depth - 1))


@pytest.mark.parametrize(("crop", "top", "left"), [((16, 10), 0, 3), ((5, 16), 5, 0), ((7, 3), 4, 6), ((16, 16), 0, 0)])
def test_the_centre_is_kept(make_generator, tmp_path: Path, crop: tuple[int, int], top: int, left: int) -> None:
    generator = make_generator([])
    whole = np.load(sample(generator, tmp_path / "whole", n=20).parent / "pack.npy")
    path = sample(generator, tmp_path / "part", n=20, crop=crop, png=True)
    expected = whole[:, top : top + crop[0], left : left + crop[1]]
    assert_array_equal(np.load(path.parent / "pack.npy"), expected, strict=True)
    assert_array_equal(np.asarray(Image.open(path.parent / "png" / "Edema-3-000019.png")), expected[19])
    assert json.loads((path.parent / "provenance.json").read_text())["crop"] == list(crop)
    scale = 96 // max(crop)
    sheet = np.asarray(Image.open(path.parent / "contact_sheet.png"))[::scale, ::scale]
    assert_array_equal(sheet[crop[0] :, crop[1] * 9 :], expected[19])


@pytest.mark.parametrize("depth", [8, 16])
def test_png_files_are_the_pictures_with_8_bits(make_generator, tmp_path: Path, depth: int) -> None:
    path = sample(make_generator([]), tmp_path / "out", n=21, png=True, depth=depth)
    names = [f"{name}.png" for name in read_manifest(path)["image"]]
    assert sorted(file.name for file in (path.parent / "png").iterdir()) == names
    pack = np.load(path.parent / "pack.npy")
    for row, name in enumerate(names):
        picture = Image.open(path.parent / "png" / name)
        assert picture.mode == "L"
        assert_allclose(np.asarray(picture), pack[row] / (257 if depth == 16 else 1), atol=0.51 if depth == 16 else 0)


def test_the_pictures_of_another_set_go_and_what_is_not_ours_stays(make_generator, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sample(make_generator([]), out, n=4, png=True)
    sample(make_generator([]), out, n=2, png=True)
    assert len(list((out / "png").iterdir())) == 2
    (out / "mine.txt").write_text("mine")
    sample(make_generator([]), out, n=2)
    assert {file.name for file in out.iterdir()} == {*PRODUCTS, "mine.txt"}


def test_a_finding_of_any_name_gives_names_of_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    finding = "Lung Lesion/../Größe: 2"
    about = {"finding": finding, "findings": [finding], "patients_seen": [], "manifest": "0", "images_seen": 1}
    network = ProgressiveGenerator(resolution=8, latent_size=4, fmap_max=2)
    save_model(tmp_path / "model.pt", "pggan", network, about)
    path = sample(tmp_path, tmp_path / "out", n=1, finding=finding, png=True)
    (name,) = read_manifest(path)["image"]
    assert [file.name for file in (tmp_path / "out" / "png").iterdir()] == [f"{name}.png"]
    assert name == "Lung_Lesion_.._Größe_2-3-000000"


class Grey(Generator):
    """Makes grey images without a network."""

    findings, size, channels, chunk = ("Edema",), (64, 64), 1, 16

    fit = classmethod(lambda cls, *given: cls())  # type: ignore[assignment]

    def sample(self, n: int, finding: str, seed: int, start: int = 0) -> NDArray[np.float32]:
        return np.full((n, *self.size), 0.5, dtype=np.float32)

    def labels(self, n: int, finding: str, seed: int, start: int = 0) -> NDArray[np.float32]:
        return np.ones((n, 1), dtype=np.float32)

    def provenance(self) -> dict[str, object]:
        return {"generator": {"sha256": ""}, "patients_seen": []}


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cxraug.synthesis.samples.load_generator", lambda *given: Grey())
    SyntheticSet(Samples("", "Edema", 2, 0), tmp_path).run()  # what is imported once
    tracemalloc.start()
    try:
        SyntheticSet(Samples("", "Edema", 6000, 0), tmp_path).run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stored = (tmp_path / "pack.npy").stat().st_size
    assert stored > 24_000_000
    assert peak < stored / 4


def test_a_multi_label_generator_labels_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = Grey()
    grey.findings = ("Mass", "Edema")  # type: ignore[assignment]
    rows = np.array([[0, 1], [1, 1], [np.nan, 1]], dtype=np.float32)
    grey.labels = lambda n, finding, seed, start=0: rows[:n]  # type: ignore[method-assign]
    monkeypatch.setattr("monai_cxraug.synthesis.samples.load_generator", lambda *given: grey)
    assert_array_equal(read_manifest(sample(Path(), tmp_path, n=3)).labels, rows)


# --- killed and started again ---

KILLED = """
import os, signal, sys
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

def kill(done, n):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

samples = Samples(sys.argv[1], "Edema", 60, int(sys.argv[3]))
SyntheticSet(samples, sys.argv[2], progress=kill, png=True).run()
"""


def kill_at(done: int, generator: Path, out: Path, seed: int) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, generator, out, str(seed), str(done)], timeout=120)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.e2e
def test_a_killed_set_is_no_set_and_goes_on(make_generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, out = make_generator([]), tmp_path / "out"
    kill_at(32, generator, out, 3)
    with pytest.raises(InputError, match="manifest must exist"):
        read_manifest(out)
    assert {file.name for file in out.iterdir() if not file.name.startswith(".")} == set()
    drawn: list[int] = []
    made = Samples.images

    def counted(samples: Samples, first: int, count: int) -> Images:
        drawn.append(first)
        return made(samples, first, count)

    monkeypatch.setattr(Samples, "images", counted)
    sample(generator, out, n=60, png=True)
    assert drawn == [32, 48], "the first 32 were there"
    whole = sample(generator, tmp_path / "whole", n=60, png=True).parent
    assert {file.name for file in out.iterdir()} == {*PRODUCTS, "png"}, "no litter"
    for file in [*PRODUCTS, *(f"png/{file.name}" for file in (whole / "png").iterdir())]:
        assert (out / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.e2e
def test_the_set_that_was_there_stays_whole(make_generator, tmp_path: Path) -> None:
    generator = make_generator([])
    out = sample(generator, tmp_path / "out", n=60, png=True).parent
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    kill_at(60, generator, out, 4)
    assert {file: file.read_bytes() for file in before} == before
    assert len(Pack(out, read_manifest(out)).array) == 60


@pytest.mark.parametrize("call", ["write_info", "write_json", "_write_contact_sheet", "Manifest.write"])
def test_wherever_it_stops_nothing_half_written_is_read(
    make_generator, real: Path, tmp_path: Path, monkeypatch, call: str
) -> None:
    out = sample(make_generator(["P0"]), tmp_path / "out", png=True).parent

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"monai_cxraug.synthesis.synthetic_set.{call}", stop)
        with pytest.raises(KeyboardInterrupt):
            sample(make_generator(["P0"]), out, seed=9, png=True)
    with pytest.raises(CxrAugError):
        MixedDataset(real, findings=["Edema"], size=16, synthetic=[out])
    sample(make_generator(["P0"]), out, seed=9)
    assert {file.name for file in out.iterdir()} == PRODUCTS
    assert len(MixedDataset(real, findings=["Edema"], size=16, synthetic=[out], allow_synthetic_majority=True)) == 11


def test_two_at_once_are_refused(make_generator, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def again(done: int, n: int) -> None:
        with pytest.raises(StateError, match="only one process may write here"):
            sample(tmp_path / "generator", out)

    sample(make_generator([]), out, progress=again)
    assert {file.name for file in out.iterdir()} == PRODUCTS


def test_it_can_be_mixed_in(make_generator, real: Path, tmp_path: Path) -> None:
    out = sample(make_generator(["P0"]), tmp_path / "out", n=3).parent
    dataset = MixedDataset(real, findings=["Edema", "Mass"], synthetic=[out])
    assert_array_equal([dataset[k]["label"] for k in range(4, 7)], [[1, np.nan]] * 3)
    assert {origin: n for origin, n in dataset.composition()["Edema"].items() if n} == {"real": 4, "synthetic": 3}

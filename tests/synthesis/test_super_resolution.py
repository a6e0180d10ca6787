from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_cxraug.artifacts import file_hash, write_json
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.pack import Pack, picture_hash, quantise, to_unit, write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError, StateError
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.weights import save_model
from monai_cxraug.synthesis.resolvers import Resolver
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.super_resolution import EnlargedPictures, EnlargedSet, Given, enlarge
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

FINDINGS = ("Mass", "Edema")
Write = Callable[..., Path]


def write_resolver(
    folder: Path, seen: tuple[str, ...] = ("p0",), channels: int = 1, scale: int = 2, **about: Any
) -> Path:
    torch.manual_seed(0)
    network = EnlargingNetwork(channels, scale, features=4, blocks=1, growth=2, residual=True)
    save_model(folder / "model.pt", "esrgan", network, {"patients_seen": list(seen), "manifest": "1" * 64, **about})
    return folder


def write_set(
    folder: Path, n: int = 5, channels: int = 1, depth: int = 8, seen: tuple[str, ...] = ("g0",), **more: Any
) -> Path:
    """A synthetic set of 12 x 12 px as another tool could have made it."""
    colour = (3,) if channels == 3 else ()
    draws = np.random.default_rng(0)
    pictures = draws.integers(0, 2**depth, (n, 12, 12, *colour)).astype(f"uint{depth}")
    names = [f"made/{k}" for k in range(n)]
    rows = [
        {"image": name, "split": "train", "source": "synthetic", "content": picture_hash(picture)}
        for name, picture in zip(names, pictures, strict=True)
    ]
    labels = np.array([[np.nan, 1.0]] * n, dtype=np.float32)
    write_pack(folder, pictures, names)
    provenance = {"generator": {"sha256": "2" * 64}, "patients_seen": list(seen), "seed": 7, "finding": "Edema", **more}
    write_json(folder / "provenance.json", "cxraug.synthetic/1", provenance)
    Manifest(make_columns(rows), FINDINGS, labels, {"name": "synthetic Edema"}).write(folder)
    return folder


def write_real(folder: Path, held_out: tuple[str, ...] = (), side: int = 24, **info: Any) -> Path:
    """Real training images of p0, g0 and four others; what is held out stands in the test split."""
    people = ["p0", "g0", "a", "b", "c", "d", *held_out]
    rows = [
        {
            "image": f"{k}.png",
            "patient_id": person,
            "split": "test" if person in held_out else "train",
            "source": "real",
        }
        for k, person in enumerate(people)
    ]
    pictures = np.random.default_rng(1).integers(0, 256, (len(rows), side, side), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    labels = np.tile(np.array([0, 1], dtype=np.float32), (len(rows), 1))
    return Manifest(make_columns(rows), FINDINGS, labels, {"name": "real", **info}).write(folder)


def provenance_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return found


def expected(model: Path, pictures: NDArray[Any]) -> NDArray[np.float32]:
    """What the network makes, image by image, without anything of ours between."""
    network = Resolver.load(model).model.network
    planes = torch.from_numpy(to_unit(pictures))
    planes = planes[:, None] if planes.ndim == 3 else planes.permute(0, 3, 1, 2)
    with torch.no_grad():
        made = torch.cat([network(plane[None]) for plane in planes])
    found: NDArray[np.float32] = made.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return found


# --- sets ---


@pytest.mark.parametrize(("channels", "depth", "scale"), [(1, 8, 2), (3, 8, 2), (1, 16, 2), (1, 8, 4), (1, 8, 1)])
def test_a_set_comes_out_enlarged(channels: int, depth: int, scale: int, tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", 70, channels, depth)
    model = write_resolver(tmp_path / "model", channels=channels, scale=scale)
    told: list[tuple[int, int]] = []
    resolver = Resolver.load(model)
    path = EnlargedSet(made, resolver, tmp_path / "out", progress=lambda *two: told.append(two)).run()
    before, after = read_manifest(made), read_manifest(path)
    found = Pack(path.parent, after)
    assert found.channels == channels
    assert found.array.dtype == np.dtype(f"uint{depth}")
    reference = quantise(expected(model, np.load(made / "pack.npy")), depth)
    assert found.array.shape == reference.shape
    assert np.abs(found.array.astype(int) - reference.astype(int)).max() <= (1 if depth == 8 else 16)
    assert after["image"].tolist() == before["image"].tolist()
    assert set(after["source"]) == {"synthetic"}
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after["content"].tolist() == [picture_hash(picture) for picture in found.array]
    assert after.info["name"] == f"synthetic Edema, enlarged {scale} times"
    assert told[-1] == (70, 70)
    assert (path.parent / "contact_sheet.png").is_file()


def test_provenance_carries_generator_and_resolver(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", seen=("g0", "both"), audit={"share": 0.0})
    model = write_resolver(tmp_path / "model", ("p0", "both"), images_seen=64, interpolation=0.8)
    path = EnlargedSet(made, Resolver.load(model), tmp_path / "out").run()
    found = provenance_of(path.parent)
    assert found["schema"] == "cxraug.synthetic/1"
    assert found["generator"] == {"sha256": "2" * 64}
    assert (found["seed"], found["finding"], found["audit"]) == (7, "Edema", {"share": 0.0})
    assert found["patients_seen"] == ["both", "g0", "p0"]
    assert found["resolver"]["sha256"] == file_hash(model / "model.pt")
    assert found["resolver"]["patients_seen"] == ["both", "p0"]
    assert found["resolver"]["settings"]["scale"] == 2
    assert (found["resolver"]["images_seen"], found["resolver"]["interpolation"]) == (64, 0.8)
    assert found["enlarged"]["provenance"] == file_hash(made / "provenance.json")
    assert found["enlarged"]["patients_seen"] == ["both", "g0"]
    assert (found["enlarged"]["size"], found["enlarged"]["scale"]) == ([12, 12], 2)
    inputs = json.loads((path.parent / "manifest.json").read_text())["inputs"]
    assert inputs == {"set": file_hash(made / "provenance.json"), "resolver": file_hash(model / "model.pt")}


def test_an_enlarged_set_of_our_generator_trains_a_classifier(make_generator: Write, tmp_path: Path) -> None:
    """What a generator of ours made at 16 px joins real images of 32 px, whose held-out patients stay unseen."""
    real = write_real(tmp_path / "real", ("t",), side=32)
    samples = Samples(make_generator(["g0"]), "Edema", 4, 0)
    made = SyntheticSet(samples, tmp_path / "set").run()
    model = write_resolver(tmp_path / "model", ("p0",))
    path = EnlargedSet(made, Resolver.load(model), tmp_path / "out", manifest=real).run()
    mixed = MixedDataset(real, findings=["Edema"], synthetic=[path.parent])
    assert len(mixed) == 6 + 4
    assert mixed[9]["image"].shape == (1, 32, 32)
    assert mixed.patients_seen() == sorted({"p0", "g0", "a", "b", "c", "d"})


@pytest.mark.parametrize(("seen", "of_the_set"), [(("t",), False), (("p0",), True)])
def test_networks_that_saw_a_held_out_patient_are_refused(
    seen: tuple[str, ...], of_the_set: bool, tmp_path: Path
) -> None:
    made = write_set(tmp_path / "set", seen=("t",) if of_the_set else ("g0",))
    model = write_resolver(tmp_path / "model", seen)
    real = write_real(tmp_path / "real", ("t",))
    named = "set" if of_the_set else "model.pt"
    with pytest.raises(LeakageError, match=rf"{named}: a generator may only have seen training patients.*'t'"):
        EnlargedSet(made, Resolver.load(model), tmp_path / "out", manifest=real).run()
    assert not (tmp_path / "out").exists()
    # without a manifest it is made, and then refused by whoever mixes it with these images
    path = EnlargedSet(made, Resolver.load(model), tmp_path / "out").run()
    with pytest.raises(LeakageError, match="1 others, for example 't'"):
        MixedDataset(real, size=24, synthetic=[path.parent])


def test_names_hashed_with_another_salt_are_refused(tmp_path: Path) -> None:
    model = write_resolver(tmp_path / "model", salt="aaaa")
    plain, salted = write_set(tmp_path / "plain"), write_set(tmp_path / "salted", salt="bbbb")
    with pytest.raises(LeakageError, match="hashed with one salt"):
        EnlargedSet(salted, Resolver.load(model), tmp_path / "out").run()
    with pytest.raises(LeakageError, match="hashed with one salt"):
        EnlargedSet(plain, Resolver.load(model), tmp_path / "out", manifest=write_real(tmp_path / "real")).run()
    path = EnlargedSet(plain, Resolver.load(model), tmp_path / "out").run()
    assert provenance_of(path.parent)["salt"] == "aaaa"
    nobody = write_resolver(tmp_path / "nobody", ())
    assert provenance_of(EnlargedSet(salted, Resolver.load(nobody), tmp_path / "two").run().parent)["salt"] == "bbbb"


def test_what_is_no_synthetic_set_is_refused(tmp_path: Path) -> None:
    resolver = Resolver.load(write_resolver(tmp_path / "model"))
    real = write_real(tmp_path / "real")
    with pytest.raises(InputError, match=r"provenance\.json: file must exist"):
        EnlargedSet(real, resolver, tmp_path / "out").run()
    write_json(real.with_name("provenance.json"), "cxraug.synthetic/1", {"patients_seen": []})
    with pytest.raises(InputError, match="every image of a synthetic set must be synthetic or external; found others"):
        EnlargedSet(real, resolver, tmp_path / "out").run()
    undeclared = write_set(tmp_path / "undeclared")
    write_json(undeclared / "provenance.json", "cxraug.synthetic/1", {"patients_seen": "p0"})
    with pytest.raises(LeakageError, match="'patients_seen' must list the patients"):
        EnlargedSet(undeclared, resolver, tmp_path / "out").run()
    with pytest.raises(InputError, match="manifest must exist"):
        EnlargedSet(tmp_path / "nowhere", resolver, tmp_path / "out").run()
    colour = write_set(tmp_path / "colour", channels=3)
    with pytest.raises(ConfigError, match=r"images must have 1 channel \(grey\), as .*model\.pt takes them; found 3"):
        EnlargedSet(colour, resolver, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_other_data_are_not_written_over(tmp_path: Path) -> None:
    made, resolver = write_set(tmp_path / "set"), Resolver.load(write_resolver(tmp_path / "model"))
    with pytest.raises(StateError, match="must be another folder"):
        EnlargedSet(made, resolver, made).run()
    for other in (write_real(tmp_path / "real").parent, write_set(tmp_path / "other")):
        with pytest.raises(StateError, match="must hold nothing, or enlarged images"):
            EnlargedSet(made, resolver, other).run()
    first = EnlargedSet(made, resolver, tmp_path / "out", png=True).run()
    assert len(list((tmp_path / "out" / "png").glob("*.png"))) == 5
    smaller = write_set(tmp_path / "smaller", 3)
    again = EnlargedSet(smaller, resolver, tmp_path / "out", depth=16).run()
    assert again == first
    assert len(read_manifest(again)) == 3
    assert np.load(tmp_path / "out" / "pack.npy").dtype == np.uint16
    assert not (tmp_path / "out" / "png").exists()


def test_an_interrupted_set_is_none(tmp_path: Path) -> None:
    made, resolver = write_set(tmp_path / "set"), Resolver.load(write_resolver(tmp_path / "model"))
    EnlargedSet(made, resolver, tmp_path / "out").run()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EnlargedSet(made, resolver, tmp_path / "out", progress=stop).run()
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(StateError, match="must hold nothing, or enlarged images"):
        EnlargedSet(made, resolver, tmp_path / "out").run()


def test_pngs_and_the_audit_go_with_the_set(tmp_path: Path) -> None:
    made, resolver = write_set(tmp_path / "set"), Resolver.load(write_resolver(tmp_path / "model"))
    (made / "nearest.csv").write_text("image,nearest\n")
    EnlargedSet(made, resolver, tmp_path / "out", png=True).run()
    stored = np.load(tmp_path / "out" / "pack.npy")
    for k in range(5):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "png" / f"made_{k}.png")), stored[k])
    assert (tmp_path / "out" / "nearest.csv").read_text() == "image,nearest\n"


# --- networks ---


def test_an_image_does_not_depend_on_the_others(tmp_path: Path) -> None:
    resolver = Resolver.load(write_resolver(tmp_path))
    pictures = np.random.default_rng(0).random((6, 10, 14), dtype=np.float32)
    (together,) = resolver.enlarge(pictures)
    assert together.shape == (6, 20, 28)
    for k in range(6):
        np.testing.assert_allclose(next(resolver.enlarge(pictures[k : k + 1]))[0], together[k], atol=1e-6)


def test_public_weights_enlarge_too(tmp_path: Path) -> None:
    network = EnlargingNetwork(3, 2, features=4, blocks=1, growth=2, unshuffle=2)
    names = {"first": "conv_first", "body": "conv_body", "fine": "conv_hr", "last": "conv_last"}
    state = {}
    for key, value in network.state_dict().items():
        layer, _, kind = key.rpartition(".")
        parts = layer.split(".")
        if parts[0] == "trunk":
            state[f"body.0.rdb{int(parts[3]) + 1}.conv{int(parts[5]) + 1}.{kind}"] = value
        elif parts[0] == "doublings":
            state[f"conv_up{int(parts[1]) + 1}.{kind}"] = value
        else:
            state[f"{names[layer]}.{kind}"] = value
    torch.save({"params_ema": state}, tmp_path / "x2.pth")
    resolver = Resolver.load(tmp_path / "x2.pth")
    assert (resolver.channels, resolver.scale, resolver.patients_seen) == (3, 2, frozenset())
    grey = Resolver.load(tmp_path / "x2.pth", channels=1)
    path = EnlargedSet(write_set(tmp_path / "set"), grey, tmp_path / "out").run()
    found = provenance_of(path.parent)
    assert found["resolver"]["source"] == "Real-ESRGAN"
    assert found["resolver"]["patients_seen"] == []
    assert found["patients_seen"] == ["g0"]


def test_other_files_are_no_resolvers(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", "distortion", EncoderDecoder(layers=1), {})
    with pytest.raises(StateError, match="must be a esrgan; found distortion"):
        Resolver.load(tmp_path)
    (tmp_path / "noise.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="must be a model file of plain tensors"):
        Resolver.load(tmp_path / "noise.pt")
    torch.save({"w": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(StateError, match="in one of its public layouts"):
        Resolver.load(tmp_path / "other.pth")
    with pytest.raises(InputError, match="nothing there"):
        Resolver.load(tmp_path / "nowhere")


# --- pictures ---


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_come_out_enlarged(channels: int, tmp_path: Path) -> None:
    resolver, folder = Resolver.load(write_resolver(tmp_path / "model", channels=channels)), tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    draws = np.random.default_rng(0)
    wide = draws.integers(0, 256, (9, 15), dtype=np.uint8)
    bright = draws.integers(0, 65536, (8, 11), dtype=np.uint16)
    Image.fromarray(wide).save(folder / "wide.png")
    Image.fromarray(bright).save(folder / "deep" / "bright.png")
    (folder / "broken.png").write_bytes(b"no picture")
    out = EnlargedPictures(folder, resolver, tmp_path / "out").run()
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == ["deep/bright.png.png", "wide.png.png"]
    found = Image.open(out / "wide.png.png")
    assert (found.mode, found.size) == ("L" if channels == 1 else "RGB", (30, 18))
    shown = wide[None] if channels == 1 else np.repeat(wide[None, :, :, None], 3, axis=3)
    reference = quantise(expected(tmp_path / "model", shown), 8)[0]
    assert np.abs(np.asarray(found).astype(int) - reference.astype(int)).max() <= 1
    assert Image.open(out / "deep" / "bright.png.png").mode == ("I;16" if channels == 1 else "RGB")
    with (tmp_path / "out" / "quarantine.csv").open() as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == ["broken.png"]
    assert provenance_of(tmp_path / "out")["pictures"] == 2
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert EnlargedPictures(folder / "wide.png", resolver, tmp_path / "out").run() == out


def test_no_pictures_are_refused(tmp_path: Path) -> None:
    resolver = Resolver.load(write_resolver(tmp_path / "model"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"must hold images .*; found none"):
        EnlargedPictures(tmp_path / "empty", resolver, tmp_path / "out").run()
    (tmp_path / "empty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="at least one picture must be readable"):
        EnlargedPictures(tmp_path / "empty", resolver, tmp_path / "out").run()
    with pytest.raises(StateError, match="must hold nothing, or enlarged images"):
        EnlargedPictures(tmp_path / "empty", resolver, write_set(tmp_path / "set")).run()


def test_one_of_both_is_enlarged(tmp_path: Path) -> None:
    resolver = Resolver.load(write_resolver(tmp_path))
    assert isinstance(enlarge(Given("set"), resolver, "out"), EnlargedSet)
    assert isinstance(enlarge(Given(images="folder"), resolver, "out"), EnlargedPictures)
    for given, found in ((("a", "b"), "both"), ((None, None), "neither")):
        with pytest.raises(ConfigError, match=f"one of them must be given; found {found}"):
            Given(*given)
    with pytest.raises(ConfigError, match="depth: must be 8 or 16; found 12"):
        enlarge(Given("set"), resolver, "out", depth=12)

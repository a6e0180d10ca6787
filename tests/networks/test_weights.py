"""Model files: the network comes back, equal models are equal bytes, and no file runs code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import SCHEMA, ExportModel, find_model, load_model, save_model

ABOUT = {"finding": "Edema", "findings": ["Edema", "Mass"], "patients_seen": ["P1"], "size": 8, "composition": {"a": 1}}


@pytest.fixture
def network() -> ProgressiveGenerator:
    torch.manual_seed(0)
    return ProgressiveGenerator(resolution=8, latent_size=4, fmap_base=16, fmap_max=4)


def refuse(kind: type[CxrAugError], path: Path, *words: str, of: str | None = None) -> None:
    with pytest.raises(CxrAugError) as caught:
        load_model(path, of)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in (*words, str(path)))
    assert caught.value.mend


def test_round_trip(tmp_path: Path, network) -> None:
    network.train()
    save_model(tmp_path / "model.pt", "pggan", network, ABOUT)
    model = load_model(tmp_path / "model.pt", "pggan")
    assert (model.kind, model.about, model.settings) == ("pggan", ABOUT, network.settings)
    assert not model.network.training
    latents = torch.randn(3, 4)
    assert torch.equal(model.network(latents), network.eval()(latents))
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


def test_equal_models_are_equal_bytes(tmp_path: Path, network) -> None:
    save_model(tmp_path / "one.pt", "pggan", network, ABOUT)
    again = load_model(tmp_path / "one.pt").network
    path = ExportModel(tmp_path / "deep" / "another name.pt", "pggan", again, ABOUT).run()
    assert path.read_bytes() == (tmp_path / "one.pt").read_bytes()
    with torch.no_grad():
        next(again.parameters()).view(-1)[0] += 1e-6
    save_model(tmp_path / "two.pt", "pggan", again, ABOUT)
    assert (tmp_path / "two.pt").read_bytes() != path.read_bytes()


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_pickled_code_does_not_run(tmp_path: Path, network) -> None:
    document = {"schema": SCHEMA, "kind": "pggan", "settings": network.settings, "about": Attack(tmp_path / "ran")}
    torch.save(document, tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Attack(tmp_path / "ran")))
    for name in ("evil.pt", "raw.pt"):
        refuse(InputError, tmp_path / name, "plain tensors")
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "raw.pt").read_bytes())  # it would have
    assert (tmp_path / "ran").exists()


def test_a_whole_network_is_no_model_file(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "whole.pt")
    refuse(InputError, tmp_path / "whole.pt", "plain tensors")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"<html></html>", b"PK\x03\x04", b"\x80\x02."])
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    refuse(InputError, tmp_path / "model.pt")


def test_a_model_cut_off(tmp_path: Path, network) -> None:
    save_model(tmp_path / "model.pt", "pggan", network, ABOUT)
    content = (tmp_path / "model.pt").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "model.pt").write_bytes(content[: int(share * len(content))])
        refuse(InputError, tmp_path / "model.pt")


def test_other_contents_and_kinds(tmp_path: Path, network) -> None:
    path = tmp_path / "model.pt"
    for content in (network.state_dict(), [1], {"schema": "other/1"}):
        torch.save(content, path)
        refuse(StateError, path, SCHEMA)
    save_model(path, "pggan", network, ABOUT)
    refuse(StateError, path, "must be a classifier", "pggan", of="classifier")
    save_model(path, "stylegan", network, ABOUT)
    refuse(StateError, path, "classifier or pggan", "stylegan")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"settings": {"resolution": 16, "latent_size": 4, "fmap_base": 16, "fmap_max": 4}}, "RuntimeError"),
        ({"settings": {"size": 8}}, "TypeError"),
        ({"settings": {"resolution": 9}}, "power of two"),
        ({"weights": {}}, "RuntimeError"),
        ({"weights": None}, "Error"),
        ({"about": ...}, "about"),
    ],
)
def test_settings_and_weights_must_fit(tmp_path: Path, network, change, word) -> None:
    document = {"schema": SCHEMA, "kind": "pggan", "settings": network.settings, "about": {}}
    document = {**document, "weights": network.state_dict(), **change}
    torch.save({key: value for key, value in document.items() if value is not ...}, tmp_path / "model.pt")
    refuse(StateError, tmp_path / "model.pt", word)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, network) -> None:
    save_model(tmp_path / "model.pt", "pggan", network, ABOUT)
    before = (tmp_path / "model.pt").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_model(tmp_path / "model.pt", "pggan", network, {"cannot be pickled": lambda: None})
    assert (tmp_path / "model.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


def test_where_a_model_is_looked_for(tmp_path: Path, network) -> None:
    with pytest.raises(InputError, match=r"none: must be a model file, or a folder that holds model.pt.*nothing there"):
        find_model(tmp_path / "none")
    with pytest.raises(InputError, match="no such file in it; train first"):
        find_model(tmp_path / "none", tmp_path)
    bundle = tmp_path / "bundle"
    save_model(bundle / "models" / "experiment" / "one" / "model.pt", "pggan", network, ABOUT)
    with pytest.raises(InputError, match=r"give a model that it ships, such as .*models/experiment/one"):
        find_model(bundle)
    save_model(bundle / "models" / "model.pt", "pggan", network, ABOUT)
    assert find_model(tmp_path, bundle) == bundle / "models" / "model.pt"
    save_model(bundle / "model.pt", "pggan", network, ABOUT)
    assert find_model(bundle) == find_model(bundle / "model.pt") == bundle / "model.pt"
    assert load_model(bundle).path == bundle / "model.pt"

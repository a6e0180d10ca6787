"""Files in the three public layouts, written here as their releases name their layers, and read again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_cxraug.errors import InputError, StateError
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.esrgan_weights import load_public, read_public

Layer = tuple[str, Tensor]
SMALL: dict[str, Any] = {"features": 6, "blocks": 2, "growth": 3}


def first_layout(state: dict[str, Tensor], blocks: int, doublings: int) -> dict[str, Tensor]:
    """ESRGAN's first release: one sequence, whose doublings are enlargement, convolution, activation."""

    def name(layer: str) -> str:
        parts = layer.split(".")
        if parts[0] == "trunk":
            return f"1.sub.{parts[1]}.RDB{int(parts[3]) + 1}.conv{int(parts[5]) + 1}.0"
        fine = 2 + 3 * doublings
        places = {"first": "0", "body": f"1.sub.{blocks}", "fine": f"{fine}", "last": f"{fine + 2}"}
        return places[parts[0]] if parts[0] in places else f"{3 + 3 * int(parts[1])}"

    return {f"model.{name(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def second_layout(state: dict[str, Tensor], blocks: int, doublings: int) -> dict[str, Tensor]:
    """ESRGAN's second release."""

    def name(layer: str) -> str:
        parts = layer.split(".")
        if parts[0] == "trunk":
            return f"RRDB_trunk.{parts[1]}.RDB{int(parts[3]) + 1}.conv{int(parts[5]) + 1}"
        places = {"first": "conv_first", "body": "trunk_conv", "fine": "HRconv", "last": "conv_last"}
        return places[parts[0]] if parts[0] in places else f"upconv{int(parts[1]) + 1}"

    return {f"{name(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def real_layout(state: dict[str, Tensor], blocks: int, doublings: int) -> dict[str, Any]:
    """Real-ESRGAN's, below a key that says that it is an average; the weights that trained lie beside it."""

    def name(layer: str) -> str:
        parts = layer.split(".")
        if parts[0] == "trunk":
            return f"body.{parts[1]}.rdb{int(parts[3]) + 1}.conv{int(parts[5]) + 1}"
        places = {"first": "conv_first", "body": "conv_body", "fine": "conv_hr", "last": "conv_last"}
        return places[parts[0]] if parts[0] in places else f"conv_up{int(parts[1]) + 1}"

    named = {f"{name(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    return {"params": {key: torch.zeros_like(value) for key, value in named.items()}, "params_ema": named}


LAYOUTS: dict[str, Callable[[dict[str, Tensor], int, int], dict[str, Any]]] = {
    "ESRGAN, first layout": first_layout,
    "ESRGAN, second layout": second_layout,
    "Real-ESRGAN": real_layout,
}


def network(channels: int = 3, scale: int = 2, unshuffle: int = 1, **settings: Any) -> EnlargingNetwork:
    torch.manual_seed(0)
    made = EnlargingNetwork(channels, scale, **{**SMALL, **settings}, unshuffle=unshuffle)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    return made.train()  # whose images are not cut off at 0 and 1


def write(folder: Path, layout: str, made: EnlargingNetwork) -> Path:
    doublings = int(math.log2(made.scale * made.unshuffle))
    path = folder / "weights.pth"
    torch.save(LAYOUTS[layout](made.state_dict(), made.settings["blocks"], doublings), path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("scale", "unshuffle"), [(4, 1), (2, 1), (1, 1), (2, 2), (1, 4)])
def test_every_layout_gives_the_network_back(layout: str, scale: int, unshuffle: int, tmp_path: Path) -> None:
    made = network(3, scale, unshuffle)
    found, loaded = read_public(write(tmp_path, layout, made))
    assert found.settings == made.settings
    assert loaded.source == layout
    assert not loaded.adapted
    assert not loaded.skipped
    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(found.train()(x), made(x))
    filled = load_public(network(3, scale, unshuffle), write(tmp_path, layout, made))
    assert torch.equal(filled(x), made(x))


def test_names_of_the_public_releases() -> None:
    """Some names written down from the releases themselves, x4 with 23 blocks."""
    made = EnlargingNetwork(3, 4, features=1, blocks=23, growth=1)
    first = first_layout(made.state_dict(), 23, 2)
    for name in ("0", "1.sub.0.RDB1.conv1.0", "1.sub.22.RDB3.conv5.0", "1.sub.23", "3", "6", "8", "10"):
        assert f"model.{name}.weight" in first
        assert f"model.{name}.bias" in first
    second = second_layout(made.state_dict(), 23, 2)
    assert {"RRDB_trunk.22.RDB3.conv5.weight", "trunk_conv.bias", "upconv2.weight", "HRconv.weight"} <= set(second)
    real = real_layout(made.state_dict(), 23, 2)["params_ema"]
    assert {"conv_first.weight", "body.22.rdb3.conv5.bias", "conv_body.bias", "conv_up2.weight"} <= set(real)
    assert len(first) == len(second) == len(real) == 2 * (23 * 15 + 6)


@pytest.mark.parametrize("unshuffle", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_grey_sees_the_sum_of_the_colours_and_gives_their_luma(layout: str, unshuffle: int, tmp_path: Path) -> None:
    made = network(3, 2, unshuffle)
    found, loaded = read_public(write(tmp_path, layout, made), channels=1)
    assert set(loaded.adapted) == {"first.weight", "last.weight", "last.bias"}
    assert "first.weight summed over the colours" in str(loaded)
    assert "last.weight the luma of the colours" in str(loaded)
    x = torch.rand(1, 1, 6, 8)
    colours = made(x.repeat(1, 3, 1, 1))
    expected = 0.299 * colours[:, :1] + 0.587 * colours[:, 1:2] + 0.114 * colours[:, 2:]
    torch.testing.assert_close(found.train()(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_colours_are_seen_by_a_grey_network_as_their_mean(unshuffle: int, tmp_path: Path) -> None:
    made = network(1, 2, unshuffle)
    found, loaded = read_public(write(tmp_path, "Real-ESRGAN", made), channels=3)
    assert "shared out to three colours" in str(loaded)
    x = torch.rand(1, 3, 6, 8)
    grey = made(x.mean(dim=1, keepdim=True))
    torch.testing.assert_close(found.train()(x), grey.repeat(1, 3, 1, 1), rtol=1e-4, atol=1e-5)


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    state = {**second_layout(network().state_dict(), 2, 1), "something.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "weights.pth")
    _, loaded = read_public(tmp_path / "weights.pth")
    assert loaded.skipped == ("something.weight",)
    assert "skipped 1 (something.weight)" in str(loaded)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 4}, "must hold a network with scale 4; found 2; set scale to 2, or give another file"),
        ({"features": 8}, "must hold a network with features 8; found 6"),
        ({"blocks": 3}, "must hold a network with blocks 3; found 2"),
        ({"growth": 2}, "must hold a network with growth 2; found 3"),
        ({"unshuffle": 2, "scale": 1}, "scale 1; found 2"),
    ],
)
def test_a_network_of_another_shape_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, "ESRGAN, first layout", network())
    with pytest.raises(StateError, match=message):
        load_public(network(**settings), path)


def cut_off(state: dict[str, Tensor]) -> None:
    del state["body.1.rdb2.conv3.bias"]


def misshapen(state: dict[str, Tensor]) -> None:
    state["conv_body.weight"] = torch.zeros(6, 6, 1, 1)


def without_end(state: dict[str, Tensor]) -> None:
    del state["conv_last.weight"]


def of_two_colours(state: dict[str, Tensor]) -> None:
    state["conv_first.weight"] = torch.zeros(6, 2, 3, 3)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_off, r"69 of 70 weights; no trunk\.1\.dense\.1\.layers\.2\.bias"),
        (misshapen, r"must hold weights of one network; found body\.weight \[6, 6, 1, 1\], not \[6, 6, 3, 3\]"),
        (without_end, r"no last\.weight"),
        (of_two_colours, "must take and give images of 1 or 3 channels.*found 2 channels in, 3 out, 1 doublings"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(harm: Callable[..., None], message: str, tmp_path: Path) -> None:
    state = real_layout(network().state_dict(), 2, 1)["params_ema"]
    harm(state)
    torch.save({"params": state}, tmp_path / "weights.pth")
    with pytest.raises(StateError, match=message) as refusal:
        read_public(tmp_path / "weights.pth")
    assert "\n" not in str(refusal.value)
    assert "weights.pth" in str(refusal.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "resnet.pth")
    with pytest.raises(StateError, match=r"public layouts; found 1 other weights, for example layer1"):
        read_public(tmp_path / "resnet.pth")
    with pytest.raises(InputError, match="none there"):
        read_public(tmp_path / "nowhere.pth")
    torch.save(network(), tmp_path / "pickled.pth")  # a model that would run code
    with pytest.raises(InputError, match="must be a plain state dict"):
        read_public(tmp_path / "pickled.pth")


def test_no_file_leaves_the_network_as_it_is() -> None:
    made = network()
    assert load_public(made, None) is made

"""Public weights of ESRGAN and Real-ESRGAN, read from a local file into a network of ours.

Three layouts of the same network are common: ESRGAN's first release (``model.1.sub.0.RDB1.conv1.0.weight``), its
second (``RRDB_trunk.0.RDB1.conv1.weight``), and Real-ESRGAN's (``body.0.rdb1.conv1.weight``, often below
``params_ema``). Which one a file has, and how large its network is, its names and shapes say. Nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from monai_cxraug.console import deliver
from monai_cxraug.errors import StateError
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.pretrained import Loaded, read_state

#: parts of red, green and blue in brightness (ITU-R BT.601).
_LUMA: Final = (0.299, 0.587, 0.114)
_RULE: Final = "must hold weights of an ESRGAN generator in one of its public layouts"
_MEND: Final = "give the .pth of an ESRGAN or Real-ESRGAN release with residual dense blocks"
#: a layer inside the trunk: block, dense block within it, convolution; numbers as in the file.
_DENSE: Final = {
    "ESRGAN, first layout": re.compile(r"1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)"),
    "ESRGAN, second layout": re.compile(r"RRDB_trunk\.(\d+)\.RDB([123])\.conv([1-5])\.(weight|bias)"),
    "Real-ESRGAN": re.compile(r"body\.(\d+)\.rdb([123])\.conv([1-5])\.(weight|bias)"),
}
#: the layers around the trunk, where they have names of their own.
_AROUND: Final = {
    "ESRGAN, second layout": {"trunk_conv": "body", "upconv": "doublings", "HRconv": "fine"},
    "Real-ESRGAN": {"conv_body": "body", "conv_up": "doublings", "conv_hr": "fine"},
}


def load_public(network: EnlargingNetwork, path: str | Path | None = None, say: bool = True) -> EnlargingNetwork:
    """Fill a network from a file of public weights; for configurations, which name the file or None.

    Args:
        network: to fill.
        path: the file; None leaves the network as it is.
        say: print what was loaded and adapted.

    Returns:
        The same network.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it holds another network, or one of another shape.
    """
    if path is not None:
        loaded = fill(network, Path(path))
        if say:
            deliver(loaded)
    return network


def read_public(path: str | Path, channels: int | None = None) -> tuple[EnlargingNetwork, Loaded]:
    """Make a network of the shape that a file's weights have, and fill it.

    Args:
        path: the file.
        channels: of the images that the network shall take, 1 or 3; default the file's.

    Returns:
        The network, in evaluation mode, and what was done.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it holds another network.
    """
    source, state = _translated(Path(path))
    settings = _settings(Path(path), state)
    network = EnlargingNetwork(**{**settings, "channels": channels or settings["channels"]})
    return network.eval(), _fill(network, Path(path), source, state)


def fill(network: EnlargingNetwork, path: Path) -> Loaded:
    """Fill a network from a file and say what was done; errors as of :func:`load_public`."""
    source, state = _translated(path)
    theirs = _settings(path, state)
    for name in ("scale", "unshuffle", "features", "blocks", "growth"):
        if (ours := network.settings[name]) != theirs[name]:
            mend = f"set {name} to {theirs[name]}, or give another file"
            raise StateError(path, f"must hold a network with {name} {ours}", theirs[name], mend)
    return _fill(network, path, source, state)


def _fill(network: EnlargingNetwork, path: Path, source: str, state: dict[str, Tensor]) -> Loaded:
    """Fill a network whose settings are those of the state, channels aside."""
    ours, adapted = network.state_dict(), {}
    if missing := sorted(set(ours) - set(state)):
        raise StateError(path, _RULE, f"{len(ours) - len(missing)} of {len(ours)} weights; no {missing[0]}", _MEND)
    found = {}
    for name in ours:
        value, what = _fit_colours(name, state[name], network)
        if value.shape != ours[name].shape:
            shapes = f"{name} {list(value.shape)}, not {list(ours[name].shape)}"
            raise StateError(path, "must hold weights of one network", shapes, _MEND)
        found[name] = value.to(ours[name].dtype)
        if what:
            adapted[name] = what
    network.load_state_dict(found)
    skipped = tuple(sorted(set(state) - set(ours)))
    return Loaded(path, source, tuple(sorted(found)), adapted, skipped)


# --- names ---


def _translated(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The layout, and weights by our names; those without a place keep theirs."""
    state = read_state(path)
    source = next((one for one, dense in _DENSE.items() if any(map(dense.fullmatch, state))), None)
    if source is None:
        raise StateError(path, _RULE, f"{len(state)} other weights, for example {min(state)}", _MEND)
    rename = _numbers(state) if source not in _AROUND else _AROUND[source]
    return source, {_our_name(name, _DENSE[source], rename): value for name, value in state.items()}


def _our_name(name: str, dense: re.Pattern[str], around: Mapping[str, str]) -> str:
    if inner := dense.fullmatch(name):
        block, within, layer, kind = inner[1], int(inner[2]) - 1, int(inner[3]) - 1, inner[4]
        return f"trunk.{block}.dense.{within}.layers.{layer}.{kind}"
    module, _, kind = name.rpartition(".")
    if module in around:
        return f"{around[module]}.{kind}"
    doubling = re.fullmatch(r"([A-Za-z_]+)(\d)", module)
    if doubling and around.get(doubling[1]) == "doublings":
        return f"doublings.{int(doubling[2]) - 1}.{kind}"
    return f"{module.removeprefix('conv_')}.{kind}" if module in ("conv_first", "conv_last") else name


def _numbers(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Layers of the first layout, which is one sequence: convolution, trunk, doublings (three numbers each), two more.

    Every doubling is an enlargement, a convolution and an activation; the last two convolutions have one in between.
    """
    outer = sorted(int(name.split(".")[0]) for name in state if re.fullmatch(r"\d+\.weight", name))
    trunk = max((int(found[1]) for name in state if (found := re.fullmatch(r"1\.sub\.(\d+)\.weight", name))), default=0)
    *doublings, fine, last = [number for number in outer if number > 1] if len(outer) > 2 else [0, 0]
    names = {str(number): f"doublings.{k}" for k, number in enumerate(doublings)}
    return {"0": "first", f"1.sub.{trunk}": "body", **names, str(fine): "fine", str(last): "last"}


# --- shapes ---


def _settings(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of the network that a file holds."""
    needed = ("first.weight", "last.weight", "trunk.0.dense.0.layers.0.weight")
    if missing := [name for name in needed if name not in state or state[name].ndim != 4]:
        raise StateError(path, _RULE, f"no {missing[0]}", _MEND)
    first, last, layer = (state[name].shape for name in needed)
    doublings = len({name for name in state if re.fullmatch(r"doublings\.\d\.weight", name)})
    squares = {1: 1, 4: 2, 16: 4}.get(first[1] // last[0]) if first[1] % last[0] == 0 else None
    scale = None if squares is None else 2**doublings / squares
    if last[0] not in (1, 3) or scale not in (1, 2, 4):
        found = f"{first[1]} channels in, {last[0]} out, {doublings} doublings"
        raise StateError(path, "must take and give images of 1 or 3 channels, at a scale of 1, 2 or 4", found, _MEND)
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("trunk."))
    return {
        "channels": last[0],
        "scale": int(scale),
        "features": first[0],
        "blocks": blocks,
        "growth": layer[0],
        "unshuffle": squares,
        "residual": False,
    }


def _fit_colours(name: str, value: Tensor, network: EnlargingNetwork) -> tuple[Tensor, str]:
    """Bring first and last layer to the network's channels, and say what was done.

    A grey image shown as three equal colours is seen by the sum of the three kernels; the luma of the three colours
    that come out is grey. A colour image is seen through the mean of its colours, and a grey one comes out in all
    three.
    """
    layer, _, kind = name.partition(".")
    ours = network.channels
    if layer == "first" and kind == "weight" and value.shape[1] != ours * network.unshuffle**2:
        colours = value.unflatten(1, (-1, network.unshuffle**2))  # [F, C, squares, 3, 3]
        if ours == 1:
            return colours.sum(dim=1), "summed over the colours"
        return (colours / ours).expand(-1, ours, -1, -1, -1).flatten(1, 2), "shared out to three colours"
    if layer == "last" and value.shape[0] != ours:
        if ours == 1:
            parts = torch.tensor(_LUMA, dtype=value.dtype).reshape(-1, *[1] * (value.ndim - 1))
            return (value * parts).sum(dim=0, keepdim=True), "the luma of the colours"
        return value.expand(ours, *value.shape[1:]).clone(), "repeated for three colours"
    return value, ""

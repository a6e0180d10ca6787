"""Transfer learning: weights that torchvision, timm, torchxrayvision or MONAI made, read into a classifier of ours.

A file holds a state dict, plain or safetensors; nothing in it is run. Names are translated by rules for each package
and architecture, shapes must agree, and a file that leaves part of the network's body at random is refused. The last
dense layers are for other classes and stay at random.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from monai_cxraug.console import deliver
from monai_cxraug.errors import ConfigError, InputError, StateError, nearest
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.plain_tensors import read_plain

#: a name in the file to ours; None where the weight has no place here.
Rename = Callable[[str], str | None]

#: blocks in each stage of EfficientNet-B1; MONAI counts them through.
_B1_BLOCKS: Final = (2, 3, 3, 4, 4, 5, 2)
_B1_STARTS: Final = tuple(itertools.accumulate((0, *_B1_BLOCKS)))
#: means and deviations of the colours that torchvision and timm normalise by (ImageNet).
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: torchxrayvision takes [-1024, 1024].
_XRAYVISION: Final = ((0.5,), (1 / 2048,))
#: what wraps a state dict in files, and what training wrappers put before names.
_WRAPPERS: Final = ("state_dict", "model_state_dict", "params_ema", "params", "model", "net", "network", "weights")
_PREFIXES: Final = ("module.", "model.", "net.", "network.", "_orig_mod.")
#: what the names of each architecture's last layers begin with.
_HEADS: Final = {"densenet121": "class_layers.", "efficientnet_b1": "_fc.", "resnet50": "fc.", "vgg16": "classifier.6."}
#: not weights: counters and settings that files carry.
_IGNORED: Final = re.compile(r"(num_batches_tracked|op_threshs)$")


@dataclass(frozen=True)
class Loaded:
    """What became of a file.

    Args:
        path: the file.
        source: the package that made it.
        loaded: our names that were filled.
        adapted: our names whose weight was changed to fit, with what was done.
        skipped: the file's names that had no place.
        random: our names that stay as they were made.
    """

    path: Path
    source: str
    loaded: tuple[str, ...]
    adapted: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    random: tuple[str, ...] = ()

    def __str__(self) -> str:
        changes = "".join(f"; {name} {what}" for name, what in self.adapted.items())
        skipped = f"; skipped {_some(self.skipped)}" if self.skipped else ""
        random = f"; at random {_some(self.random)}" if self.random else ""
        return f"{self.path.name} ({self.source}): {len(self.loaded)} weights loaded{changes}{skipped}{random}"


def _some(names: tuple[str, ...]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def load_weights(
    network: Classifier, weights: str | Path | None = None, source: str = "torchvision", say: bool = True
) -> Classifier:
    """Fill a classifier's body from a file; for configurations, which name the file or None.

    Args:
        network: to fill.
        weights: the file; None leaves the network as it is.
        source: the package that made it; a key of :data:`SOURCES`.
        say: print what was loaded, skipped and left at random.

    Returns:
        The same network.

    Raises:
        InputError: the file is missing or unreadable.
        ConfigError: the source is unknown, or does not have this architecture.
        StateError: the file does not fill the network's body.
    """
    if weights is not None:
        loaded = fill(network, weights, source)
        if say:
            deliver(loaded)
    return network


def fill(network: Classifier, path: str | Path, source: str) -> Loaded:
    """Fill a classifier's body from a file and say what was done; arguments and errors as for :func:`load_weights`."""
    path = Path(path)
    architecture = network.settings["architecture"]
    rename = _rules(source, architecture)
    ours = network.body.state_dict()
    head = _HEADS[architecture]
    wanted = {name for name in ours if not name.startswith(head) and not _IGNORED.search(name)}
    found: dict[str, Tensor] = {}
    adapted: dict[str, str] = {}
    skipped: list[str] = []
    for name, value in read_state(path).items():
        place = rename(name)
        if _IGNORED.search(name):
            if place in ours:
                found[place] = value
            continue
        if place not in wanted:
            skipped.append(name)
            continue
        fitted = _fit(value, ours[place], source)
        if fitted is None:
            shapes = f"{name} {list(value.shape)}, not {list(ours[place].shape)}"
            raise StateError(path, f"must hold weights of {architecture}", shapes, "check architecture and channels")
        found[place] = fitted[0].to(ours[place].dtype)
        if fitted[1]:
            adapted[place] = fitted[1]
    if missing := sorted(wanted - set(found)):
        rule = f"must hold all weights of {architecture}'s body, as {source} names them"
        what = f"{len(wanted) - len(missing)} of {len(wanted)}; no {missing[0]}"
        raise StateError(path, rule, what, "check architecture and source")
    network.body.load_state_dict(found, strict=False)
    _set_border(network, source)
    random = tuple(name for name in ours if name not in found and not _IGNORED.search(name))
    return Loaded(path, source, tuple(sorted(wanted)), adapted, tuple(skipped), random)


# --- files ---


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running anything in it.

    Args:
        path: a ``.safetensors`` file, or one that ``torch.save`` wrote; the dict may lie under a usual key, and names
            may have a training wrapper's prefix.

    Returns:
        Name to tensor, prefixes removed.

    Raises:
        InputError: missing, unreadable, or without tensors; or safetensors is not installed.
    """
    if not path.is_file():
        raise InputError(path, "must be a file of weights", "none there", "download it first, and give its path")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in _WRAPPERS:
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(path, "must hold a state dict of tensors", f"keys {sorted(map(str, state))[:3]}", "")
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _read_torch(path: Path) -> Mapping[str, Any]:
    mend = "save its state_dict() with torch.save or safetensors; a pickled model runs code and is not opened"
    state = read_plain(path, "must be a plain state dict", mend)
    if not isinstance(state, Mapping):
        raise InputError(path, "must be a plain state dict", type(state).__name__, "save its state_dict()")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        mend = "pip install safetensors, or save the weights with torch.save"
        raise InputError(path, "needs the package safetensors", "it is not installed", mend) from None
    try:
        return dict(load_file(path))
    except Exception as error:  # safetensors has an error type of its own in Rust
        raise InputError(path, "must be a safetensors file", str(error)[:120], "fetch it again") from None


# --- shapes ---


def _fit(value: Tensor, ours: Tensor, source: str) -> tuple[Tensor, str] | None:
    """The weight in our shape and what was done to it; None where it cannot be."""
    if _is_stem(value, ours):
        return _fit_colours(value, ours.shape[1], source)
    if value.shape == ours.shape:
        return value, ""
    if value.numel() == ours.numel() and value.shape[0] == ours.shape[0]:  # a convolution over all that is left
        return value.reshape(ours.shape), f"reshaped from {list(value.shape)}"
    return None


def _is_stem(value: Tensor, ours: Tensor) -> bool:
    """Whether both are first convolutions; a depthwise kernel has one channel too, in the file and here."""
    if value.ndim != 4 or value.shape[0] != ours.shape[0] or value.shape[2:] != ours.shape[2:]:
        return False
    return {value.shape[1], ours.shape[1]} <= {1, 3} and 3 in (value.shape[1], ours.shape[1])


def _fit_colours(value: Tensor, channels: int, source: str) -> tuple[Tensor, str]:
    """Bring a first convolution to our channels.

    A grey image shown as three equal colours is seen by the sum of the three kernels, each over the deviation of its
    colour.
    """
    _, deviations = _border(source)
    if value.shape[1] == channels:
        return value, ""
    if channels == 3:
        return value.expand(-1, 3, -1, -1) / 3, "spread over 3 channels"
    if len(deviations) == 3:
        common = sum(deviations) / 3
        value = value * (common / torch.tensor(deviations, dtype=value.dtype))[None, :, None, None]
    return value.sum(dim=1, keepdim=True), "summed over 3 channels"


def _border(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return {"monai": ((0.5,), (0.5,)), "torchxrayvision": _XRAYVISION}.get(source, _IMAGENET)


def _set_border(network: Classifier, source: str) -> None:
    """Show the network images as its weights know them; grey ones by the means of what colours have."""
    if source == "monai":
        return  # whoever trained it chose; ours were made for our own border
    means, deviations = _border(source)
    if len(means) == network.settings["channels"] == 3:
        network.mean, network.std = list(means), list(deviations)
    else:
        network.mean, network.std = sum(means) / len(means), sum(deviations) / len(deviations)
    network.settings.update(mean=network.mean, std=network.std)


# --- names ---


def _same(name: str) -> str | None:
    return name


def _densenet(name: str) -> str | None:
    # files of the first torchvision releases have a dot before the number
    name = re.sub(r"(denselayer\d+)\.(norm|relu|conv)\.?(\d)\.", r"\1.layers.\2\3.", name)
    return re.sub(r"^classifier\.", "class_layers.out.", name)


def _efficientnet_of_torchvision(name: str) -> str | None:
    outer = {"features.0.0": "_conv_stem", "features.0.1": "_bn0", "features.8.0": "_conv_head", "features.8.1": "_bn1"}
    for theirs, ours in outer.items():
        if name.startswith(f"{theirs}."):
            return ours + name[len(theirs) :]
    inner = re.fullmatch(r"features\.(\d)\.(\d)\.block\.(\d)\.(\w+)\.(\w+)", name)
    if inner is None:
        return f"_fc.{name}" if name.startswith("classifier.") else None
    stage, block, part, member, rest = int(inner[1]) - 1, int(inner[2]), int(inner[3]), inner[4], inner[5]
    part += stage == 0  # the first stage does not expand
    if part == 2:
        piece = {"fc1": "_se_reduce", "fc2": "_se_expand"}[member]
    else:
        kinds = {0: ("_expand_conv", "_bn0"), 1: ("_depthwise_conv", "_bn1"), 3: ("_project_conv", "_bn2")}
        piece = kinds[part][int(member)]
    return f"_blocks.{stage}.{_B1_STARTS[stage] + block}.{piece}.{rest}"


def _efficientnet_of_timm(name: str) -> str | None:
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    inner = re.fullmatch(r"blocks\.(\d)\.(\d)\.((?:se\.)?\w+)\.(\w+)", name)
    if inner is None:
        first, _, rest = name.partition(".")
        return f"{outer[first]}.{rest}" if first in outer else None
    stage, block, member, rest = int(inner[1]), int(inner[2]), inner[3], inner[4]
    pieces = {"conv_dw": "_depthwise_conv", "se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    if stage == 0:  # the first stage does not expand
        pieces |= {"bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    else:
        pieces |= {"conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    return f"_blocks.{stage}.{_B1_STARTS[stage] + block}.{pieces[member]}.{rest}" if member in pieces else None


def _vgg_of_timm(name: str) -> str | None:
    for theirs, ours in {
        "pre_logits.fc1": "classifier.0",
        "pre_logits.fc2": "classifier.3",
        "head.fc": "classifier.6",
    }.items():
        if name.startswith(f"{theirs}."):
            return ours + name[len(theirs) :]
    return name


#: package to the architectures whose weights it has, and how it names them.
SOURCES: Final[Mapping[str, Mapping[str, Rename]]] = {
    "torchvision": {
        "densenet121": _densenet,
        "efficientnet_b1": _efficientnet_of_torchvision,
        "resnet50": _same,
        "vgg16": _same,
    },
    "timm": {
        "densenet121": _densenet,
        "efficientnet_b1": _efficientnet_of_timm,
        "resnet50": _same,
        "vgg16": _vgg_of_timm,
    },
    "torchxrayvision": {"densenet121": _densenet, "resnet50": _same},
    "monai": {"densenet121": _same, "efficientnet_b1": _same, "resnet50": _same},
}


def _rules(source: str, architecture: str) -> Rename:
    if source not in SOURCES:
        raise ConfigError("weights_source", "unknown package", repr(source), nearest(str(source), SOURCES))
    if architecture not in SOURCES[source]:
        known = ", ".join(SOURCES[source])
        raise ConfigError(
            "weights_source", f"{source} has no weights of this architecture", architecture, f"it has {known}"
        )
    return SOURCES[source][architecture]

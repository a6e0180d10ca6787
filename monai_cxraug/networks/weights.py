"""Model files: weights with the description that rebuilds their network, loaded without running any code from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from monai_cxraug import __version__
from monai_cxraug.artifacts import atomic_path
from monai_cxraug.errors import InputError, StateError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.dcgan import DcganGenerator
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.esrgan import EnlargingNetwork
from monai_cxraug.networks.fastgan import FastGenerator
from monai_cxraug.networks.half_precision import halve
from monai_cxraug.networks.infogan import InfoGenerator
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.plain_tensors import NoMoreWeights, read_plain
from monai_cxraug.networks.reidentifier import Reidentifier

SCHEMA = "cxraug.model/1"

#: kind of model to its network class; a file names a kind, never a class.
KINDS: dict[str, Callable[..., nn.Module]] = {
    "classifier": Classifier,
    "pggan": ProgressiveGenerator,
    "infogan": InfoGenerator,
    "dcgan": DcganGenerator,
    "distortion": EncoderDecoder,
    "esrgan": EnlargingNetwork,
    "fastgan": FastGenerator,
    "reidentifier": Reidentifier,
}
#: where a model lies inside a folder: a cell or generator of a run, or a bundle.
_PLACES = ("model.pt", "models/model.pt")
#: where a bundle keeps the models that it ships: several, so that none of them is meant by the bundle alone.
_SHIPPED = "models/*/*/model.pt"


@dataclass(frozen=True)
class Model:
    """A network with what its file says about it.

    Args:
        network: in evaluation mode, on the CPU.
        kind: a key of :data:`KINDS`.
        about: findings, size, patients seen and so on; plain values.
        path: the file.
    """

    network: nn.Module
    kind: str
    about: Mapping[str, Any]
    path: Path

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that rebuild the network."""
        return cast(dict[str, Any], self.network.settings)


def save_model(path: Path, kind: str, network: nn.Module, about: Mapping[str, Any], half: bool = False) -> None:
    """Write a model atomically; it loads with ``weights_only=True``.

    Args:
        path: file to write.
        kind: a key of :data:`KINDS`.
        network: has ``settings``, the arguments that rebuild it.
        about: plain values to keep beside the weights.
        half: store what :func:`~monai_cxraug.networks.half_precision.halve` leaves of the weights.
    """
    weights = network.state_dict()
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "kind": kind,
        "settings": network.settings,
        "about": dict(about),
        "weights": halve(weights) if half else weights,
    }
    # by a stream: given a path, torch writes the (temporary) name into the file, and equal models would differ
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(document, stream)


@dataclass(frozen=True)
class ExportModel:
    """Writes a trained network as a model file; the last item of a training configuration's ``run``.

    Args:
        path: file to write.
        kind: a key of :data:`KINDS`.
        network: what to save.
        about: plain values to keep beside the weights.
    """

    path: str | Path
    kind: str
    network: nn.Module
    about: Mapping[str, Any]

    def run(self) -> Path:
        """Write the file and return its path."""
        save_model(Path(self.path), self.kind, self.network, self.about)
        return Path(self.path)


def find_model(*places: str | Path) -> Path:
    """Find the model file of a cell, a generator or a bundle.

    Args:
        places: files or folders, tried in order.

    Raises:
        InputError: none of them is or holds a model.
    """
    for place in map(Path, places):
        for file in (place, *(place / name for name in _PLACES)):
            if file.is_file():
                return file
    where = " or ".join(map(str, places))
    rule = f"must be a model file, or a folder that holds {' or '.join(_PLACES)}"
    found = "no such file in it" if any(Path(place).exists() for place in places) else "nothing there"
    shipped = sorted(file.parent for place in places for file in Path(place).glob(_SHIPPED))
    mend = f"give a model that it ships, such as {shipped[0]}" if shipped else "train first, or check the path"
    raise InputError(where, rule, found, mend)


def load_model(where: str | Path, kind: str | None = None) -> Model:
    """Load a model for inference; weights that are stored in half precision are computed with in full precision.

    Args:
        where: model file, or a folder that holds one.
        kind: the kind it must be; default any.

    Returns:
        The model.

    Raises:
        InputError: missing or unreadable.
        StateError: not one of our model files, or another kind.
    """
    path = find_model(where)
    document = read_plain(path, "must be a model file of plain tensors", "train or fetch it again")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise StateError(path, f"must carry schema {SCHEMA!r}", "another content", "give a model.pt of this tool")
    found = document.get("kind")
    if not isinstance(found, str) or found not in ([kind] if kind else KINDS):
        raise StateError(path, f"must be a {kind or ' or '.join(KINDS)}", _short(found), "give another model")
    try:
        with NoMoreWeights(_numbers(document["weights"]), path):
            network = KINDS[found](**document["settings"])
        network.load_state_dict(document["weights"])
        return Model(network.eval(), found, document["about"], path)
    except StateError:
        raise
    except Exception as error:  # a constructor may say anything to settings of the wrong kind
        reason = f"{type(error).__name__}: {error}"[:200]
        raise StateError(path, "must hold settings and the weights that fit them", reason, "train it again") from None


def _numbers(weights: Any) -> int:
    """How many numbers the tensors of a state dict hold, one that is repeated by its strides once."""
    tensors = [one for one in weights.values() if isinstance(one, torch.Tensor)]
    return sum(one.untyped_storage().nbytes() // max(1, one.element_size()) for one in tensors)


def _short(value: object) -> str:
    """A text, or the type of anything else: written out, tuples of tuples may fill the memory."""
    return value[:60] if isinstance(value, str) else type(value).__name__

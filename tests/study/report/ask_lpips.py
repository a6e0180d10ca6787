"""Runs inside of the environment of the package lpips: what it makes of given judgements and images, as JSON.

``python ask_lpips.py FOLDER`` reads ``given.npz`` there and writes ``answers.json`` and one file of weights a network.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

#: operators whose compiled part may not fit this torch; nothing here calls them, but torchvision names them on import.
_OPERATORS = ("nms", "qnms")


def import_lpips() -> Any:
    """Import the package, with torchvision's Python part alone where its compiled part does not load."""
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_lpips.library = library  # type: ignore[attr-defined]  # it goes with its last reference
    return import_module("lpips")


class Loader:
    """What the package's scores take: something with batches to load."""

    def __init__(self, *batches: dict[str, torch.Tensor]) -> None:
        self.batches = batches

    def load_data(self) -> tuple[dict[str, torch.Tensor], ...]:
        return self.batches


def scores(lpips: Any, given: dict[str, np.ndarray]) -> dict[str, float]:
    """Scores of given distances: each "image" is its distance, and the distance of two is their difference."""
    trainer = import_module("lpips.trainer")
    one, two, share, pair, same = (
        torch.from_numpy(given[name]) for name in ("first", "second", "share", "pair", "same")
    )
    forced = Loader({"ref": torch.zeros_like(one), "p0": one, "p1": two, "judge": share})
    noticed = Loader({"p0": torch.zeros_like(pair), "p1": pair, "same": same})

    def distance(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return other - reference

    return {
        "2afc": float(trainer.score_2afc_dataset(forced, distance)[0]),
        "jnd": float(trainer.score_jnd_dataset(noticed, distance)[0]),
    }


def distances(lpips: Any, folder: Path, given: dict[str, np.ndarray]) -> dict[str, Any]:
    """Distances of given colour images in [0, 1] by random networks, plain and with the package's channel weights."""
    one, two = (2 * torch.from_numpy(given[name]) - 1 for name in ("one", "two"))
    found: dict[str, Any] = {}
    for net in ("alex", "vgg", "squeeze"):
        torch.manual_seed(7)
        weighted = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        plain = lpips.LPIPS(net=net, pnet_rand=True, lpips=False, verbose=False)
        plain.net.load_state_dict(weighted.net.state_dict())
        torch.save(
            {f"features.{name.partition('.')[2]}": value for name, value in weighted.net.state_dict().items()},
            folder / f"{net}.pth",
        )
        with torch.no_grad():
            found[net] = {
                "plain": plain(one, two).flatten().tolist(),
                "weighted": weighted(one, two).flatten().tolist(),
                "weights": torch.cat([layer.model[-1].weight.flatten() for layer in weighted.lins]).tolist(),
            }
    return found


def ours(folder: Path, found: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    """Add what our adapter to the package makes of the same weights."""
    from monai_cxraug.study.distances import _colour, _load_lpips

    one, two = (torch.from_numpy(given[name][:, :1]) for name in ("one", "two"))
    for net, entry in found.items():
        network = _load_lpips(net, folder / f"{net}.pth")
        torch.manual_seed(7)
        theirs = import_module("lpips").LPIPS(net=net, pnet_rand=True, verbose=False)
        with torch.no_grad():
            grey = (2 * one - 1).repeat(1, 3, 1, 1), (2 * two - 1).repeat(1, 3, 1, 1)
            entry["grey"] = theirs(*grey).flatten().tolist()
            entry["adapter"] = network(_colour(one), _colour(two)).flatten().tolist()


def main(folder: Path) -> None:
    """Answer."""
    torch.set_num_threads(1)
    with np.load(folder / "given.npz") as arrays:
        given = dict(arrays)
    lpips = import_lpips()
    found = distances(lpips, folder, given)
    ours(folder, found, given)
    answers = {"scores": scores(lpips, given), "distances": found}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

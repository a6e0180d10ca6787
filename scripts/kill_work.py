"""The long jobs, each small enough to be killed hundreds of times: inputs, command, and what must repeat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from monai_cxraug.artifacts import file_hash, write_text
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.cli import main as cxraug
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import Pack, write_pack
from monai_cxraug.errors import CxrAugError, StateError

#: pictures of the job ``prepare``, one of them broken; and those that the trainings see.
PICTURES, SEEN = 60, 48
_GENERATOR: Final[Mapping[str, Any]] = {
    "finding": "Edema", "resolution": 8, "latent_size": 8, "fmap_base": 64, "fmap_max": 8, "fade_images": 24,
    "stable_images": 24, "total_images": 120, "batch_size": 4, "epoch_length": 3, "grid_images": 40, "check_every": 4,
    "check_grace": 100000, "threads": 1, "device": "cpu",
}  # fmt: skip
_CLASSIFIER: Final[Mapping[str, Any]] = {
    "architecture": "small_cnn", "size": 16, "steps": 30, "epoch_length": 3, "batch_size": 4, "threads": 1,
    "device": "cpu",
}  # fmt: skip
_EXPERIMENT: Final = """\
name: killed
data:
  train: {manifest: GIVEN, split: train, size: 16}
  test: {manifest: GIVEN, split: test, size: 16}
findings: [Edema]
arms: [plain, gan]
ratios: [0.5]
seeds: [0]
budget:
  threads: 1
  replicates: 100
  generator: {fade_images: 8, stable_images: 8, total_images: 40, batch_size: 4, epoch_length: 3, grid_images: 24,
              latent_size: 8, fmap_base: 64, fmap_max: 8}
  classifier: {architecture: small_cnn, steps: 6, epoch_length: 3, batch_size: 4}
endpoint: {arm: gan, reference: plain, finding: Edema}
"""


@dataclass(frozen=True)
class Job:
    """A long job.

    Args:
        name: of the job.
        make: writes what the job needs into a folder.
        start: does the job, given that folder and the one to fill, in this process; returns an exit status.
        command: the same as ``python -m`` takes it.
        kept: how much of the job is finished for good in a folder; it never becomes less.
        products: hashes of what must be equal, by name.
        state: the newest file that an interrupted job goes on from, and the one before it; None where it can go on
            without.
        share: of the whole job, how much a start may do at most before it is killed: most jobs then come to their end
            after three or four kills.
    """

    name: str
    make: Callable[[Path], None]
    start: Callable[[Path, Path], int]
    command: Callable[[Path, Path], list[str]]
    kept: Callable[[Path], int]
    products: Callable[[Path], dict[str, str]]
    state: Callable[[Path], tuple[Path, Path | None]]
    share: float = 0.6


# --- what several need ---


def write_radiographs(folder: Path, size: int = 16) -> None:
    """Small pictures of a finding that brightens the lower half; two patients of three are for training."""
    rows = [
        {"image": f"{k:03d}.png", "patient_id": f"p{k // 2}", "split": ("train", "train", "test")[k // 2 % 3]}
        for k in range(SEEN)
    ]
    edema = np.arange(SEEN) % 2
    images = np.random.default_rng(0).integers(0, 128, (SEEN, size, size), dtype=np.uint8)
    images[edema == 1, size // 2 :] += 100
    rows = [{**row, "source": "real"} for row in rows]
    write_pack(folder, images, [row["image"] for row in rows])
    Manifest(make_columns(rows), ("Edema",), edema[:, None].astype(np.float32), {"name": "tiny"}).write(folder, {})


def hashes(folder: Path, *names: str) -> dict[str, str]:
    """SHA-256 of files by name; of a missing one, that it is missing."""
    return {name: file_hash(folder / name) if (folder / name).is_file() else "missing" for name in names}


def litter(folder: Path) -> dict[str, str]:
    """Hidden files that a finished job leaves: none but the marks of stages."""
    left = [path for path in folder.rglob(".*") if path.name != ".key"]
    return {f"litter {path.relative_to(folder)}": "" for path in left}


# --- prepare ---


def _write_pictures(given: Path) -> None:
    from PIL import Image

    folder = given / "images"
    folder.mkdir(parents=True)
    for number in range(PICTURES):
        picture = np.random.default_rng(number).integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    (folder / "005.png").write_bytes(b"broken")


def _prepare_command(given: Path, out: Path) -> list[str]:
    return ["prepare", "images", "--images", str(given / "images"), "--out", str(out), "--size", "8", "--quiet"]


def _prepare(given: Path, out: Path) -> int:
    from monai_cxraug.data import packing

    packing._SAVED, packing._SECONDS = 7, 0  # type: ignore[misc]  # the journal grows every two seconds else
    return cxraug(_prepare_command(given, out))


def _count_decoded(out: Path) -> int:
    """Pictures in the journal, or in a whole pack, which is taken over."""
    for place in (out / ".prepare", out):
        if all((place / name).exists() for name in ("pack.npy", "pack.json", "files.csv")):
            return PICTURES
    journal = out / ".prepare" / ".pack.progress"
    # bytes, since this script may have damaged it
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def _prepared(out: Path) -> dict[str, str]:
    from monai_cxraug.data.prepare import ARTIFACTS

    return hashes(out, *ARTIFACTS) | litter(out)


# --- trainings ---


def _training(name: str, bundle: str, settings: Mapping[str, Any]) -> Job:
    root = bundle_file(bundle, "train").parents[1]

    def complete(given: Path, out: Path) -> dict[str, Any]:
        return {"bundle_root": str(root), "manifest": str(given / "manifest.csv"), "output_dir": str(out), **settings}

    def start(given: Path, out: Path) -> int:
        try:
            run_stage(bundle_file(bundle, "train"), complete(given, out))
        except CxrAugError as error:
            print(f"error: {error}", flush=True)
            return error.exit_status
        return 0

    def command(given: Path, out: Path) -> list[str]:
        options = {"config_file": str(bundle_file(bundle, "train")), **complete(given, out)}
        return ["monai.bundle", "run", *(text for key, value in options.items() for text in (f"--{key}", str(value)))]

    return Job(name, write_radiographs, start, command, _iteration, _trained, _checkpoints)


def _iteration(out: Path) -> int:
    from monai_cxraug.handlers.resume import CLOCK, read_checkpoint

    for path in (out / "checkpoint.pt", out / "checkpoint.previous.pt"):
        with suppress(StateError):  # there is none, or this script has damaged it
            return int(read_checkpoint(path)[CLOCK]["iteration"])
    return 0


def _trained(out: Path) -> dict[str, str]:
    """The model, and every tensor that a training holds at its end."""
    from monai_cxraug.handlers.resume import read_checkpoint

    return {
        **hashes(out, "model.pt"),
        **dict(_leaves(read_checkpoint(out / "checkpoint.pt"), "checkpoint")),
        **litter(out),
    }


def _leaves(value: Any, name: str) -> list[tuple[str, str]]:
    import torch

    if isinstance(value, torch.Tensor):
        from monai_cxraug.data.pack import picture_hash

        return [(name, f"{value.dtype} {tuple(value.shape)} {picture_hash(value.contiguous().view(-1).numpy())}")]
    if isinstance(value, Mapping):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{name}/{key}")]
    if isinstance(value, list | tuple):
        return [leaf for number, item in enumerate(value) for leaf in _leaves(item, f"{name}/{number}")]
    return [(name, repr(value))]


def _checkpoints(out: Path) -> tuple[Path, Path]:
    return out / "checkpoint.pt", out / "checkpoint.previous.pt"


# --- sampling ---


def _write_generator(given: Path) -> None:
    import torch

    from monai_cxraug.networks.pggan import ProgressiveGenerator
    from monai_cxraug.networks.weights import save_model

    write_radiographs(given)
    manifest = read_manifest(given)
    about = {
        "finding": "Edema", "findings": ["Edema"], "images_seen": 640, "manifest": manifest.hash(),
        "patients_seen": sorted(manifest.patients(manifest.rows("train", {}))), "label_rows": None,
    }  # fmt: skip
    torch.manual_seed(0)
    network = ProgressiveGenerator(resolution=16, latent_size=8, fmap_base=32, fmap_max=8)
    save_model(given / "generator" / "model.pt", "pggan", network, about)


def _sample_command(given: Path, out: Path) -> list[str]:
    names = ["sample", str(given / "generator"), "--finding", "Edema", "--n", "300", "--seed", "3", "--png"]
    return [*names, "--out", str(out), "--quiet"]


def _sampled(out: Path) -> dict[str, str]:
    names = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_file()]
    return hashes(out, *names)


def _drawn(out: Path) -> tuple[Path, None]:
    """The images of a set in the making."""
    return next(iter(sorted(out.glob(".draft.*"))), out / "none"), None


def _count_sampled(out: Path) -> int:
    """The images of a set that can be read, or those of its draft."""
    try:
        return len(Pack(out, read_manifest(out)).array)
    except CxrAugError:
        return sum(file.stat().st_size for file in out.glob(".draft.*")) // (16**2 + 4)


# --- experiment ---


def _write_experiment(given: Path) -> None:
    write_radiographs(given)
    write_text(given / "killed.yaml", _EXPERIMENT.replace("GIVEN", str(given / "manifest.csv")))


def _run_command(given: Path, out: Path) -> list[str]:
    return ["run", str(given / "killed.yaml"), "--out", str(out), "--quiet"]


def _count_stages(out: Path) -> int:
    return len(list(out.glob("*/*/run.json")))


def _concluded(out: Path) -> dict[str, str]:
    """Everything that repeats exactly: not clocks and cost, and no report, which says when it was made."""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    of_clocks = [results.pop("cost"), results["provenance"]]
    results["provenance"] = {"hashes": of_clocks[1]["hashes"]}
    names = ("run.json", "predictions.csv", "model.pt", "pack.npy", "provenance.json", "manifest.csv")
    files = [path.relative_to(out).as_posix() for name in names for path in sorted(out.glob(f"*/*/{name}"))]
    return {"results.json": json.dumps(results, sort_keys=True), **hashes(out, *files), **litter(out)}


def _stage_checkpoints(out: Path) -> tuple[Path, Path]:
    """Of the stage that was interrupted."""
    found = sorted(out.glob("*/*/checkpoint.pt"))
    return _checkpoints(found[0].parent if found else out)


def _cli(command: Callable[[Path, Path], list[str]]) -> dict[str, Any]:
    return {
        "start": lambda given, out: cxraug(command(given, out)),
        "command": lambda given, out: ["monai_cxraug.cli", *command(given, out)],
    }


JOBS: Final[Mapping[str, Job]] = {
    job.name: job
    for job in (
        Job(
            "prepare",
            _write_pictures,
            _prepare,
            lambda given, out: ["monai_cxraug.cli", *_prepare_command(given, out)],
            _count_decoded,
            _prepared,
            lambda out: (out / ".prepare" / ".pack.progress", None),
            share=1.1,
        ),
        _training("gan", "chest_xray_pggan", _GENERATOR),
        Job(
            "sampling",
            _write_generator,
            **_cli(_sample_command),
            kept=_count_sampled,
            products=_sampled,
            state=_drawn,
            share=1.5,
        ),
        _training("classifier", "chest_xray_classification", _CLASSIFIER),
        Job(
            "experiment",
            _write_experiment,
            **_cli(_run_command),
            kept=_count_stages,
            products=_concluded,
            state=_stage_checkpoints,
        ),
    )
}

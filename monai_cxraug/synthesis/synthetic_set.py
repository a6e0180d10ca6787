"""The synthetic set: images of a generator with their manifest, pack and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, file_hash, write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, held_out_patients, refuse_seen
from monai_cxraug.data.pack import quantise, write_pack
from monai_cxraug.errors import ConfigError
from monai_cxraug.labels import require_findings
from monai_cxraug.networks.latents import sample_latent
from monai_cxraug.networks.weights import Model, load_model

_SHEET_COLUMNS, _SHEET_ROWS = 10, 6

Progress = Callable[[int, int], None]


def sample_images(
    model: Model, n: int, seed: int, batch_size: int = 64, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Sample a generator.

    All latents are drawn before the first image, so the batch size changes nothing.

    Args:
        model: a generator.
        n: number of images.
        seed: of the latents.
        batch_size: images a pass.
        progress: called with (done, n).

    Returns:
        float32 ``[n, H, W]`` in [0, 1].
    """
    latents = sample_latent(n, model.settings["latent_size"], torch.Generator().manual_seed(seed))
    images = []
    with torch.inference_mode():
        for batch in latents.split(batch_size):
            images.append(model.network(batch).clamp(0, 1)[:, 0].numpy())
            if progress:
                progress(sum(map(len, images)), n)
    return np.concatenate(images)


@dataclass(frozen=True)
class SyntheticSet:
    """Samples one generator into ``manifest.csv``, ``manifest.json``, ``pack.npy``, ``pack.json``, ``provenance.json``.

    The intended finding is labelled 1 and every other one unknown: an image made to show Edema may show anything else
    too, and writing 0 would teach false negatives.

    Args:
        generator: model file, generator folder of a run, or bundle folder.
        finding: the finding it was trained on.
        n: number of images.
        seed: of the latents.
        output_dir: folder to write.
        manifest: real manifest whose val and test patients the generator must not have seen.
        progress: called with (done, n).
    """

    generator: str | Path
    finding: str | None
    n: int
    seed: int
    output_dir: str | Path
    manifest: str | Path | None = None
    progress: Progress | None = None

    def run(self) -> Path:
        """Sample and write.

        Returns:
            Path of the manifest.

        Raises:
            LabelError: the generator does not make this finding.
            LeakageError: the generator saw a val or test patient of ``manifest``.
            ConfigError: ``n`` is not a positive whole number.
        """
        if not isinstance(self.n, int) or isinstance(self.n, bool) or self.n < 1:
            raise ConfigError("n", "must be a whole number of at least 1", repr(self.n), "give --n N")
        model = load_model(self.generator, "pggan")
        require_findings([str(self.finding)], [model.about["finding"]], f"{model.path} --finding")
        if self.manifest is not None:
            refuse_seen(frozenset(model.about["patients_seen"]), held_out_patients(self.manifest), model.path)
        images = quantise(sample_images(model, self.n, self.seed, progress=self.progress), 8)
        out = Path(self.output_dir)
        manifest = self._table(model.about)
        for name in ("provenance.json", "manifest.json"):  # of another set: images never stand beside them
            (out / name).unlink(missing_ok=True)
        write_pack(out, images, list(manifest["image"]))
        write_json(out / "provenance.json", PROVENANCE_SCHEMA, self._provenance(model))
        _write_contact_sheet(out, images)
        return manifest.write(out, {"generator": file_hash(model.path)})

    def _table(self, about: Mapping[str, Any]) -> Manifest:
        finding, findings = about["finding"], tuple(about["findings"])
        rows = [
            {"image": f"{finding}-{self.seed}-{index:06d}", "split": "train", "source": "synthetic"}
            for index in range(self.n)
        ]
        labels = np.full((self.n, len(findings)), np.nan, dtype=np.float32)
        labels[:, findings.index(finding)] = 1
        return Manifest(make_columns(rows), findings, labels, {"name": f"synthetic {finding}"})

    def _provenance(self, model: Model) -> dict[str, Any]:
        return {
            "generator": {"sha256": file_hash(model.path), "kind": model.kind, "settings": model.settings},
            "training_manifest": model.about["manifest"],
            "images_seen": model.about["images_seen"],
            "patients_seen": list(model.about["patients_seen"]),
            "seed": self.seed,
            "finding": self.finding,
            "n": self.n,
            "filters": [],
            "acceptance_rate": 1.0,
            "memorisation_audit": None,
        }


def _write_contact_sheet(out: Path, images: NDArray[np.uint8]) -> None:
    from PIL import Image

    shown, side = images[: _SHEET_COLUMNS * _SHEET_ROWS], images.shape[1]
    high = -(-len(shown) // _SHEET_COLUMNS)
    sheet = np.zeros((high * side, _SHEET_COLUMNS * side), dtype=np.uint8)
    for place, image in enumerate(shown):
        top, left = place // _SHEET_COLUMNS * side, place % _SHEET_COLUMNS * side
        sheet[top : top + side, left : left + side] = image
    scale = max(1, 96 // side)
    with atomic_path(out / "contact_sheet.png") as temporary:
        Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(temporary, format="PNG")

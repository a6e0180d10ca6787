"""Synthetic images made elsewhere, by a diffusion model or another GAN, with the patients their generator saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.columns import Labels
from monai_cxraug.data.files import Tree
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.pseudonyms import read_salt, refuse_different_salts
from monai_cxraug.data.readers import IMAGE_SUFFIXES
from monai_cxraug.data.sources.cells import path_key, read_labels
from monai_cxraug.data.sources.declaration import Declaration, read_declaration
from monai_cxraug.data.sources.listing import Listing, Progress, depth_of, in_colour, require_images
from monai_cxraug.data.sources.options import Colour
from monai_cxraug.data.sources.table import find_findings
from monai_cxraug.data.sources.tables import read_table
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.labels import require_findings


@dataclass(frozen=True, kw_only=True)
class External:
    """Synthetic images made elsewhere, for training only: a folder of one finding, or a table of several.

    The declaration says which patients the generator saw; without it nothing is prepared. The finding that was meant
    is present and every other one unknown; a table's own 0 stays 0.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--images diffusion --finding Edema --declaration made.yaml --like data/nih/manifest.csv --out synthetic/d",
        "--images made --labels made.csv --declaration made.json --out synthetic/made",
    )

    images: Annotated[str, "folder or zip archive", "PATH"]
    declaration: Annotated[str, "JSON or YAML that names the generator and the patients it saw", "FILE"]
    labels: Annotated[str | None, "table with a column image and one a finding, instead of --finding", "CSV"] = None
    finding: Annotated[str | None, "what every image was made to show", "NAME"] = None
    like: Annotated[str | None, "real manifest to be mixed with: its findings, and its patients checked", "CSV"] = None
    colour: Colour = False
    salt: str | None = None

    def __post_init__(self) -> None:
        if (self.finding is None) == (self.labels is None):
            found = "neither" if self.finding is None else "both"
            raise ConfigError("--finding", "give either --finding or --labels", found, "say what the images show")

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List the images as training images of source ``external``.

        Raises:
            InputError: a file is missing or unreadable.
            LabelError: a finding is not one of the real manifest's.
            LeakageError: the patients seen are not declared, or a val or test patient of the real manifest is one.
        """
        declared = read_declaration(Path(self.declaration))
        patients, salt = self._patients(declared)
        real = read_manifest(self.like) if self.like else None
        if real is not None:
            _refuse_held_out(real, patients, salt, self.declaration)
        tree = Tree(self.images)
        images, findings, values, missing = self._labelled(tree)
        if real is not None:
            findings, values = _in_vocabulary(findings, values, real)
        rows = [{"image": image, "split": "train", "source": "external"} for image in images]
        listing = Listing(
            rows,
            [tree.ref(image) for image in images],
            tuple(findings),
            values,
            depth_of(images),
            {"name": f"made elsewhere by {declared.generator}", "salt": salt},
            missing,
            refused=tree.left_out,
            provenance=self._provenance(declared, patients, salt, len(images)),
        )
        return require_images(in_colour(listing, self.colour), tree.path)

    def _patients(self, declared: Declaration) -> tuple[Sequence[str], str | None]:
        """Patients seen, hashed as the real manifest's are, and the fingerprint of the salt."""
        if self.salt is None or declared.salt is not None:
            return declared.patients_seen, declared.salt
        salt = read_salt(self.salt)
        return sorted(map(salt.patient, declared.patients_seen)), salt.fingerprint

    def _labelled(self, tree: Tree) -> tuple[Sequence[str], Sequence[str], Labels, Mapping[str, str]]:
        """Images, findings, labels, and what a table lists in vain."""
        names = [name for name in tree.names() if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
        if self.labels is None:
            return names, [str(self.finding)], np.ones((len(names), 1), dtype=np.float32), {}
        table = read_table(Path(self.labels))
        images = [path_key(cell) for cell in table["image"]]
        table.refuse_repeated(images, "an image")
        findings = find_findings(table, (), {"image"})
        values = read_labels(table, findings)
        for row in np.flatnonzero(~(values == 1).any(axis=1)):
            mend = "write 1 for the finding it was made to show"
            raise InputError(table.line(int(row)), "a synthetic image shows a finding", "none", mend)
        there = frozenset(names)
        kept = [row for row, image in enumerate(images) if image in there]
        missing = {image: "listed in the table, not among the images" for image in images if image not in there}
        return [images[row] for row in kept], findings, values[kept], missing

    def _provenance(
        self, declared: Declaration, patients: Sequence[str], salt: str | None, count: int
    ) -> dict[str, Any]:
        return {
            "generator": {"name": declared.generator},
            "training_manifest": file_hash(Path(self.like)) if self.like and Path(self.like).is_file() else None,
            "patients_seen": list(patients),
            "salt": salt,
            "seed": None,
            "finding": self.finding,
            "n": count,
            "filters": [],
            "acceptance_rate": None,
            "memorisation_audit": None,
            **declared.about,
        }


def _in_vocabulary(findings: Sequence[str], values: Labels, real: Manifest) -> tuple[Sequence[str], Labels]:
    """Labels in the order of the real manifest's findings, unknown where there is nothing to know."""
    require_findings(findings, real.findings, real.path)
    wide = np.full((len(values), len(real.findings)), np.nan, dtype=np.float32)
    wide[:, [real.findings.index(name) for name in findings]] = values
    return real.findings, wide


def _refuse_held_out(real: Manifest, patients: Sequence[str], salt: str | None, where: str) -> None:
    from monai_cxraug.data.mixing import refuse_seen

    refuse_different_salts({str(real.path): real.info, where: {"salt": salt}})
    held_out = real.patients(np.flatnonzero(np.isin(real["split"].astype(str), ("val", "test"))))
    refuse_seen(frozenset(patients), held_out, where)

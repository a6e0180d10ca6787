"""The privacy audit of a synthetic set that is there already, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash, locked, read_json, write_json
from monai_cxraug.console import Progress, announce, deliver, progress_bar
from monai_cxraug.data.additions import UNREAL
from monai_cxraug.data.copies import AUDIT_FILE, AUDIT_SCHEMA
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, declared_patients
from monai_cxraug.data.pack import Pack, to_unit
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.errors import InputError, StateError
from monai_cxraug.synthesis.audit import MemorisationAudit
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.found import Found

_TABLE, _PICTURE = "nearest.csv", "nearest.png"
#: images that are compared at once; pictures of more are never in memory.
_BLOCK: Final = 512


class Section(Protocol):
    """A further question about the set, whose answer stands in ``audit.json`` under the section's name."""

    def examine(self, synthetic: PackRows, training: Path, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer as plain values.

        Args:
            synthetic: the set.
            training: the generator's training manifest.
            about: ``patients_seen``, ``finding`` and ``manifest`` of the generator, as its set declares them.
        """
        ...


@dataclass(frozen=True)
class AuditSet:
    """``cxraug audit``: how many images of a set are nearly copies of its generator's training images.

    Writes ``audit.json``, ``nearest.csv`` and ``nearest.png``. Beside the set they are what mixing and export go by,
    before what its provenance says; ``audit.json`` carries the hash of the pictures, so that it speaks of no others.

    Args:
        synthetic: the set: its folder or ``manifest.csv``; images made elsewhere are one too.
        manifest: real images that hold the generator's training images, under the same names of patients.
        out: folder to write; default the set's.
        classifier: a classifier of ours, whose features are compared too.
        sections: name to a further question, such as ``membership``.
    """

    synthetic: str | Path
    manifest: str | Path
    out: str | Path | None = None
    classifier: str | Path | None = None
    sections: Mapping[str, Section] = field(default_factory=dict)

    def run(self) -> Path:
        """Audit, say the verdict in one line, and return the path of ``audit.json``.

        Raises:
            InputError: a file is missing, or images of the set are real.
            LeakageError: the set does not declare the patients seen, or its salt is another.
            StateError: the set was cropped, or another process writes there.
            ConfigError: the sets differ in channels, or the classifier wants larger images.
        """
        source = PackRows(self.synthetic)
        folder = source.manifest.path.parent
        about = self._about(source, folder)
        audit = self._audit(source.pack, about)
        out = folder if self.out is None else Path(self.out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".audit.lock"):
            for name in (AUDIT_FILE, _TABLE, _PICTURE):
                (out / name).unlink(missing_ok=True)
            report = {"not run": audit} if isinstance(audit, str) else self._compare(source, audit, out)
            more = {name: one.examine(source, Path(self.manifest), about) for name, one in self.sections.items()}
            inputs = {"set": source.manifest.hash(), "manifest": read_manifest(self.manifest).hash()}
            pack = file_hash(folder / "pack.npy")
            document = {"pack": pack, "inputs": inputs, "memorisation_audit": report, **more}
            write_json(out / AUDIT_FILE, AUDIT_SCHEMA, document)
        announce(describe(report))
        deliver(out / AUDIT_FILE)
        return out / AUDIT_FILE

    def _about(self, source: PackRows, folder: Path) -> dict[str, Any]:
        """What the set says of its generator, checked against the training manifest."""
        path = folder / "provenance.json"
        provenance = read_json(path, PROVENANCE_SCHEMA)
        if not np.isin(source.manifest["source"].astype(str), UNREAL).all():
            rule = f"every image of a synthetic set must be {' or '.join(UNREAL)}"
            raise InputError(source.manifest.path, rule, "others", "give a set of cxraug sample or prepare external")
        if provenance.get("crop") is not None:
            mend = "give --manifest to cxraug sample, which compares before it crops"
            raise StateError(path, "a cropped set cannot be laid beside whole training images", "a crop", mend)
        if "salt" in provenance:
            refuse_different_salts({str(self.manifest): read_manifest(self.manifest).info, str(path): provenance})
        return {
            "patients_seen": sorted(declared_patients(provenance, path)),
            "finding": provenance.get("finding"),
            "manifest": provenance.get("training_manifest"),
        }

    def _audit(self, pack: Pack, about: Mapping[str, Any]) -> MemorisationAudit | str:
        features = None
        if self.classifier is not None:
            features = ClassifierFeatures(self.classifier, channels=pack.channels)
        return MemorisationAudit.of(about, self.manifest, min(pack.array.shape[1:3]), pack.channels, features)

    def _compare(self, source: PackRows, audit: MemorisationAudit, out: Path) -> dict[str, Any]:
        names = source.manifest["image"].astype(str).tolist()
        found = _find(audit, source.pack, progress_bar("audit"))
        audit.write_table(out / _TABLE, names, found)
        shown = audit.nearest(found)
        audit.draw(out / _PICTURE, to_unit(source.pack.batch(shown)), found.at(shown))
        return audit.report(names, found)


def _find(audit: MemorisationAudit, pack: Pack, progress: Progress) -> Found:
    def blocks() -> Iterator[Found]:
        for rows in _blocks(len(pack.array)):
            yield audit.find(to_unit(pack.batch(rows)))
            progress(int(rows[-1]) + 1, len(pack.array))

    return Found.of(list(blocks()))


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count))


def describe(report: Mapping[str, Any]) -> str:
    """Say in one line what an audit found.

    Args:
        report: of :meth:`~monai_cxraug.synthesis.audit.MemorisationAudit.report`, or ``{"not run": why}``.
    """
    if "not run" in report:
        return f"not audited: {report['not run']}"
    low, high = report["interval"]
    return (
        f"{report['verdict']}: {report['near']} of {report['images']} images near one ({report['share']:.1%}, "
        f"95 % interval {low:.1%} to {high:.1%}; {report['expected_share']:.1%} of real images are), "
        f"{report['copies']} surely copied"
    )

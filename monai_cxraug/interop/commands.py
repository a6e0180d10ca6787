"""What ``cxraug pacs`` and the configurations ``pacs_*.json`` run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_cxraug.console import announce, deliver, progress_bar
from monai_cxraug.interop.archive import open_archive
from monai_cxraug.interop.classify import Classify
from monai_cxraug.interop.device import Device
from monai_cxraug.interop.identity import require_packages
from monai_cxraug.interop.pull import Pull
from monai_cxraug.interop.queries import Query
from monai_cxraug.interop.synthetic_dicom import ExportSet


@dataclass(frozen=True)
class PullStudies:
    """``cxraug pacs pull``: radiographs of an archive, into a folder.

    Args:
        url: of the archive.
        query: ``Keyword=value`` each; a single one may stand alone.
        out: folder to fill.
        patience: seconds to wait when the archive goes away in the middle of the work.
    """

    url: str
    query: Sequence[str] | str
    out: str | Path
    patience: float = 60.0

    def run(self) -> Path:
        """Pull, show progress and, on standard error, what became of it; return the folder."""
        require_packages()
        query, archive = Query.parse(self.query), open_archive(self.url, self.patience)
        pulled = Pull(archive, Path(self.out), progress_bar("pull")).run(query)
        announce(pulled.describe())
        deliver(pulled.folder)
        return pulled.folder


@dataclass(frozen=True)
class ClassifyStudies:
    """``cxraug pacs classify``: reports on what is new in an archive.

    Args:
        checkpoint: cell of a run, model file or bundle folder.
        url: of the archive.
        query: ``Keyword=value`` each; a single one may stand alone.
        out: folder for images, reports and maps.
        maps: activation maps an image, at most.
        store: whether reports and maps go to the archive.
        patience: seconds to wait when the archive goes away in the middle of the work.
    """

    checkpoint: str | Path
    url: str
    query: Sequence[str] | str
    out: str | Path
    maps: int = 1
    store: bool = False
    patience: float = 60.0

    def run(self) -> Path:
        """Classify, show progress and, on standard error, what became of it; return the folder of the objects."""
        require_packages()
        query, archive = Query.parse(self.query), open_archive(self.url, self.patience)
        job = Classify(
            archive, Device.load(self.checkpoint), Path(self.out), self.maps, self.store, progress_bar("pull")
        )
        done = job.run(query)
        announce(done.describe())
        deliver(done.folder)
        return done.folder


@dataclass(frozen=True)
class ExportSynthetic:
    """``cxraug pacs export``: a synthetic set as DICOM.

    Args:
        synthetic: the set: its folder or its manifest.
        out: folder to fill.
        url: of an archive that takes the images as well.
        patience: seconds to wait when the archive goes away in the middle of the work.
        allow_copies: export a set that holds copies of training images, or that was not audited.
    """

    synthetic: str | Path
    out: str | Path
    url: str | None = None
    patience: float = 60.0
    allow_copies: bool = False

    def run(self) -> Path:
        """Export, show progress and return the table of what was exported."""
        require_packages()
        archive = open_archive(self.url, self.patience) if self.url else None
        job = ExportSet(self.synthetic, Path(self.out), archive, progress_bar("export"), self.allow_copies)
        table = job.run()
        deliver(table)
        return table

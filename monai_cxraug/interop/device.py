"""The classifier as a device that reports: its model file, its calibration, and the key that names both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, file_hash
from monai_cxraug.calibration import FILE as CALIBRATION
from monai_cxraug.calibration import Calibration, find_calibration
from monai_cxraug.interop.identifiers import derive_uid
from monai_cxraug.interop.identity import MANUFACTURER
from monai_cxraug.networks.weights import load_model

if TYPE_CHECKING:
    from highdicom import ContributingEquipment

NAME = "chest_xray_classification"


@dataclass(frozen=True)
class Device:
    """A classifier with its calibration.

    Args:
        path: the model file.
        sha256: of the model file.
        findings: that it answers, in order.
        size: side of the images that it looks at, in pixels.
        contrast: change of contrast that they get.
        flips: whether mirrored images are averaged in.
        calibration: temperatures and thresholds, where there are.
        calibration_sha256: of its file; empty without.
    """

    path: Path
    sha256: str
    findings: tuple[str, ...]
    size: int
    contrast: str | None
    flips: bool
    calibration: Calibration | None
    calibration_sha256: str

    @classmethod
    def load(cls, checkpoint: str | Path) -> Device:
        """Read what a model file says about itself.

        Args:
            checkpoint: cell of a run, model file or bundle folder.

        Raises:
            CxrAugError: no classifier, or a calibration that belongs to another one.
        """
        model = load_model(checkpoint, "classifier")
        about = model.about
        flips = bool(about.get("flip_averaging", False))
        calibration = find_calibration(model.path, about, flips)
        return cls(
            model.path,
            file_hash(model.path),
            tuple(about["findings"]),
            int(about["size"]),
            about.get("contrast"),
            flips,
            calibration,
            file_hash(model.path.with_name(CALIBRATION)) if calibration else "",
        )

    @property
    def key(self) -> str:
        """Sixteen digits that name model and calibration: another threshold is another answer, and a new report."""
        return content_hash([self.sha256, self.calibration_sha256])[:16]

    @property
    def uid(self) -> str:
        """Of the device, for reports."""
        return derive_uid("device", self.key)

    def reports_series(self, study: str) -> str:
        """Series Instance UID of the reports on a study."""
        return derive_uid("reports", self.key, study)

    def maps_series(self, study: str) -> str:
        """Series Instance UID of the maps of a study."""
        return derive_uid("maps", self.key, study)

    def report(self, image: str) -> str:
        """SOP Instance UID of the report on an image."""
        return derive_uid("report", self.key, image)

    def map(self, image: str, finding: str) -> str:
        """SOP Instance UID of an image's map for a finding."""
        return derive_uid("map", self.key, image, finding)

    def equipment(self) -> ContributingEquipment:
        """Item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        return ContributingEquipment(
            MANUFACTURER,
            codes.DCM.ProcessingEquipment,
            manufacturer_model_name=NAME,
            software_versions=__version__,
            device_serial_number=self.sha256,
            contribution_description=f"classified; model sha256 {self.sha256}",
        )

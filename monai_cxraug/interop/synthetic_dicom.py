"""A synthetic set as DICOM: Secondary Capture images that say that they are synthetic, of no patient.

Type ``DERIVED\\SECONDARY``, Synthetic Data (0008,001C) YES, Conversion Type SYN, the generator as synthesising
equipment, identifiers of their own. The same set gives the same files, byte for byte. Grey pictures are MONOCHROME2,
those in colour RGB by pixel (PS3.3 C.7.6.3), of which nothing says that they show a chest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, file_hash, locked, read_json, write_csv, write_json
from monai_cxraug.data.copies import admit
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import Pack
from monai_cxraug.errors import StateError
from monai_cxraug.interop.archive import Archive, Progress
from monai_cxraug.interop.identifiers import derive_uid
from monai_cxraug.interop.identity import MANUFACTURER
from monai_cxraug.interop.pull import SYNTHETIC_DATA, sweep, write_dicom
from monai_cxraug.interop.sources import UTF8

if TYPE_CHECKING:
    from highdicom import ContributingEquipment
    from highdicom.sc import SCImage

SCHEMA: Final = "cxraug.synthetic_dicom/1"
TABLE, ABOUT = "exported.csv", "exported.json"
DESCRIPTION: Final = "SYNTHETIC chest radiographs, no patient"
COLOUR_DESCRIPTION: Final = "SYNTHETIC pictures, no patient"
STUDY_ID: Final = "SYNTHETIC"
_LOCK: Final = ".export.lock"
#: letters of a long string (LO).
_LONG: Final = 64
#: what highdicom fills in with the clock; the standard asks for none of it here.
_CLOCKS: Final = (
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "DateOfSecondaryCapture"),
    *("TimeOfSecondaryCapture",),
)


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic set as it lies in its folder.

    Args:
        manifest: of synthetic images only.
        pack: their pictures.
        provenance: what is known of the generator.
        key: sixteen digits that name the content of the set.
    """

    manifest: Manifest
    pack: Pack
    provenance: dict[str, Any]
    key: str

    @classmethod
    def read(cls, path: str | Path) -> SyntheticSet:
        """Read a set.

        Args:
            path: its folder, or its ``manifest.csv``.

        Raises:
            CxrAugError: no such set.
            StateError: an image in it is not synthetic, or has 16 bits a colour.
        """
        manifest = read_manifest(path)
        folder = manifest.path.parent
        if unlike := sorted({*manifest["source"].tolist()} - {"synthetic"}):
            rule, mend = "only synthetic images are exported as such", "give a set of cxraug sample"
            raise StateError(manifest.path, rule, f"source {unlike[0]!r}", mend)
        provenance = read_json(folder / "provenance.json", PROVENANCE_SCHEMA)
        pack = Pack(folder, manifest)
        if pack.channels == 3 and pack.array.itemsize > 1:
            rule, mend = "a picture in colour must have 8 bits a channel", "sample it with --depth 8"
            raise StateError(folder / "pack.npy", rule, "16", mend)
        parts = [manifest.hash(), file_hash(folder / "pack.npy"), content_hash(provenance)]
        return cls(manifest, pack, provenance, content_hash(parts)[:16])

    @property
    def generator(self) -> str:
        """SHA-256 of the generator; empty where the provenance does not tell."""
        found = self.provenance.get("generator")
        return str(found.get("sha256", "")) if isinstance(found, dict) else ""

    @property
    def finding(self) -> str:
        """What the images are to show."""
        return str(self.provenance.get("finding") or "")

    def uid(self, row: int) -> str:
        """SOP Instance UID of an image."""
        return derive_uid("synthetic", self.key, row)

    @property
    def study(self) -> str:
        """Study Instance UID: a set is a study of its own."""
        return derive_uid("synthetic study", self.key)

    def build(self, row: int) -> SCImage:
        """Make the object of one image (PS3.3 A.8.1)."""
        from highdicom.sc import SCImage
        from pydicom.uid import ExplicitVRLittleEndian

        picture = self.pack.array[row]
        capture = SCImage(
            picture,
            "MONOCHROME2" if self.pack.channels == 1 else "RGB",
            picture.dtype.itemsize * 8,
            "PATIENT",
            study_instance_uid=self.study,
            series_instance_uid=derive_uid("synthetic series", self.key),
            series_number=1,
            sop_instance_uid=self.uid(row),
            instance_number=row + 1,
            manufacturer=MANUFACTURER,
            patient_orientation=("L", "F"),
            study_id=STUDY_ID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[self._equipment],
            series_description=f"SYNTHETIC {self.finding}"[:_LONG].strip(),
            software_versions=__version__,
            specific_character_set=UTF8,
        )
        self._describe(capture, str(self.manifest["image"][row]))
        return capture

    @cached_property
    def _equipment(self) -> ContributingEquipment:
        """The generator (PS3.3 C.12.1, PS3.16 CID 7005)."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        about = self.provenance.get("generator")
        named = about.get("name") or about.get("kind") if isinstance(about, dict) else about
        told = [f"synthesised by generator sha256 {self.generator or 'unknown'}"]
        told += [f"{name} {self.provenance[name]}" for name in ("finding", "seed") if name in self.provenance]
        return ContributingEquipment(
            MANUFACTURER,
            codes.DCM.SynthesizingEquipment,
            manufacturer_model_name=str(named or "chest_xray_pggan")[:_LONG],
            software_versions=str(self.provenance.get("version", __version__))[:_LONG],
            device_serial_number=self.generator[:_LONG] or None,
            contribution_description=", ".join(told)[:1024],
        )

    def _describe(self, capture: Any, name: str) -> None:
        """Say that it shows nobody, and take away what the clock said: equal sets give equal files."""
        for keyword in _CLOCKS:
            if keyword in capture:
                delattr(capture, keyword)
        for item in capture.ContributingEquipmentSequence:
            if "ContributionDateTime" in item:
                del item.ContributionDateTime
        capture.add_new(SYNTHETIC_DATA, "CS", "YES")
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.ConversionType = "SYN"  # synthetic image (PS3.3 C.8.6.1)
        capture.PatientName = capture.PatientID = capture.PatientBirthDate = capture.PatientSex = ""
        capture.PatientOrientation = None
        capture.BurnedInAnnotation = "NO"
        capture.LossyImageCompression = "00"
        capture.StudyDescription, taken = COLOUR_DESCRIPTION, "photographed"
        if self.pack.channels != 1:
            capture.Laterality = ""  # where no body part is named, it may be a paired one (PS3.3 C.7.3.1)
        else:
            capture.BodyPartExamined = "CHEST"
            capture.StudyDescription, taken = DESCRIPTION, "radiographed"
        capture.DerivationDescription = f"Synthesised by a generative network; nobody was {taken}."
        capture.ImageComments = f"SYNTHETIC {name}"


@dataclass(frozen=True)
class ExportSet:
    """Writes a synthetic set as DICOM files, and stores them if wanted.

    What leaves the house must have been audited for copies of training images, and be free of them. ``exported.json``
    says what the audit said, and whether the set was let go all the same.

    Args:
        path: the set.
        out: folder to fill; files that are there with their content stay.
        archive: where to store them as well.
        progress: called with (done, total) images.
        allow_copies: export a set that holds copies of training images, or that was not audited.
    """

    path: str | Path
    out: Path
    archive: Archive | None = None
    progress: Progress | None = None
    allow_copies: bool = False

    def run(self) -> Path:
        """Write and store; return the table of what is there.

        Raises:
            CxrAugError: no such set, its audit found copies or there is none, the folder holds another one, or the
                archive does not take an image.
        """
        made = SyntheticSet.read(self.path)
        admission = admit(made.manifest.path.parent, made.provenance, self.allow_copies, unaudited=False)
        self._refuse_other(made)
        admission.tell()
        self.out.mkdir(parents=True, exist_ok=True)
        with locked(self.out / _LOCK):
            sweep(self.out)
            self._write_about(made, admission.record())
            names = made.manifest["image"].tolist()
            rows = [
                (name, f"{made.uid(row)}.dcm", made.uid(row), self._export(made, row)) for row, name in enumerate(names)
            ]
            write_csv(self.out / TABLE, ("image", "file", "sop_instance_uid", "sha256"), rows)
            self._write_about(made, admission.record(), complete=True)
        return self.out / TABLE

    def _refuse_other(self, made: SyntheticSet) -> None:
        about = self.out / ABOUT
        if about.exists() and (found := read_json(about, SCHEMA).get("set")) != made.key:
            rule = f"must hold the export of the set {made.key} alone"
            raise StateError(self.out, rule, f"one of {found}", "choose another folder")

    def _export(self, made: SyntheticSet, row: int) -> str:
        capture, path = made.build(row), self.out / f"{made.uid(row)}.dcm"
        if not path.exists():
            write_dicom(path, capture)
        if self.archive is not None:
            self.archive.store(capture)
        if self.progress:
            self.progress(row + 1, len(made.manifest))
        return file_hash(path)

    def _write_about(self, made: SyntheticSet, audit: dict[str, Any], complete: bool = False) -> None:
        inputs = {"generator": made.generator, "manifest": made.manifest.hash()}
        if complete:
            inputs[TABLE] = file_hash(self.out / TABLE)
        about = {"set": made.key, "study": made.study, "images": len(made.manifest), "complete": complete}
        known = {key: value for key, value in audit.items() if key != "set"}
        write_json(self.out / ABOUT, SCHEMA, {**about, "audit": known, "inputs": inputs})

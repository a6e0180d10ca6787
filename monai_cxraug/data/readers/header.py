"""Facts of a DICOM image that may leave the reader: coded answers, identifiers of the image, and the one chosen key.

A coded attribute is passed on only where its value is one of the standard's own words, because free text may name a
person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug.data.readers.parsing import open_dicom, text_of
from monai_cxraug.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: View Position (0018,5101), PS3.3 C.8.11.5 and C.8.1; how archives spell a lateral view whose side they do not tell.
_VIEWS: Final = {
    **{view: view for view in ("PA", "AP", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "RAO", "LAO", "RPO", "LPO")},
    **dict.fromkeys(("LATERAL", "LAT"), "LATERAL"),
}
_LATERAL: Final = frozenset({"LL", "RL", "RLD", "LLD", "LATERAL"})
#: View Code Sequence (0054,0220), PS3.16 CID 4010, by SNOMED CT and by SNOMED RT code.
_VIEW_CODES: Final = {
    **dict.fromkeys(("272479007", "R-10214", "R-40888"), "PA"),
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
    **dict.fromkeys(("399356000", "R-40985"), "RAO"),
    **dict.fromkeys(("399135007", "R-10220"), "LAO"),
    **dict.fromkeys(("399038007", "R-10210"), "RPO"),
    **dict.fromkeys(("399006002", "R-10212"), "LPO"),
}
#: Patient's Sex (0010,0040).
_SEXES: Final = frozenset({"M", "F", "O"})
_CHEST: Final = ("CHEST", "THORAX", "LUNG", "HEART", "RIB", "MEDIASTINUM", "STERNUM")
#: Anatomic Region Sequence (0008,2218), PS3.16 CID 4031: chest, lung, heart, mediastinum and regions with the chest.
_CHEST_CODES: Final = frozenset(
    (
        *("816094009", "51185008", "302551006", "43799004", "T-D3000", "39607008", "T-28000", "80891009", "T-32000"),
        *("72410000", "T-D3300", "78904004", "T-D3050", "113197003", "T-11300", "416550000", "R-FAB55", "416775004"),
        *("R-FAB56", "417437006", "R-FAB52"),
    )
)
#: Other body parts that may be named in a message (PS3.16 annex L).
_BODY_PARTS: Final = frozenset(
    (
        *("ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "BRAIN", "BREAST", "CALCANEUS", "CLAVICLE", "COCCYX", "CSPINE"),
        *("ELBOW", "EXTREMITY", "EYE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW"),
        *("KNEE", "LEG", "LSPINE", "NECK", "PELVIS", "SHOULDER", "SKULL", "SPINE", "SSPINE", "TOE", "TSPINE"),
        *("WHOLE BODY", "WHOLEBODY", "WRIST", "ZYGOMA"),
    )
)
_PHOTOMETRIC: Final = frozenset(
    (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"),
        *("YBR_ICT", "YBR_RCT"),
    )
)
_UID: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SHAPES: Final = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}

#: What the header needs from the file.
KEYWORDS: Final = (
    *("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "ViewPosition", "ViewCodeSequence", "PatientSex"),
    *("PatientAge", "BodyPartExamined", "AnatomicRegionSequence", "PhotometricInterpretation", "PresentationLUTShape"),
    *("PresentationIntentType", "BurnedInAnnotation", "NumberOfFrames", "Rows", "Columns"),
)


@dataclass(frozen=True)
class Header:
    """What the header of one image says.

    Args:
        sop_instance_uid: identifies the image; empty where it is no identifier.
        study_instance_uid: identifies the study; likewise.
        accession_number: order number of the examination, as written.
        patient_key: value of the attribute that the user chose.
        view: ``PA``, ``AP``, ``LL``, ``RL``, ``LATERAL`` or another word of the standard; empty where unknown.
        sex: ``M``, ``F``, ``O`` or empty.
        age: whole years, as text, or empty.
        other_body_part: a body part that is not the chest; empty where it is the chest or unknown.
        photometric: Photometric Interpretation; empty where it is none of the standard's.
        presentation_shape: Presentation LUT Shape, ``IDENTITY``, ``INVERSE`` or empty.
        for_processing: whether the values are raw ones of the detector.
        burned_in: whether the picture is said to carry writing.
        frames: number of frames, at least 1.
        rows: height in pixels; 0 where the header has none.
        columns: width in pixels; likewise.
    """

    sop_instance_uid: str
    study_instance_uid: str
    accession_number: str
    patient_key: str
    view: str
    sex: str
    age: str
    other_body_part: str
    photometric: str
    presentation_shape: str
    for_processing: bool
    burned_in: bool
    frames: int
    rows: int
    columns: int

    @property
    def is_lateral(self) -> bool:
        """Whether the view is a lateral or decubitus one."""
        return self.view in _LATERAL

    @property
    def contradiction(self) -> str:
        """Presentation LUT Shape against photometric interpretation (PS3.3 C.8.11.3.1.2); empty where they agree."""
        expected = _SHAPES.get(self.photometric, self.presentation_shape)
        if self.presentation_shape in ("", expected):
            return ""
        return f"{self.photometric} with Presentation LUT Shape {self.presentation_shape}"

    @property
    def tags(self) -> dict[str, str]:
        """``view``, ``sex`` and ``age``: what an image carries on."""
        return {"view": self.view, "sex": self.sex, "age": self.age}


def read_header(data: Path | bytes, name: object = "", patient_key: str = "PatientID") -> Header:
    """Read the header of a DICOM image, without its pixels.

    Args:
        data: the file, of which only the beginning is read, or its bytes.
        name: what to call the file in errors; default the path.
        patient_key: keyword of the attribute that identifies the patient, for example ``"PatientID"``.

    Returns:
        The facts that may leave the reader.

    Raises:
        InputError: the file is missing, is not DICOM, or holds no pixel data.
    """
    name = name or data
    with open_dicom(data, name, (*KEYWORDS, patient_key)) as parsed:
        if parsed.pixels is None:
            raise InputError(name, "a DICOM image needs pixel data", "none", "leave the file out")
        return describe(parsed.dataset, patient_key)


def describe(dataset: Dataset, patient_key: str = "") -> Header:
    """Collect the facts of a dataset; every attribute may be absent, empty or nonsense."""

    def word(keyword: str) -> str:
        return text_of(dataset, keyword).upper()

    sex, photometric, shape = word("PatientSex"), word("PhotometricInterpretation"), word("PresentationLUTShape")
    return Header(
        sop_instance_uid=_identifier(text_of(dataset, "SOPInstanceUID")),
        study_instance_uid=_identifier(text_of(dataset, "StudyInstanceUID")),
        accession_number=text_of(dataset, "AccessionNumber") if patient_key else "",
        patient_key=text_of(dataset, patient_key) if patient_key else "",
        view=_VIEWS.get(word("ViewPosition"), "") or _VIEW_CODES.get(_code(dataset, "ViewCodeSequence"), ""),
        sex=sex if sex in _SEXES else "",
        age=whole_years(text_of(dataset, "PatientAge")),
        other_body_part=_other_body_part(word("BodyPartExamined"), _code(dataset, "AnatomicRegionSequence")),
        photometric=photometric if photometric in _PHOTOMETRIC else "",
        presentation_shape=shape if shape in _SHAPES.values() else "",
        for_processing=word("PresentationIntentType") == "FOR PROCESSING",
        burned_in=word("BurnedInAnnotation") == "YES",
        frames=max(_whole(dataset, "NumberOfFrames"), 1),
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
    )


def whole_years(age: str) -> str:
    """Turn an age such as ``"058Y"`` or ``"011M"`` (DICOM PS3.5 6.2, AS) or ``"58"`` into whole years, as text.

    Returns:
        The years; the empty text when the age is not written in one of these ways.
    """
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", age, re.ASCII)
    if match is None:
        return ""
    months_a_year, number = 12, int(match[1])
    return str({"D": 0, "W": number // 52, "M": number // months_a_year}.get(match[2], number))


def _identifier(text: str) -> str:
    return text if _UID.fullmatch(text) else ""


def _whole(dataset: Dataset, keyword: str) -> int:
    try:
        return int(text_of(dataset, keyword) or 0)
    except ValueError:
        return 0


def _code(dataset: Dataset, keyword: str) -> str:
    """Code Value of the first item of a code sequence; empty where there is none."""
    items: Any = dataset.get(keyword)
    return text_of(items[0], "CodeValue") if isinstance(items, Sequence) and len(items) else ""


def _other_body_part(part: str, region: str) -> str:
    if part:
        if any(word in part for word in _CHEST):
            return ""
        return part if part in _BODY_PARTS else "another body part"
    return "" if not region or region in _CHEST_CODES else "another anatomic region"

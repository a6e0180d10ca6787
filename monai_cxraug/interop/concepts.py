"""Codes of findings and of what is said about them.

SNOMED CT where a concept means what the finding's data set means by it; else our own scheme, with the finding's name as
the meaning, because a nearly fitting code is a false one.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from monai_cxraug.interop.identity import MANUFACTURER, SCHEME

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import CodedConcept

#: finding to SNOMED CT code and meaning.
_SNOMED: Final = {
    "Atelectasis": ("46621007", "Atelectasis"),
    "Cardiomegaly": ("8186001", "Cardiomegaly"),
    "Consolidation": ("95436008", "Lung consolidation"),
    "Edema": ("19242006", "Pulmonary edema"),
    "Effusion": ("60046008", "Pleural effusion"),
    "Pleural Effusion": ("60046008", "Pleural effusion"),
    "Emphysema": ("87433001", "Pulmonary emphysema"),
    "Fibrosis": ("51615001", "Fibrosis of lung"),
    "Mass": ("4147007", "Mass"),
    "Nodule": ("27925004", "Nodule"),
    "Pneumonia": ("233604007", "Pneumonia"),
    "Pneumothorax": ("36118008", "Pneumothorax"),
}
#: what the standard has no code for: code value to meaning.
PROBABILITY: Final = ("PROBABILITY", "Probability of finding")
UNCALIBRATED: Final = ("RAW_PROBABILITY", "Uncalibrated output of the network")
THRESHOLD: Final = ("THRESHOLD", "Decision threshold of probability")
ABOVE: Final = ("ABOVE_THRESHOLD", "Probability reaches decision threshold")
ACTIVATION_MAP: Final = ("ACTIVATION_MAP", "Class activation map")
MODEL_HASH: Final = ("MODEL_SHA256", "SHA-256 of model file")
CALIBRATION_HASH: Final = ("CALIB_SHA256", "SHA-256 of calibration file")
CHEST_RADIOGRAPH: Final = ("399208008", "Plain chest X-ray")
YES: Final = ("373066001", "Yes")
NO: Final = ("373067005", "No")
#: letters of a Code Value (SH) and of a Code Meaning (LO), PS3.5 6.2.
_VALUE, _MEANING = 16, 64


def finding_code(name: str) -> CodedConcept:
    """Return the code of a finding."""
    if name in _SNOMED:
        return snomed(_SNOMED[name])
    value = re.sub(r"\W+", "_", name, flags=re.ASCII)
    if len(value) > _VALUE or value != name:  # two names must not become one code
        digest = hashlib.sha256(name.encode()).hexdigest()
        value = f"{value[:9]}_{digest[:6]}"
    return own((value, name[:_MEANING] or "finding"))


def snomed(code: tuple[str, str]) -> CodedConcept:
    """Return a concept of SNOMED CT from its code and meaning."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code[0], "SCT", code[1])


def own(code: tuple[str, str]) -> CodedConcept:
    """Return a concept of our own scheme from its code and meaning."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code[0], SCHEME, code[1])


def own_scheme() -> CodingSchemeIdentificationItem:
    """Say whose scheme ours is (PS3.3 C.12.1.1.1)."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(SCHEME, name=MANUFACTURER, responsible_organization=MANUFACTURER)

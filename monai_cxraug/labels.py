"""Finding vocabularies. A label travels by name; a column's position never carries meaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from monai_cxraug.errors import LabelError, nearest

#: ChestX-ray14 (Wang et al., CVPR 2017), in the order of the data set's own paper.
NIH_FINDINGS: Final = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

#: CheXpert's fourteen observations (Irvin et al., AAAI 2019), in the order of its tables.
CHEXPERT_FINDINGS: Final = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

#: the one question of Kermany's paediatric radiographs (Cell, 2018); bacterial or viral is a column.
KERMANY_FINDINGS: Final = ("Pneumonia",)

#: What NIH's table writes when none of the fourteen findings is present.
NIH_NO_FINDING: Final = "No Finding"


def require_findings(names: Iterable[str], vocabulary: Sequence[str], where: object) -> list[str]:
    """Check that every name is in the vocabulary.

    Args:
        names: findings as the user wrote them.
        vocabulary: findings that exist, in order.
        where: file or key to name in the error.

    Returns:
        The names, as a list, in the order given.

    Raises:
        LabelError: a name is unknown or given twice.
    """
    names = list(names)
    for name in names:
        if name not in vocabulary:
            raise LabelError(where, "unknown finding", repr(name), nearest(name, vocabulary))
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LabelError(where, "a finding may be named once", ", ".join(repeated), "remove the repetition")
    return names

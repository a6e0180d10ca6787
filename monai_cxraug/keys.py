"""Keys of the sample dictionary and the values that the manifest's own columns may take."""

from __future__ import annotations

from typing import Final, Literal

#: float32 ``[C, H, W]`` in [0, 1]; row 0 is the top of the picture as a viewer shows it.
IMAGE: Final = "image"
#: float32 ``[K]``: 1 present, 0 absent, NaN unknown.
LABEL: Final = "label"
#: the manifest's ``image`` column.
NAME: Final = "name"
PATIENT: Final = "patient_id"
SOURCE: Final = "source"
#: a classifier's or generator's output in the dictionary of an engine.
PRED: Final = "pred"

Split = Literal["train", "val", "test", ""]
SPLITS: Final = ("train", "val", "test", "")

Source = Literal["real", "filtered", "synthetic", "external"]
SOURCES: Final = ("real", "filtered", "synthetic", "external")

#: manifest columns that come before any source-specific column and the findings.
MANIFEST_COLUMNS: Final = ("image", "patient_id", "study_id", "view", "sex", "age", "split", "source")

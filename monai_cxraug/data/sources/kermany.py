"""Kermany's paediatric radiographs (Cell, 2018) in their own layout: ``{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np

from monai_cxraug.data.files import Tree
from monai_cxraug.data.sources.listing import Listing, Progress, require_images
from monai_cxraug.errors import InputError
from monai_cxraug.labels import KERMANY_FINDINGS

_SPLITS = ("train", "val", "test")
_CLASSES = ("NORMAL", "PNEUMONIA")
_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
#: ``person17_virus_48``: the patient, and what the pneumonia was caused by.
_SICK = re.compile(r"(person\d+)_(bacteria|virus)(?:_.*)?", re.IGNORECASE)
#: ``IM-0115-0001`` and ``NORMAL2-IM-0023-0001-0002``: the patient, then the images.
_HEALTHY = re.compile(r"((?:NORMAL\d*-)?IM-\d+)(?:-.*)?", re.IGNORECASE)
_INFO = {
    "name": "Kermany paediatric chest radiographs",
    "licence": "CC BY 4.0; cite Kermany, Zhang, Goldbaum, Mendeley Data rscbjbr9sj",
    "uncertainty": "none: every image is labelled",
    "splits": "the official test set is kept; its 16 images of val join train",
}


@dataclass(frozen=True, kw_only=True)
class Kermany:
    """Kermany's paediatric radiographs: chest_xray/{train,val,test}/{NORMAL,PNEUMONIA} in a folder or zip archive.

    The finding is Pneumonia; the column ``subtype`` says bacteria, virus or normal. Patient keys come from the file
    names, whose numbers begin anew in test. Val, 16 images, joins train and is cut again by patient; the column
    ``official`` keeps the split as published.
    """

    examples: ClassVar[tuple[str, ...]] = ("--images chest_xray.zip --size 224 --out data/kermany",)

    images: Annotated[str, "folder or zip archive that holds chest_xray, at any depth", "PATH"]

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List every image of the six folders.

        Raises:
            InputError: the path is missing, holds none of the folders, or one twice; or a file name tells no patient.
        """
        tree = Tree(self.images)
        places: dict[str, str] = {}
        for name in tree.names():
            image = "/".join(name.split("/")[-3:])
            if _is_image(image) and (other := places.setdefault(image, name)) != name:
                mend = "leave one of them, or point --images at the folder that is meant"
                raise InputError(tree.path, "an image may be there once", f"{other!r} and {name!r}", mend)
        rows = [_row(image, tree.path) for image in places]
        labels = np.array([[row["subtype"] != "normal"] for row in rows], dtype=np.float32).reshape(-1, 1)
        files = [tree.ref(name) for name in places.values()]
        listing = Listing(rows, files, KERMANY_FINDINGS, labels, 8, _INFO, refused=tree.left_out)
        return require_images(listing, f"{tree.path} (train, val or test / NORMAL or PNEUMONIA)")


def _is_image(image: str) -> bool:
    parts = image.split("/")
    inside = len(parts) == 3 and parts[0] in _SPLITS and parts[1] in _CLASSES
    return inside and PurePosixPath(image).suffix.lower() in _SUFFIXES


def _row(image: str, where: object) -> Mapping[str, str]:
    official, kind, file = image.split("/")
    match = (_SICK if kind == "PNEUMONIA" else _HEALTHY).fullmatch(PurePosixPath(file).stem)
    if match is None:
        wanted = "person17_virus_48" if kind == "PNEUMONIA" else "IM-0115-0001"
        raise InputError(f"{where} image {image!r}", f"needs a name like {wanted}", repr(file), "rename or remove it")
    return {
        "image": image,
        # val was taken out of train, whose numbers it shares; test counts anew
        "patient_id": f"{'test' if official == 'test' else 'train'}-{match[1]}",
        "view": "AP",
        "split": "test" if official == "test" else "train",
        "source": "real",
        "official": official,
        "subtype": match[2].lower() if kind == "PNEUMONIA" else "normal",
    }

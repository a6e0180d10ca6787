"""Radiographs without labels: what a trained classifier is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.readers import IMAGE_SUFFIXES
from monai_cxraug.data.sources.listing import Listing, Progress, in_colour, require_images
from monai_cxraug.data.sources.options import Colour


@dataclass(frozen=True, kw_only=True)
class Images:
    """Radiographs without labels: what a trained classifier is asked about."""

    examples: ClassVar[tuple[str, ...]] = ("--images radiographs/ --out data/radiographs",)

    images: Annotated[str, "folder (searched to any depth), zip archive, or a single image file", "PATH"]
    colour: Colour = False

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List every image file: rows without findings, split or patient; ``image`` is the relative name.

        Raises:
            InputError: the path is missing or holds no image.
        """
        path = Path(self.images)
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            names, files, left_out = [path.name], [FileRef(path)], {}
        else:
            tree = Tree(path)
            # DICOM exports often name their files without a suffix
            names = [name for name in tree.names() if PurePosixPath(name).suffix.lower() in {*IMAGE_SUFFIXES, ""}]
            files, left_out = [tree.ref(name) for name in names], tree.left_out
        rows = [{"image": name, "source": "real"} for name in names]
        labels = np.zeros((len(rows), 0), dtype=np.float32)
        info = {"name": "unlabelled radiographs"}
        listing = Listing(rows, files, (), labels, 16, info, refused=left_out)
        return require_images(in_colour(listing, self.colour), path)

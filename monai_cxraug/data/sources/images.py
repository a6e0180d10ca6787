"""Radiographs without labels: what a trained classifier is asked about."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.readers import IMAGE_SUFFIXES
from monai_cxraug.data.sources.listing import Listing, require_images


def list_images(images: Path) -> Listing:
    """List every DICOM, PNG or JPEG file.

    Args:
        images: folder (searched to any depth), zip archive, or a single image file.

    Returns:
        Rows without findings, split or patient; ``image`` is the relative name.

    Raises:
        InputError: the path is missing or holds no image.
    """
    if images.is_file() and images.suffix.lower() in IMAGE_SUFFIXES:
        names, files = [images.name], [FileRef(images)]
    else:
        tree = Tree(images)
        # DICOM exports often name their files without a suffix
        names = [name for name in tree.names() if PurePosixPath(name).suffix.lower() in {*IMAGE_SUFFIXES, ""}]
        files = [tree.ref(name) for name in names]
    rows = [{"image": name, "source": "real"} for name in names]
    labels = np.zeros((len(rows), 0), dtype=np.float32)
    return require_images(Listing(rows, files, (), labels, 16, {"name": "unlabelled radiographs"}), images)

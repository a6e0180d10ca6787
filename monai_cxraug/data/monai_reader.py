"""Our reader as MONAI knows readers: for ``LoadImaged(keys, reader=RadiographReader())``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from monai_cxraug.data.readers import IMAGE_SUFFIXES, DicomPolicy, Radiograph, read_colour, read_radiograph
from monai_cxraug.errors import InputError

_NO_CHANNEL: Final = "no_channel"


class RadiographReader(ImageReader):
    """Read DICOM, NIfTI, PNG, JPEG and TIFF as float32 ``[H, W]`` or ``[H, W, 3]`` in [0, 1], row 0 at the top.

    The metadata hold size, spacing, how the brightness came about, and the view, sex and age of the image; no name,
    birth date or identifier.

    Args:
        policy: what to do with DICOM images that may not belong into a set of chest radiographs, as a
            :class:`DicomPolicy` or as its fields; an image that it drops or quarantines is an error here.
        colour: keep red, green and blue; without it, colour becomes grey.
    """

    def __init__(self, policy: DicomPolicy | Mapping[str, Any] | None = None, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour
        self.policy = policy if isinstance(policy, DicomPolicy) else DicomPolicy(**(policy or {}))

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Tell whether every file may be a radiograph by its name; DICOM exports often have no suffix."""
        return all(PurePath(name).suffix.lower() in {*IMAGE_SUFFIXES, ""} for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Radiograph | InputError]:
        """Decode one or several files, or keep the reason why one cannot be.

        When this raises, MONAI's loader tries its other readers, which show what was refused here: :meth:`get_data`
        raises instead.
        """
        return [self._read(Path(name)) for name in ensure_tuple(data)]

    def _read(self, path: Path) -> Radiograph | InputError:
        try:
            return (read_colour if self.colour else read_radiograph)(path, policy=self.policy)
        except InputError as error:
            return error

    def get_data(self, img: Sequence[Radiograph | InputError]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return pixels and metadata.

        Returns:
            float32 ``[H, W]``, in colour ``[H, W, 3]``; of several files with an axis more, ``[N, H, W]``, and with the
            metadata of the first.

        Raises:
            InputError: a file is missing, broken or no radiograph, or the policy leaves it out.
        """
        radiographs = [_require_radiograph(one) for one in img]
        metadata = describe(radiographs[0])
        if len(radiographs) == 1:
            return radiographs[0].pixels, metadata
        metadata[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
        return np.stack([radiograph.pixels for radiograph in radiographs]), metadata


def _require_radiograph(found: Radiograph | InputError) -> Radiograph:
    if isinstance(found, InputError):
        raise found
    return found


def describe(radiograph: Radiograph) -> dict[str, Any]:
    """Return the metadata of an image: nothing here names a person."""
    spacing = radiograph.spacing or (radiograph.aspect, 1.0)
    affine = np.diag([*spacing, 1.0, 1.0])
    return {
        MetaKeys.ORIGINAL_CHANNEL_DIM: _NO_CHANNEL if radiograph.stored.ndim == 2 else -1,
        MetaKeys.SPATIAL_SHAPE: np.asarray(radiograph.stored.shape[:2]),
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        "greyscale": radiograph.greyscale,
        "bits": radiograph.bits,
        **radiograph.tags,
    }

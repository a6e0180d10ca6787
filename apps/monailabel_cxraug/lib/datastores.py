"""Where radiographs come from: a local folder, or the radiographs of a DICOMweb server."""

from __future__ import annotations

from typing import Any, Final

import requests
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore

from monai_cxraug.data.readers import IMAGE_SUFFIXES
from monai_cxraug.errors import InputError

#: what radiography systems call their series.
MODALITIES: Final = ("DX", "CR")
#: name patterns of a folder's images; file systems tell small letters from large ones.
PATTERNS: Final = tuple(
    f"*{spelt}" for suffix in [*sorted(IMAGE_SUFFIXES - {".gz"}), ".nii.gz"] for spelt in (suffix, suffix.upper())
)


def open_folder(path: str) -> LocalDatastore:
    """Return the store of a folder's images; the image of ``a/b.png`` in ``a`` is called ``b``."""
    auto_reload, read_only = settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD, settings.MONAI_LABEL_DATASTORE_READ_ONLY
    return LocalDatastore(path, extensions=PATTERNS, auto_reload=auto_reload, read_only=read_only)


class RadiographSeries(DICOMWebDatastore):  # type: ignore[misc]
    """Series of radiographs on a DICOMweb server; an image's id is its SeriesInstanceUID.

    MONAI Label's own store looks for one modality, by default CT, remembers what it found for two hours, and converts
    what it fetches to NIfTI, which loses the greyscale transformations.

    Args:
        client: DICOMweb client.
        cache_path: folder to keep fetched files in; default MONAI Label's, in the user's home.
    """

    def __init__(self, client: Any, cache_path: str | None) -> None:
        super().__init__(client, search_filter={}, cache_path=cache_path, convert_to_nifti=False)

    def list_images(self) -> list[str]:
        """Ask the server for its series of radiographs.

        Returns:
            Their SeriesInstanceUIDs; of what a server answers beside the question, none.
        """
        found = [
            one for wanted in MODALITIES for one in self._client.search_for_series(search_filters={"Modality": wanted})
        ]
        return [one["0020000E"]["Value"][0] for one in found if _first(one, "00080060") in MODALITIES]

    def get_image_uri(self, image_id: str) -> str:
        """Fetch a series, unless it was fetched before, and return its folder.

        Raises:
            InputError: the server does not have it, or does not answer.
        """
        try:
            folder: str = super().get_image_uri(image_id)
        except (IndexError, KeyError):
            mend = "/datastore/?output=all lists them"
            raise InputError("image", "must be a series on the DICOMweb server", image_id, mend) from None
        except requests.RequestException as error:
            found = type(error).__name__
            raise InputError(self.name(), "the DICOMweb server must answer", found, "is it running?") from None
        return folder


def _first(series: dict[str, Any], tag: str) -> str | None:
    values = series.get(tag, {}).get("Value", [None])
    return None if values[0] is None else str(values[0])

"""The greyscale pipeline of DICOM as a transform, for clients that load pixels with a loader of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, get_args

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_numpy

from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.transforms.functional.attributes import first, read_rules
from monai_cxraug.transforms.functional.greyscale import render
from monai_cxraug.transforms.functional.metadata import MetadataAttributes

Stage = Literal["modality", "stored"]
Photometric = Literal["MONOCHROME1", "MONOCHROME2"]
_PHOTOMETRIC: Final[tuple[Photometric, ...]] = get_args(Photometric)
_STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
#: Key of the metadata that says how the brightness came about, and so that it has.
GREYSCALE: Final = "greyscale"


class RadiographGreyscale(Transform):
    """Map pixels to brightness in [0, 1]: VOI LUT, window or percentiles, inversion of MONOCHROME1, padding.

    An image whose metadata says that it was done, as our reader's do, stays as it is.

    Args:
        stage: what the pixels are: ``"modality"`` values after rescale, as MONAI's and MONAI Deploy's loaders give
            them, or ``"stored"`` ones.
        photometric: Photometric Interpretation where the metadata have none. Without it, black and white could be
            exchanged, and such metadata are refused (``PydicomReader`` keeps all with ``prune_metadata=False``).

    Raises:
        ConfigError: another stage or photometric interpretation.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 - MONAI's own way to declare it

    def __init__(self, stage: Stage = "modality", photometric: Photometric | None = None) -> None:
        _require("stage", stage, _STAGES)
        if photometric is not None:
            _require("photometric", photometric, _PHOTOMETRIC)
        self.stage, self.photometric = stage, photometric

    def __call__(self, image: NdarrayOrTensor, metadata: Mapping[str, Any] | None = None) -> NdarrayOrTensor:
        """Map one image.

        Args:
            image: any shape.
            metadata: DICOM attributes by keyword or tag; default the image's own.

        Returns:
            The same kind of array, float32 in [0, 1].

        Raises:
            InputError: the metadata do not say what black is, or contradict the pixels or themselves.
        """
        own = image.meta if isinstance(image, MetaTensor) else {}
        metadata = own if metadata is None else metadata
        if metadata.get(GREYSCALE) or own.get(GREYSCALE):
            return image
        attributes = MetadataAttributes(metadata)
        photometric = first(attributes, "PhotometricInterpretation") or self.photometric
        if photometric not in _PHOTOMETRIC:
            mend = "keep the loader's metadata, or set photometric"
            raise InputError("metadata", f"must say {' or '.join(_PHOTOMETRIC)}", photometric or "nothing", mend)
        rules = replace(read_rules(attributes), inverted=photometric == "MONOCHROME1")
        shown, choice = render(rules, convert_to_numpy(image), self.stage == "stored")
        result, *_ = convert_to_dst_type(shown, image, dtype=shown.dtype)
        if isinstance(result, MetaTensor):
            result.meta[GREYSCALE] = choice
        return result


def _require(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(name, f"must be {' or '.join(allowed)}", repr(value), nearest(str(value), allowed))


class RadiographGreyscaled(MapTransform):
    """Dictionary version of :class:`RadiographGreyscale`.

    Args:
        keys: images.
        stage: see :class:`RadiographGreyscale`.
        photometric: likewise.
        meta_key_postfix: metadata of an image that is no MetaTensor lie under its key with this ending.
        allow_missing_keys: whether an absent key is no error.
    """

    backend = RadiographGreyscale.backend

    def __init__(
        self,
        keys: KeysCollection,
        stage: Stage = "modality",
        photometric: Photometric | None = None,
        meta_key_postfix: str = "meta_dict",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.greyscale = RadiographGreyscale(stage, photometric)
        self.meta_key_postfix = meta_key_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map the images of a sample."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.greyscale(sample[key], sample.get(f"{key}_{self.meta_key_postfix}"))
        return sample

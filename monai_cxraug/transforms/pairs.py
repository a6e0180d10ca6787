"""What array, dictionary and random transforms have in common, in MONAI's manner."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, Protocol

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError

_BACKEND = [TransformBackends.TORCH]
#: side of the image that settings are tried on.
_TRIAL: Final = 32
_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


class ImageTransform(Transform):
    """Array transform of one image, or of a batch on any device.

    A subclass names the function of tensors that it calls, whose first argument is the image; the others are settings.

    Args:
        settings: those of the function; wrong ones are refused at once.

    Raises:
        ConfigError: a setting is out of range.
    """

    backend = _BACKEND
    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor]) -> None:
        super().__init_subclass__()
        cls.function = staticmethod(function)
        _sign(cls, _settings(function)[1:])

    def __init__(self, *settings: Any, **named: Any) -> None:
        bound = inspect.signature(type(self)).bind(*settings, **named)
        bound.apply_defaults()
        self.settings: dict[str, Any] = dict(bound.arguments)
        with suppress(InputError):  # of the size of this image, which says nothing about the settings
            self.function(torch.zeros(_TRIAL, _TRIAL), **self.settings)

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Change an image, or a batch.

        Args:
            image: floating point in [0, 1] or uint8, ``[..., H, W]``: an array, a tensor or a ``MetaTensor``.

        Returns:
            The same kind, shape and type, metadata kept.

        Raises:
            InputError: another type, or an image too small.
        """
        changed = self.function(convert_to_tensor(image, track_meta=False), **self.settings)
        result: NdarrayOrTensor = convert_to_dst_type(changed, image)[0]
        return result


class ImageTransformd(MapTransform):
    """Dictionary version of an array transform, whose settings follow the keys.

    Args:
        keys: images.
        settings: those of the array version.
        allow_missing_keys: whether an absent key is no error.
    """

    backend = _BACKEND
    array: ClassVar[type[ImageTransform]]

    def __init_subclass__(cls, array: type[ImageTransform]) -> None:
        super().__init_subclass__()
        cls.array = array
        _sign(cls, [_required("keys"), *_settings(array), _optional("allow_missing_keys", False)])

    def __init__(self, keys: KeysCollection, *settings: Any, allow_missing_keys: bool = False, **named: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = self.array(*settings, **named)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images of a sample."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.transform(sample[key])
        return sample


class RandImageTransform(RandomizableTransform):
    """Applies an array transform with a probability, and with settings drawn at random.

    A setting that is given as a pair ``(low, high)`` is drawn uniformly between the two, each time anew; others are
    taken as they are. ``set_random_state(seed)`` makes the draws repeat. A batch is changed as a whole, by one draw.

    Args:
        prob: probability of being applied.
        settings: those of the array transform.

    Raises:
        ConfigError: an end of a range is out of the setting's range, or a pair is out of order.
    """

    backend = _BACKEND
    array: ClassVar[type[ImageTransform]]
    ranges: ClassVar[Mapping[str, tuple[float, float]]]

    def __init_subclass__(cls, array: type[ImageTransform], **ranges: tuple[float, float]) -> None:
        super().__init_subclass__()
        cls.array, cls.ranges = array, ranges
        settings = [
            one.replace(default=ranges.get(one.name, one.default), kind=inspect.Parameter.KEYWORD_ONLY)
            for one in _settings(array)
        ]
        _sign(cls, [_optional("prob", 0.1), *settings])

    def __init__(self, prob: float = 0.1, **settings: Any) -> None:
        super().__init__(prob)
        self.settings = {**self.ranges, **settings}
        for end in (0, 1):  # errors are of the configuration, not of the draw
            self.array(**{name: _end(type(self).__name__, name, value, end) for name, value in self.settings.items()})
        self.drawn: dict[str, Any] = {}

    def randomize(self, data: Any = None) -> None:
        """Draw whether to apply, and the settings."""
        super().randomize(None)
        self.drawn = {
            name: self.R.uniform(*value) if _is_range(value) else value for name, value in self.settings.items()
        }

    def __call__(self, image: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Change an image, or a batch, perhaps.

        Args:
            image: as for the array transform.
            randomize: draw; else as drawn last.
        """
        if randomize:
            self.randomize()
        return self.array(**self.drawn)(image) if self._do_transform else image


class RandomArray(Protocol):
    """A random array transform, made of a probability and settings."""

    def __call__(self, image: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Change an image; draw first, or change it as drawn last."""

    def randomize(self) -> None:
        """Draw."""

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Any:
        """Seed the draws."""


class RandImageTransformd(RandomizableTransform, MapTransform):
    """Dictionary version of a random transform: one draw for all images of a sample.

    Args:
        keys: images.
        prob: probability of being applied.
        settings: those of the array version.
        allow_missing_keys: whether an absent key is no error.
    """

    backend = _BACKEND
    array: ClassVar[Callable[..., RandomArray]]

    def __init_subclass__(cls, array: Callable[..., RandomArray]) -> None:
        super().__init_subclass__()
        cls.array = staticmethod(array)
        prob, *settings = _settings(array)
        settings = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in settings]
        _sign(cls, [_required("keys"), prob, _optional("allow_missing_keys", False), *settings])

    def __init__(
        self, keys: KeysCollection, prob: float | None = None, allow_missing_keys: bool = False, **settings: Any
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.transform = self.array(**({} if prob is None else {"prob": prob}), **settings)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandImageTransformd:
        """Seed the draws."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images of a sample, all alike, perhaps."""
        sample = dict(data)
        self.transform.randomize()
        for key in self.key_iterator(sample):
            sample[key] = self.transform(sample[key], randomize=False)
        return sample


def _is_range(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _end(where: str, name: str, value: Any, end: int) -> Any:
    if not _is_range(value):
        return value
    if not value[0] <= value[1]:
        raise ConfigError(f"{where}({name})", "a range must be in order", list(value), "swap the two")
    return value[end]


# --- signatures, which say what a configuration may set ---


def _settings(made: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(made).parameters.values())


def _required(name: str) -> inspect.Parameter:
    return inspect.Parameter(name, _NAMED)


def _optional(name: str, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, _NAMED, default=default)


def _sign(made: type, parameters: list[inspect.Parameter]) -> None:
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature

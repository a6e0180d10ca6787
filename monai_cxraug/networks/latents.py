"""Latent vectors: the one home for drawing them, so that training and sampling cannot drift apart.

Training draws from a generator that moves on (:func:`sample_latent`). Sampling draws by counter: the numbers of image k
are a function of (seed, k), read from their own place in a stream of Philox 4x64-10 (Salmon et al., *Parallel random
numbers: as easy as 1, 2, 3*, SC 2011), whose words numpy promises to keep from version to version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError

EPSILON = 1e-8
#: streams of one seed, independent of each other: latents, label vectors, candidates for truncation's centre, codes.
LATENTS, LABELS, CENTRE, CODES = range(4)
#: 64-bit words that one value of Philox's counter gives.
_BLOCK = 4


def normalise_latent(latent: Tensor) -> Tensor:
    """Put latents on the hypersphere of radius sqrt(size), as in Karras et al. 2017, appendix A.1.

    Args:
        latent: ``[N, size]``, any finite values.

    Returns:
        ``[N, size]``, each row with mean square 1. Applying it twice changes nothing.
    """
    return latent * torch.rsqrt(latent.square().mean(dim=1, keepdim=True) + EPSILON)


def sample_latent(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw latents uniformly from the hypersphere, for training.

    Args:
        n: how many.
        size: length of one latent.
        generator: source of randomness; the result lies on its device.

    Returns:
        float32 ``[n, size]``, each row with mean square 1.
    """
    return normalise_latent(torch.randn(n, size, generator=generator, device=generator.device))


def draw_uniform(seed: int, start: int, n: int, size: int, stream: int) -> NDArray[np.float64]:
    """Draw the uniform numbers of images ``start`` to ``start + n - 1``.

    Args:
        seed: from 0 to 2^64 - 1.
        start: number of the first image, at least 0.
        n: number of images.
        size: numbers per image.
        stream: which of the seed's streams.

    Returns:
        ``[n, size]`` in (0, 1], multiples of 2^-53. Row i is a function of (seed, stream, size, start + i) alone.
    """
    blocks = -(-size // _BLOCK)
    words = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=start * blocks)
    raw = np.asarray(words.random_raw(n * blocks * _BLOCK), dtype=np.uint64).reshape(n, -1)[:, :size]
    return ((raw >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def draw_latents(seed: int, start: int, n: int, size: int, stream: int = LATENTS) -> Tensor:
    """Draw the latents of images ``start`` to ``start + n - 1`` uniformly from the hypersphere.

    Normal numbers come from pairs of uniform ones (Box and Muller 1958), which always takes equally many of them.

    Args:
        seed: from 0 to 2^64 - 1.
        start: number of the first image, at least 0.
        n: number of images.
        size: length of one latent.
        stream: which of the seed's streams.

    Returns:
        float32 ``[n, size]`` on the CPU, each row with mean square 1. Row i is a function of (seed, start + i) alone.
    """
    pairs = draw_uniform(seed, start, n, size + size % 2, stream).reshape(n, -1, 2)  # [n, size / 2, 2]
    radius, angle = np.sqrt(-2.0 * np.log(pairs[..., 0])), 2.0 * np.pi * pairs[..., 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(n, -1)[:, :size]
    return normalise_latent(torch.from_numpy(normal)).float()


def move_towards(latents: Tensor, centre: Tensor, share: float) -> Tensor:
    """Move latents along great circles of the hypersphere towards a centre.

    Args:
        latents: ``[N, size]``, each row with mean square 1.
        centre: ``[size]``, mean square 1.
        share: of each angle to the centre that stays: 1 changes nothing, 0 puts every latent on the centre.

    Returns:
        ``[N, size]``, each row with mean square 1.
    """
    cosine = (latents * centre).mean(dim=1, keepdim=True).clamp(-1.0, 1.0)  # [N, 1]
    away = normalise_latent(latents - cosine * centre)  # directions at a right angle to the centre
    angle = share * torch.acos(cosine)
    return normalise_latent(torch.cos(angle) * centre + torch.sin(angle) * away)


# --- latents with codes ---


@dataclass(frozen=True)
class Layout:
    """What the numbers of a latent are: noise, then categorical codes (one-hot), then continuous ones.

    Noise lies on the hypersphere. Codes are what a network is to find again in its images (Chen et al. 2016, InfoGAN,
    arXiv 1606.03657): categories equally likely, continuous codes uniform in [-1, 1]. A network that takes codes has
    its ``layout``; any other takes ``latent_size`` numbers of noise.

    Args:
        noise: numbers of noise, at least 1.
        categories: choices of each categorical code, at least 2 each.
        continuous: number of continuous codes.

    Raises:
        ConfigError: a number is out of range.
    """

    noise: int
    categories: tuple[int, ...] = ()
    continuous: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("noise", self.noise, 1),
            *(("categories", choices, 2) for choices in self.categories),
            ("continuous", self.continuous, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"latents ({name})", f"must be whole numbers of at least {least}", repr(value))

    @property
    def size(self) -> int:
        """Numbers in a latent."""
        return self.noise + self.code_size

    @property
    def code_size(self) -> int:
        """Numbers in a latent that are codes."""
        return sum(self.categories) + self.continuous

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw latents ``[n, size]`` for training, from a generator that moves on; see :func:`sample_latent`."""
        noise = sample_latent(n, self.noise, generator)
        if not self.code_size:
            return noise
        given: dict[str, Any] = {"generator": generator, "device": generator.device}
        chosen = [torch.randint(choices, (n,), **given) for choices in self.categories]
        return self._join(noise, chosen, torch.rand(n, self.continuous, **given) * 2 - 1)

    def draw(self, seed: int, start: int, n: int, stream: int = LATENTS) -> Tensor:
        """Draw the latents ``[n, size]`` of images ``start`` to ``start + n - 1``, by counter.

        Args:
            seed: as of :func:`draw_latents`.
            start: as there.
            n: as there.
            stream: of the noise; codes have one of their own.
        """
        noise = draw_latents(seed, start, n, self.noise, stream)
        if not self.code_size:
            return noise
        uniform = draw_uniform(seed, start, n, len(self.categories) + self.continuous, CODES)  # in (0, 1]
        columns = torch.from_numpy(uniform).unbind(1)
        chosen = [(u * k).ceil().long() - 1 for u, k in zip(columns, self.categories, strict=False)]
        rest = uniform[:, len(self.categories) :]
        return self._join(noise, chosen, torch.from_numpy(2 * rest - 1).float())

    def parts(self, latents: Tensor) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        """Cut ``[N, size]`` into noise ``[N, noise]``, one-hot codes ``[N, choices]`` each, and continuous ones."""
        noise, *codes, continuous = latents.split([self.noise, *self.categories, self.continuous], dim=1)
        return noise, codes, continuous

    def normalise(self, latents: Tensor) -> Tensor:
        """Put the noise of latents ``[N, size]`` on the hypersphere; codes stay."""
        return self._renew(latents, normalise_latent(latents[:, : self.noise]))

    def towards(self, latents: Tensor, centre: Tensor, share: float) -> Tensor:
        """Move the noise of latents ``[N, size]`` towards that of a centre ``[size]``; codes stay.

        See :func:`move_towards`.
        """
        return self._renew(latents, move_towards(latents[:, : self.noise], centre[: self.noise], share))

    def fix(self, latents: Tensor, codes: Mapping[str, float]) -> Tensor:
        """Set codes of latents ``[N, size]``.

        Args:
            latents: to be changed; they themselves stay.
            codes: by the names in :attr:`names`: the number of a category, counted from 0, or a continuous code.

        Raises:
            ConfigError: no such code, or no such category.
        """
        fixed = latents.clone()
        for name, value in codes.items():
            where, choices = self._place(name)
            if not choices:
                fixed[:, where] = float(value)
                continue
            if value != int(value) or not 0 <= value < choices:
                raise ConfigError(f"code {name!r}", f"must be a whole number from 0 to {choices - 1}", value)
            fixed[:, where] = F.one_hot(torch.tensor(int(value)), choices).to(fixed)
        return fixed

    @property
    def names(self) -> list[str]:
        """Names of the codes: ``category1``, ..., ``code1``, ..."""
        kinds = (("category", len(self.categories)), ("code", self.continuous))
        return [f"{kind}{number + 1}" for kind, count in kinds for number in range(count)]

    def choices(self, name: str) -> int:
        """Number of categories of a code, 0 of a continuous one.

        Raises:
            ConfigError: no such code.
        """
        return self._place(name)[1]

    def _place(self, name: str) -> tuple[slice, int]:
        """Where a code lies in a latent, and its number of choices."""
        if name not in self.names:
            raise ConfigError(
                "code", f"must be one of {', '.join(self.names) or 'none: this network has no codes'}", name
            )
        sizes = [*self.categories, *[1] * self.continuous]
        number = self.names.index(name)
        first = self.noise + sum(sizes[:number])
        is_category = number < len(self.categories)
        return slice(first, first + sizes[number]), sizes[number] if is_category else 0

    def _join(self, noise: Tensor, chosen: Sequence[Tensor], continuous: Tensor) -> Tensor:
        hot = [F.one_hot(one, choices).to(noise) for one, choices in zip(chosen, self.categories, strict=True)]
        return torch.cat([noise, *hot, continuous], dim=1)

    def _renew(self, latents: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([noise, latents[:, self.noise :]], dim=1) if self.code_size else noise


def layout_of(network: Any) -> Layout:
    """What the latents of a generator network are made of: its ``layout``, or ``latent_size`` numbers of noise."""
    given: Layout | None = getattr(network, "layout", None)
    return Layout(network.latent_size) if given is None else given

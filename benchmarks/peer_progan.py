"""The peer `pro-gan-pth` 3.4 on today's torch: patched from outside, its files and its way of training left alone.

Written for torch 1.10, it needs four patches; each names what retires it, which is a release that no longer needs it:

- a torchvision built for another torch refuses to be imported, for want of two operators that nothing here calls;
- ``nf`` asks ``np.clip`` of a plain number for ``.item()``, and its widths cannot be set;
- the forward of its transposed convolution gives the builtin ``input`` to a method of torch that now looks at it;
- its Adam has ``betas=(0, 0.99)``, and torch wants both to be floats.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: the images of its networks lie in [-1, 1].
RANGE = (-1.0, 1.0)
#: declared operators live as long as the library that declared them.
_LIBRARIES: list[torch.library.Library] = []


@dataclass(frozen=True)
class Peer:
    """Its networks, loss and optimisers, and one training iteration as its own loop takes it.

    Args:
        gan: its ``ProGAN``: ``gen``, ``dis`` and the averaged ``gen_shadow``.
        loss: its ``WganGP``.
        optimisers: of the generator and of the discriminator.
        average: its ``update_average(target, source, beta)``.
    """

    gan: Any
    loss: Any
    optimisers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    average: Callable[[Any, Any, float], None]

    def step(self, real: Tensor, depth: int, alpha: float, latents: Tensor | None = None) -> None:
        """One critic step, the average, one generator step, in the order of its ``ProGAN.train``.

        Args:
            real: ``[N, C, R, R]`` in [-1, 1] at full resolution; N a multiple of 4 (or below), as it demands.
            depth: binary logarithm of the resolution in training.
            alpha: weight of the newest stage.
            latents: normal ``[N, latent_size]``; drawn anew when not given.
        """
        gan, (g_optimiser, d_optimiser) = self.gan, self.optimisers
        latents = torch.randn(len(real), gan.latent_size).to(gan.device) if latents is None else latents
        gan.optimize_discriminator(self.loss, d_optimiser, latents, real, depth, alpha)
        self.average(gan.gen_shadow, gan.gen, gan.ema_beta)
        gan.optimize_generator(self.loss, g_optimiser, latents, real, depth, alpha)

    @torch.no_grad()
    def sample(self, latents: Tensor, depth: int, alpha: float) -> Tensor:
        """The averaged generator's images ``[N, C, r, r]`` in [0, 1] from normal latents ``[N, size]``."""
        images = self.gan.gen_shadow(latents.to(self.gan.device), depth, alpha)
        return (images / 2 + 0.5).clamp(0.0, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """States of the three networks and two optimisers; torch's random state aside."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        gan, (g_optimiser, d_optimiser) = self.gan, self.optimisers
        networks = {"generator": gan.gen, "discriminator": gan.dis, "average": gan.gen_shadow}
        return {**networks, "g_optimizer": g_optimiser, "d_optimizer": d_optimiser}


def peer_version() -> str:
    """Its name and installed version."""
    return f"pro-gan-pth {version('pro-gan-pth')}"


def make_peer(
    resolution: int,
    channels: int = 1,
    latent_size: int = 128,
    fmap_base: int = 2048,
    fmap_max: int = 128,
    learning_rate: float = 3e-3,
    device: str = "cpu",
) -> Peer:
    """Build the peer with widths ``min(fmap_base / 2^stage, fmap_max)``, the discriminator's last layer included.

    Args:
        resolution: side of the images, a power of two from 8 on.
        channels: of an image.
        latent_size: length of a latent.
        fmap_base: width of stage 0.
        fmap_max: largest width.
        learning_rate: of both Adams; its own default (the paper's is 1e-3).
        device: where it trains.
    """
    networks, layers = _patched(fmap_base, fmap_max)
    from pro_gan_pytorch.gan import ProGAN
    from pro_gan_pytorch.losses import WganGP

    depth = resolution.bit_length() - 1
    with contextlib.redirect_stdout(io.StringIO()):  # it prints both networks
        gan = ProGAN(
            networks.Generator(depth, channels, latent_size),
            networks.Discriminator(depth, channels, latent_size=fmap_max),
            # it wraps networks on "cuda" into DataParallel, which one device does not need and only slows
            torch.device("cuda:0" if device == "cuda" else device),
        )
    g_optimiser, d_optimiser = (
        torch.optim.Adam(net.parameters(), lr=learning_rate, betas=(0.0, 0.99), eps=1e-8) for net in (gan.gen, gan.dis)
    )
    return Peer(gan, WganGP(), (g_optimiser, d_optimiser), layers.update_average)


def _patched(fmap_base: int, fmap_max: int) -> tuple[Any, Any]:
    """Its modules ``networks`` and ``custom_layers``, patched."""
    _declare_operators()
    import pro_gan_pytorch.custom_layers as layers
    import pro_gan_pytorch.networks as networks

    networks.nf = lambda stage: min(max(fmap_base >> stage, 1), fmap_max)
    layers.EqualizedConvTranspose2d.forward = _transposed
    return networks, layers


def _transposed(self: Any, x: Tensor, output_size: Any = None) -> Tensor:
    """Its own forward, without the output padding that it never asks for."""
    weight = self.weight * self.scale
    args = self.stride, self.padding, self.output_padding, self.groups, self.dilation
    return torch.conv_transpose2d(x, weight, self.bias, *args)


def _declare_operators() -> None:
    """Declare the operators that torchvision's own library would bring, where that library does not fit this torch."""
    if _LIBRARIES or _loads_operators():
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    library.define("qnms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    _LIBRARIES.append(library)


def _loads_operators() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise SystemExit("benchmarks: the peer needs torchvision; see benchmarks/requirements-gan-nodeps.txt")
    try:
        for file in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(file))
    except (ImportError, OSError):
        return False
    return hasattr(torch.ops.torchvision, "nms")

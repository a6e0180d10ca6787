"""One training iteration of the progressive GAN against pro-gan-pth, side by side.

    make bench-gan                                   # every row, on the device at hand
    make bench-gan ARGS="--sizes 32 64 --rounds 5"

An iteration is a discriminator step with gradient penalty, a generator step and the average, at the full resolution of
networks of equal widths (base 2048, max 128), latents of 128 and images on the device. ``lazy-r1`` is another algorithm
(the non-saturating loss with R1 in every 16th step) for the same purpose, and has a row of its own. Both sides run in
this process in turn; a row holds medians.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import torch
from harness import Row, faster, finish, race
from peer_progan import make_peer, peer_version
from torch import Tensor

LATENT, BASE, MOST = 128, 2048, 128
#: images a batch, by resolution.
BATCH = {32: 16, 64: 16, 128: 8, 256: 8, 512: 4}
#: the speed-up wanted on a CPU, by kind and resolution.
_BOUNDS = {
    ("fp32", 32): 1.5,
    ("fp32", 64): 1.8,
    ("fp32", 128): 1.8,
    ("bf16", 32): 2.8,
    ("bf16", 64): 3.3,
    ("bf16", 128): 3.3,
    ("lazy-r1 bf16", 64): 5.0,
}
_GPU_BOUNDS = {("bf16", 128): 3.0}
_LAZY = 16


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], help="resolutions (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each side (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    topic = "gan" if args.device == "cpu" else f"gan-{args.device}"
    finish(topic, list(_rows(args.sizes, args.rounds, args.device)))


def _rows(sizes: list[int], rounds: int, device: str) -> Iterator[Row]:
    bounds = _BOUNDS if device == "cpu" else _GPU_BOUNDS
    for kind, size in itertools.product(("fp32", "bf16", "lazy-r1 bf16"), sizes):
        if kind.startswith("lazy") and size != 64:
            continue
        steps = _LAZY if kind.startswith("lazy") else 1
        real = torch.rand(BATCH[size], 1, size, size, device=device)
        ours = _repeat(_ours(real, kind, device), steps, device)
        peer = _repeat(_peer(real, device), steps, device)
        seconds = race(ours, peer, rounds if steps == 1 else 3)
        yield faster(f"{kind} {size} (images/s)", steps * len(real), seconds, peer_version(), bounds.get((kind, size)))


def _repeat(step: Callable[[], object], steps: int, device: str) -> Callable[[], None]:
    def run() -> None:
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _peer(real: Tensor, device: str) -> Callable[[], object]:
    size = real.shape[-1]
    peer = make_peer(size, 1, LATENT, BASE, MOST, device=device)
    images, depth = real * 2 - 1, size.bit_length() - 1
    return lambda: peer.step(images, depth, 1.0)


def _ours(real: Tensor, kind: str, device: str) -> Callable[[], object]:
    from monai_cxraug.engines.gan import ProgressiveGanTrainer
    from monai_cxraug.engines.schedule import ProgressiveSchedule
    from monai_cxraug.losses.adversarial import NonSaturatingLoss, WassersteinLoss
    from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

    size = real.shape[-1]
    generator = ProgressiveGenerator(size, LATENT, fmap_base=BASE, fmap_max=MOST).to(device)
    discriminator = ProgressiveDiscriminator(size, fmap_base=BASE, fmap_max=MOST).to(device)
    optimisers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (generator, discriminator)]
    trainer = ProgressiveGanTrainer(
        device,
        itertools.repeat({"image": real}),
        generator,
        discriminator,
        optimisers[0],
        optimisers[1],
        ProgressiveSchedule(size, 0, 1, 10**12, start_resolution=size, batch_size=len(real)),
        loss=NonSaturatingLoss(interval=_LAZY) if kind.startswith("lazy") else WassersteinLoss(),
        amp="bf16" in kind,
    )

    def step() -> None:
        trainer.state.iteration += 1
        trainer._iteration(trainer, {"image": real})

    return step


if __name__ == "__main__":
    main()

"""Our training and the peer's under one clock, with the same snapshots: what ``quality_gan.py`` runs in processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.artifacts import atomic_path, write_json
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.device_batches import DeviceBatches
from monai_cxraug.data.pack import quantise
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import AdversarialLoss, NonSaturatingLoss, WassersteinLoss
from monai_cxraug.networks.latents import normalise_latent
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SNAPSHOT_SCHEMA = "cxraug.quality_snapshot/1"
#: samples drawn at once for a snapshot; seconds between the peer's checkpoints, and its steps on one batch.
_CHUNK, _SAVE_EVERY, _REPEATS = 50, 60.0, 4

Sampler = Callable[[Tensor], Tensor]

#: losses of ours that a plan can name: the paper's, and another one whose regulariser runs in every 16th step.
LOSSES: dict[str, Callable[[], AdversarialLoss]] = {
    "wasserstein": WassersteinLoss,
    "nonsaturating": lambda: NonSaturatingLoss(r1=1.0, interval=16),
}


@dataclass(frozen=True)
class Plan:
    """What both sides are given; written once, so that a resumed run has the same.

    Args:
        manifest: of the training images, its pack beside it.
        where: columns and values that choose images, as in ``PackDataset``.
        resolution: side in pixels.
        seconds: wall-clock time that each side trains.
        snapshots: number of snapshots, evenly spaced, the last at the end.
        samples: images in a snapshot.
        phase_images: images of one of our phases (stable, fade, stable, ...), chosen so that they fill the time.
        shares: share of the time that our schedule gives each resolution, and so the peer's.
        batch_size: by resolution; the peer's own defaults.
        latent_size: of both.
        fmap_base: of both.
        fmap_max: of both.
        rate: our learning rate.
        peer_rate: the peer's.
        ema_half_life: of our averaged generator, in images.
        amp: our bfloat16.
        loss: ours, a key of ``LOSSES``; the peer's is its default, WGAN-GP.
        device: of both.
        seed: of both.
    """

    manifest: str
    where: dict[str, str]
    resolution: int
    seconds: float
    snapshots: int
    samples: int
    phase_images: int
    shares: dict[int, float]
    batch_size: dict[int, int]
    latent_size: int = 128
    fmap_base: int = 2048
    fmap_max: int = 128
    rate: float = 1e-3
    peer_rate: float = 3e-3
    ema_half_life: float = 10_000
    amp: bool = True
    loss: str = "wasserstein"
    device: str = "cpu"
    seed: int = 0

    def dataset(self) -> PackDataset:
        """The training images."""
        return PackDataset(self.manifest, "train", self.where, size=self.resolution)


class Clock:
    """Seconds of training, pauses left out, and the number of snapshots taken; both survive a kill."""

    def __init__(self) -> None:
        self.before, self.taken = 0.0, 0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds trained so far."""
        return self.before + (time.monotonic() - self._since if self._since is not None else 0.0)

    def go(self) -> None:
        """Start or go on."""
        self._since = time.monotonic()

    def pause(self) -> None:
        """Stop counting."""
        self.before, self._since = self.seconds, None

    def state_dict(self) -> dict[str, float]:
        """Seconds and snapshots."""
        return {"seconds": self.seconds, "taken": self.taken}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Load what :meth:`state_dict` gave; the clock stands."""
        self.before, self.taken, self._since = state["seconds"], int(state["taken"]), None


class Snapshots:
    """Takes a snapshot when one is due, with the clock stopped.

    Args:
        folder: where ``snapshot_00120s.npy`` and its ``.json`` go.
        plan: when and how many.
        clock: the side's own.
    """

    def __init__(self, folder: Path, plan: Plan, clock: Clock) -> None:
        self.folder, self.plan, self.clock = folder, plan, clock

    @property
    def is_over(self) -> bool:
        """Whether the last one is taken."""
        return self.clock.taken >= self.plan.snapshots

    def take_if_due(self, sample: Sampler, images_seen: int, resolution: int, alpha: float) -> bool:
        """Take one if its time has come.

        Args:
            sample: normal latents ``[N, size]`` to the averaged generator's images ``[N, 1, r, r]`` in [0, 1].
            images_seen: for the record.
            resolution: in training.
            alpha: of its stage.
        """
        due = self.plan.seconds * (self.clock.taken + 1) / self.plan.snapshots
        if self.clock.seconds < due:
            return False
        self.clock.pause()
        name = f"snapshot_{round(due):05d}s"
        images = self._draw(sample)
        with atomic_path(self.folder / f"{name}.npy") as temporary:
            np.save(temporary, images)
        facts = {"images_seen": images_seen, "resolution": resolution, "alpha": alpha}
        write_json(self.folder / f"{name}.json", SNAPSHOT_SCHEMA, {"seconds": self.clock.seconds, **facts})
        print(f"{self.folder.name}: {self.clock.seconds:.0f} s, {images_seen} images, {resolution} px", flush=True)
        self.clock.taken += 1
        self.clock.go()
        return True

    @torch.no_grad()
    def _draw(self, sample: Sampler) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """``[samples, R, R]``, pixels of an earlier stage repeated; always from the same latents."""
        drawn = torch.randn(self.plan.samples, self.plan.latent_size, generator=torch.Generator().manual_seed(1))
        parts = []
        for latents in drawn.split(_CHUNK):
            images = F.interpolate(sample(latents).float(), size=self.plan.resolution, mode="nearest")
            parts.append(quantise(images[:, 0].cpu().numpy(), 8))
        return np.concatenate(parts)


# --- ours ---


def make_schedule(plan: Plan, phase_images: int | None = None) -> ProgressiveSchedule:
    """Equal numbers of images in every phase, as published; the last stage goes on until the time is over."""
    count = plan.phase_images if phase_images is None else phase_images
    stages = plan.resolution.bit_length() - 2
    return ProgressiveSchedule(plan.resolution, count, count, 100 * stages * count, batch_size=plan.batch_size)


def make_trainer(plan: Plan, schedule: ProgressiveSchedule, loader: Any, handlers: list[Any]) -> ProgressiveGanTrainer:
    """Our trainer, as the PGGAN bundle sets it up."""
    torch.manual_seed(plan.seed)
    widths = {"fmap_base": plan.fmap_base, "fmap_max": plan.fmap_max}
    generator = ProgressiveGenerator(plan.resolution, plan.latent_size, **widths).to(plan.device)
    critic = ProgressiveDiscriminator(plan.resolution, **widths).to(plan.device)
    optimizers = (
        torch.optim.Adam(net.parameters(), lr=plan.rate, betas=(0.0, 0.99), eps=1e-8) for net in (generator, critic)
    )
    settings = {"ema_half_life": plan.ema_half_life, "amp": plan.amp, "seed": plan.seed, "epoch_length": 200}
    return ProgressiveGanTrainer(
        plan.device,
        loader,
        generator,
        critic,
        *optimizers,
        schedule,
        loss=LOSSES[plan.loss](),
        train_handlers=handlers,
        **settings,
    )


def train_ours(plan: Plan, folder: Path) -> None:
    """Train ours until the last snapshot is taken; go on from ``checkpoint.pt`` if there is one."""
    schedule, clock = make_schedule(plan), Clock()
    snapshots = Snapshots(folder, plan, clock)
    dataset = plan.dataset()
    sampler = SeededBatches(len(dataset), lambda seen: schedule.at(seen).batch_size, plan.seed)
    loader = DeviceBatches(dataset.real, sampler, plan.device)
    resume = Resume(folder / "checkpoint.pt", {"clock": clock}, sampler=sampler)
    trainer = make_trainer(plan, schedule, loader, [resume])

    def sample(latents: Tensor) -> Tensor:
        phase, generator = trainer.state.phase, trainer.ema.module
        images: Tensor = generator(normalise_latent(latents).to(plan.device), phase.resolution, phase.alpha)
        return images

    def start() -> None:
        trainer.terminate() if snapshots.is_over else clock.go()

    def look() -> None:
        phase = trainer.state.phase
        if snapshots.take_if_due(sample, trainer.state.images_seen, phase.resolution, phase.alpha):
            clock.pause()
            resume.save(trainer)
            clock.go()
        if snapshots.is_over:
            trainer.terminate()

    trainer.add_event_handler(Events.STARTED, start)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    trainer.run()


def seconds_per_image(plan: Plan, resolution: int, steps: int = 6) -> float:
    """Time our iteration at a resolution while it fades in; the first two steps warm up."""
    size, fades = plan.batch_size[resolution], resolution > 4
    start = resolution // 2 if fades else 4
    schedule = ProgressiveSchedule(resolution, 10**6, 0 if fades else 10**6, 10**8, start, size)
    images = torch.rand(size, 1, resolution, resolution)
    small = Plan(**{**vars(plan), "resolution": resolution})
    trainer = make_trainer(small, schedule, [{"image": images}], [])
    times: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: times.append(time.perf_counter()))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=steps + 2), trainer.terminate)
    trainer.run()
    return float(np.median(np.diff(times[1:]))) / size


# --- the peer ---


def train_peer(plan: Plan, folder: Path) -> None:
    """Train the peer in its own manner until the last snapshot is taken; go on from ``checkpoint.pt`` if there is one.

    As its ``ProGAN.train`` does by default: half of a stage's time fades in; a batch is used for four critic and
    generator steps with one set of latents. Only the time decides where a stage ends. Its images lie in memory.
    """
    from peer_progan import make_peer

    torch.manual_seed(plan.seed)
    widths = {"fmap_base": plan.fmap_base, "fmap_max": plan.fmap_max}
    peer = make_peer(plan.resolution, 1, plan.latent_size, **widths, learning_rate=plan.peer_rate, device=plan.device)
    clock, path = Clock(), folder / "checkpoint.pt"
    snapshots, seen = Snapshots(folder, plan, clock), 0
    if path.exists():
        seen = _load_peer(path, peer, clock)
    images, saved = _all_images(plan), clock.seconds
    batches = _batches(len(images))
    clock.go()
    while not snapshots.is_over:
        depth, alpha = peer_phase(plan, clock.seconds)
        size = plan.batch_size[2**depth]
        real = images[[next(batches) for _ in range(size)]].to(plan.device).float() / 127.5 - 1
        latents = torch.randn(size, plan.latent_size).to(plan.device)
        for _ in range(_REPEATS):
            peer.step(real, depth, alpha, latents)
            seen += size
            taken = snapshots.take_if_due(lambda z, d=depth, a=alpha: peer.sample(z, d, a), seen, 2**depth, alpha)
            if taken or clock.seconds - saved >= _SAVE_EVERY:
                clock.pause()
                _save_peer(path, peer, clock, seen)
                saved = clock.seconds
                clock.go()
            if snapshots.is_over:
                return


def peer_phase(plan: Plan, seconds: float) -> tuple[int, float]:
    """Depth (binary logarithm of the resolution) and alpha of the peer at a time; half of a stage fades in."""
    begin = 0.0
    for resolution, share in plan.shares.items():
        length = share * plan.seconds
        if seconds < begin + length or resolution == plan.resolution:
            into = (seconds - begin) / length
            return resolution.bit_length() - 1, 1.0 if resolution == 4 else min(1.0, 2 * into)
        begin += length
    raise ValueError(f"no share for {plan.resolution} px")


def _all_images(plan: Plan) -> Tensor:
    """uint8 ``[N, 1, R, R]``."""
    dataset = plan.dataset()
    return torch.stack(
        [(sample["image"] * 255).round().to(torch.uint8) for sample in map(dataset.__getitem__, range(len(dataset)))]
    )


def _batches(count: int) -> Iterator[int]:
    """Endless shuffled positions, drawn from torch's random state as its loader does."""
    while True:
        yield from torch.randperm(count).tolist()


def _save_peer(path: Path, peer: Any, clock: Clock, seen: int) -> None:
    state = {"peer": peer.state_dict(), "clock": clock.state_dict(), "seen": seen, "rng": torch.get_rng_state()}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _load_peer(path: Path, peer: Any, clock: Clock) -> int:
    state = torch.load(path, map_location="cpu", weights_only=True)
    peer.load_state_dict(state["peer"])
    clock.load_state_dict(state["clock"])
    torch.set_rng_state(state["rng"])
    return int(state["seen"])

"""A small GAN training on phantoms under ``Recovery``, with failures to plant; as a program, one that is killed.

python tests/handlers/guarded_gan.py FOLDER MOMENT
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from torch import Tensor, nn

from monai_cxraug.data.sources.phantom import render, sample_population
from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.handlers.recovery import Recovery
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import WassersteinLoss
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SIZE, BATCH = 8, 8
SCHEDULE = ProgressiveSchedule(SIZE, 40, 40, 320, batch_size={4: 4, 8: BATCH})
#: images seen before iteration 26, where a planted failure comes; with a check every 4 iterations it is noticed at 28,
#: and the checkpoint of iteration 20 is the last that was followed by a check it passed.
SICK_AT, NOTICED_AT, GOOD_AT = 160, 184, 120


class Trainer(ProgressiveGanTrainer):
    """A trainer that draws from torch's global random state too."""

    def _iteration(self, engine: Any, batchdata: Any) -> Any:
        torch.rand(1)
        return super()._iteration(engine, batchdata)


@functools.cache
def phantoms() -> Tensor:
    """``[64, 1, SIZE, SIZE]``."""
    pictures = [render(study, 2 * SIZE, 0) for study in sample_population(64, 0)[:64]]
    return nn.functional.avg_pool2d(torch.from_numpy(np.stack(pictures))[:, None], 2)


class Batches:
    """Batch k of phantoms depends on k alone."""

    skip = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k, n in enumerate(SCHEDULE.batch_sizes()):
            if k >= self.skip:
                yield {"image": phantoms()[torch.randperm(64, generator=torch.Generator().manual_seed(k))[:n]]}


def make(folder: Path, **changes: Any) -> tuple[Trainer, Recovery]:
    """A training in ``folder``; changes are settings of ``Recovery``, or ``loss``, ``rate`` and ``handlers``."""
    torch.manual_seed(0)
    loss, rate, handlers = changes.pop("loss", None), changes.pop("rate", 1e-3), changes.pop("handlers", ())
    generator = ProgressiveGenerator(SIZE, 8, fmap_base=32, fmap_max=8)
    critic = ProgressiveDiscriminator(SIZE, fmap_base=32, fmap_max=8)
    loader = Batches()
    resume = Resume(folder / "checkpoint.pt", {}, sampler=loader)
    recovery = Recovery(resume, **{"every": 4, "grace": 0, **changes})
    optimizers = (torch.optim.Adam(net.parameters(), rate, (0.0, 0.99)) for net in (generator, critic))
    listed = [*handlers, resume, recovery]
    trainer = Trainer(
        "cpu", loader, generator, critic, *optimizers, SCHEDULE, loss=loss, epoch_length=5, train_handlers=listed
    )
    return trainer, recovery


class NanLoss(WassersteinLoss):
    """Its generator's loss is NaN where ``is_sick`` says so."""

    is_sick: Callable[[], bool]

    def generator(self, fake_scores: Tensor) -> Tensor:
        value = super().generator(fake_scores)
        return value * torch.nan if self.is_sick() else value


def plant_nan_loss(folder: Path, times: int = 1, at: int = SICK_AT, **changes: Any) -> tuple[Trainer, Recovery]:
    """NaN at ``at`` images seen, until there have been ``times`` rollbacks: a function of what a checkpoint holds."""
    loss = NanLoss()
    trainer, recovery = make(folder, loss=loss, **changes)
    object.__setattr__(
        loss, "is_sick", lambda: trainer.state.images_seen == at and recovery.state_dict()["made"] < times
    )
    return trainer, recovery


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(moment: str) -> None:
    """Arrange for a kill: within a rollback before its checkpoint, after that, after the record, or at a file step."""
    if moment.isdigit():
        _kill_at_file_step(int(moment))
    else:
        step = {"loaded": "_lower", "saved": "_write_record", "said": "_say"}[moment]
        setattr(Recovery, step, lambda *arguments: kill())


def _kill_at_file_step(last: int) -> None:
    steps = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in ("os.rename", "os.remove", "os.link") and sys.argv[1] in str(arguments[0]):
            steps += 1
            if steps == last:
                kill()

    sys.addaudithook(count)


def main() -> None:
    """Train in the folder and be killed."""
    torch.set_num_threads(1)
    folder, moment = Path(sys.argv[1]), sys.argv[2]
    kill_at(moment)
    trainer, _ = plant_nan_loss(folder)
    trainer.add_event_handler(Events.COMPLETED, lambda: print("completed"))
    trainer.run()


if __name__ == "__main__":
    main()

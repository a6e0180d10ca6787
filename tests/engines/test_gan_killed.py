"""Training killed at any moment and resumed: bit for bit what it would have been.

Run as a program it is the training that is killed: ``python test_gan_killed.py CHECKPOINT``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.handlers.resume import Resume, read_checkpoint
from monai_cxraug.losses.adversarial import NonSaturatingLoss
from monai_cxraug.networks.augmentation import AdaptiveAugmentation
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SCHEDULE = ProgressiveSchedule(8, 48, 48, 240, batch_size={4: 8, 8: 6})


class Batches:
    """Batch k of uint8 images with labels depends on k alone."""

    skip = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k, n in enumerate(SCHEDULE.batch_sizes()):
            if k < self.skip:
                continue
            draws = torch.Generator().manual_seed(k)
            image = torch.randint(0, 256, (n, 1, 8, 8), generator=draws, dtype=torch.uint8)
            yield {"image": image, "label": torch.randint(0, 2, (n, 3), generator=draws).float()}


def make_trainer(path: Path, *handlers: Any) -> ProgressiveGanTrainer:
    """Everything that a checkpoint must hold: adaptive augmentation, lazy R1, findings, three stages."""
    torch.manual_seed(0)
    widths = {"fmap_base": 32, "fmap_max": 8, "findings": 3}
    generator, critic = ProgressiveGenerator(8, 4, **widths), ProgressiveDiscriminator(8, **widths)
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (generator, critic)]
    batches = Batches()
    return ProgressiveGanTrainer(
        "cpu",
        batches,
        generator,
        critic,
        *optimizers,
        SCHEDULE,
        NonSaturatingLoss(interval=4),
        critic_steps=3,
        ema_decay=0.999,
        augment=AdaptiveAugmentation(target=0.0, images=300, interval=2),
        epoch_length=5,
        train_handlers=[Resume(path, {}, sampler=batches), *handlers],
    )


class Beat:
    """Prints the iterations, for who waits to kill."""

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: print(engine.state.iteration, flush=True))


def kill_after(path: Path, iterations: int) -> None:
    """Train until a number of iterations was printed, then kill without warning."""
    command, root = [sys.executable, __file__, str(path)], str(Path(__file__).parents[2])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == str(iterations):
                child.send_signal(signal.SIGKILL)
                break
        assert child.wait(60) == -signal.SIGKILL


def assert_equal_states(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal_states(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for k, pair in enumerate(zip(first, second, strict=True)):
            assert_equal_states(*pair, f"{where}/{k}")
    else:
        assert first == second, where


@pytest.fixture
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.usefixtures("_one_thread")
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    make_trainer(tmp_path / "straight.pt").run()
    moment = random.randrange(6, SCHEDULE.iterations() - 1)
    print("killed after iteration", moment)
    kill_after(tmp_path / "killed.pt", moment)
    assert 5 <= read_checkpoint(tmp_path / "killed.pt")["resume"]["iteration"] < SCHEDULE.iterations()
    torch.manual_seed(99)
    make_trainer(tmp_path / "killed.pt").run()
    straight, resumed = (read_checkpoint(tmp_path / f"{name}.pt") for name in ("straight", "killed"))
    assert straight["augment"]["p"] > 0
    assert_equal_states(straight, resumed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_trainer(Path(sys.argv[1]), Beat()).run()

"""Resampling in real processes that talk to each other: together they draw and learn what one process would."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_cxraug.data.balancing import ClassBalanced, OverSampling
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.samplers import SeededBatches
from tests.data.conftest import MakeSet

pytestmark = pytest.mark.e2e

WORLD, SIZE, STEPS = 2, 4, 12
KINDS = {"over": OverSampling, "balanced": ClassBalanced}

WORKER = """
import json, sys
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from monai.data import DataLoader
from tests.data.test_distributed import KINDS, SIZE, STEPS, batches, data_set, network, step

manifest, kind, rank, rendezvous, skip = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=2)
data = data_set(manifest)
sampler = batches(KINDS[kind](data), dist.get_rank(), dist.get_world_size())
sampler.skip = int(skip)
drawn, loader = [], DataLoader(data, batch_sampler=sampler, num_workers=1)
model = DistributedDataParallel(network())
for batch in loader:
    drawn.append(list(batch["name"]))
    step(model, batch)
if dist.get_rank() == 0:
    print(json.dumps([parameter.tolist() for parameter in model.parameters()]))
else:
    print("null")
print(json.dumps(drawn))
dist.destroy_process_group()
"""


def data_set(manifest: str | Path) -> MixedDataset:
    return MixedDataset(manifest, split="train", findings=("Edema", "Fibrosis"))


def batches(order: OverSampling | ClassBalanced, rank: int = 0, world: int = 1, size: int = SIZE) -> SeededBatches:
    return SeededBatches(order, size, 3, STEPS, rank, world)


def network() -> nn.Module:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 1)).double()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model


def step(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    model.zero_grad()
    wrong = model(batch["image"].double()) - batch["label"][:, :1].double()
    wrong.square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad


def run(
    manifest: Path, kind: str, folder: Path, skip: int = 0
) -> list[tuple[list[list[float]] | None, list[list[str]]]]:
    command = [sys.executable, "-c", WORKER, str(manifest), kind]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder / f"meet-{skip}"), str(skip)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(WORLD)
    ]
    lines = [process.communicate(timeout=120)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0] * WORLD
    return [(json.loads(first), json.loads(second)) for first, second in lines]


@pytest.mark.slow  # two fresh processes; tests/data/test_samplers.py has the same in one
@pytest.mark.parametrize("kind", ["over", "balanced"])
def test_two_processes_draw_and_learn_as_one(kind: str, make_set: MakeSet, tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set", n=40)
    found = run(manifest, kind, tmp_path)
    data = data_set(manifest)
    alone = list(batches(KINDS[kind](data), size=WORLD * SIZE))
    names = [[data[draw]["name"] for draw in batch] for batch in alone]
    together = [list(itertools.chain(*parts)) for parts in zip(*(drawn for _, drawn in found), strict=True)]
    assert together == names
    model = network()
    for batch in alone:
        samples = [data[draw] for draw in batch]
        step(model, {key: torch.stack([torch.as_tensor(one[key]) for one in samples]) for key in ("image", "label")})
    for parameter, value in zip(model.parameters(), found[0][0] or [], strict=True):
        torch.testing.assert_close(parameter, torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.slow  # two fresh processes twice; tests/data/test_samplers.py has the same in one
def test_two_processes_go_on_where_they_stopped(make_set: MakeSet, tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set", n=40)
    data = data_set(manifest)
    order = ClassBalanced(data)
    resumed = run(manifest, "balanced", tmp_path, skip=5)
    for rank, (_, drawn) in enumerate(resumed):
        assert drawn == [[data[draw]["name"] for draw in batch] for batch in list(batches(order, rank, WORLD))[5:]]

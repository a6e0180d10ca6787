"""Training in several processes, one for each device: who writes, who takes what, and how gradients meet.

Every process takes an equal share of one batch, so that a training means the same whatever their number: gradients are
averaged before each step, floating buffers such as batch normalisation's running statistics with them, and all copies
of a network stay equal. There is no wrapper around networks: a wrapper that averages gradients while they are computed
(``DistributedDataParallel``) does not know of gradient penalties, of losses collected in parts, or of layers that
freeze on the way.

Without ``torchrun`` there is one process: rank 0 of 1, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.errors import ConfigError

_MEND = "start it by torchrun --nproc_per_node N -m monai.bundle run ..."


# --- who is there ---


def joined() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process; 0 writes files."""
    return dist.get_rank() if joined() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if joined() else 1


def join(backend: str | None = None) -> None:
    """Meet the other processes that ``torchrun`` started.

    Args:
        backend: of the exchange; default NCCL where there is CUDA, else gloo.

    Raises:
        ConfigError: ``torchrun`` did not start this process, or it started more than there are GPUs.
    """
    if missing := [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if name not in os.environ]:
        raise ConfigError("multi_gpu_train", "needs the environment of torchrun", f"no {missing[0]}", _MEND)
    device = local_device()
    if device != "cpu":
        torch.cuda.set_device(device)
    dist.init_process_group(backend or ("gloo" if device == "cpu" else "nccl"))


def leave() -> None:
    """Part from the other processes, once all have come here."""
    if joined():
        dist.barrier()
        _control_group.cache_clear()
        dist.destroy_process_group()


def local_device() -> str:
    """The device of this process: its own GPU, or the CPU where there is none.

    Raises:
        ConfigError: this machine has fewer GPUs than processes.
    """
    number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if there and number >= there:
        rule = "needs a GPU for each process of this machine"
        raise ConfigError("multi_gpu_train", rule, f"{there} for process {number}", f"--nproc_per_node {there}")
    return f"cuda:{number}" if there else "cpu"


# --- who takes what ---


def share_of(batch: int) -> int:
    """Images of a batch that each process takes.

    Raises:
        ConfigError: the batch cannot be shared out equally.
    """
    world = world_size()
    if batch % world:
        mend = f"give {batch // world * world or world} or {(batch // world + 1) * world}"
        raise ConfigError("batch_size", f"must be a multiple of the number of processes ({world})", batch, mend)
    return batch // world


def own_share(rows: Tensor) -> Tensor:
    """The rows ``[N, ...]`` of a whole batch that are this process's, ``[N / world, ...]``."""
    size = share_of(len(rows))
    return rows[rank() * size : (rank() + 1) * size]


# --- what they tell each other ---


def average_(tensors: Sequence[Tensor]) -> None:
    """Replace floating tensors by their mean over the processes, in one exchange for each type."""
    if world_size() == 1:
        return
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        ours = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in ours])
        dist.all_reduce(flat)
        parts = (flat / world_size()).split([tensor.numel() for tensor in ours])
        torch._foreach_copy_(ours, [part.view_as(tensor) for part, tensor in zip(parts, ours, strict=True)])


def average_gradients(optimizer: Optimizer) -> None:
    """Replace the gradients that an optimiser is about to use by their mean over the processes."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    average_([weight.grad for weight in weights if weight.grad is not None])


def average_buffers(network: nn.Module) -> None:
    """Replace floating buffers, such as running statistics, by their mean over the processes."""
    average_([buffer for buffer in network.buffers() if buffer.is_floating_point()])


def average_numbers(numbers: Tensor) -> Tensor:
    """The mean of numbers over the processes; not finite where one of them is not."""
    mean = numbers.detach().clone()
    average_([mean])
    return mean


def gather(rows: Tensor) -> Tensor:
    """The rows ``[N, ...]`` of all processes in the order of their numbers, ``[world * N, ...]``."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def largest(number: int) -> int:
    """The largest of one number from each process, over the CPU, so that no device has to be waited for."""
    if world_size() == 1:
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX, group=_control_group())
    return int(told)


@cache
def _control_group() -> Any:
    return dist.new_group(backend="gloo")

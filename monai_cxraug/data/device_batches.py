"""Batches of a pack for training on a device: kept there when they fit, else brought there ahead of time."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import channels_first, to_unit
from monai_cxraug.data.samplers import Draw
from monai_cxraug.errors import ConfigError
from monai_cxraug.keys import IMAGE, LABEL

#: images that are read at once while a pack moves to its device.
_BLOCK = 256
#: batches made ahead of the training.
_AHEAD = 3

Batch = dict[str, Tensor]


class DeviceBatches:
    """Batches ``{"image": [N, C, R, R], "label": [N, K]}`` on a device, without a worker process for each.

    A generator's step takes tens of images and no augmentation, so a loader that handles images one by one would take
    longer than the step. Where the pictures fit into a part of the device's memory they are copied there once, and a
    batch is an index; else a thread reads the next batches from the pack while the device computes.

    Args:
        rows: the images; a pack of the size wanted is kept as it is stored, another one is resized.
        sampler: batches of :class:`Draw`; its ``skip`` is obeyed.
        device: where the batches are wanted.
        share: part of the device's free memory that the pictures may take; 0 never keeps them there.

    Raises:
        ConfigError: the share is not in [0, 1].
    """

    def __init__(
        self, rows: PackRows, sampler: Iterable[list[Draw]], device: torch.device | str, share: float = 0.5
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError("DeviceBatches(share)", "must be in [0, 1]", share, "0.5 is half of what is free")
        self.rows, self.sampler, self.device = rows, sampler, torch.device(device)
        self._resized = rows.size != rows.pack.size
        self._itemsize = 1 if self._stays_bytes() else 4
        #: all pictures on the device ``[len(rows), C, R, R]``, or None where they did not fit.
        self.images = self._move() if self.nbytes <= share * _free_memory(self.device) else None
        self._labels = rows.labels[torch.from_numpy(np.asarray(rows.rows))].to(self.device)

    @property
    def nbytes(self) -> int:
        """Bytes that all pictures take on the device."""
        return len(self.rows) * self.rows.channels * self.rows.size**2 * self._itemsize

    def __iter__(self) -> Iterator[Batch]:
        positions = ([draw.index for draw in draws] for draws in self.sampler)
        return self._prefetched(positions) if self.images is None else self._indexed(self.images, positions)

    def _indexed(self, images: Tensor, positions: Iterator[list[int]]) -> Iterator[Batch]:
        for wanted in positions:
            index = torch.tensor(wanted, dtype=torch.int64).to(self.device, non_blocking=True)
            yield {IMAGE: images[index], LABEL: self._labels[index]}

    def _prefetched(self, positions: Iterator[list[int]]) -> Iterator[Batch]:
        for wanted, pictures in _ahead((wanted, self._read(wanted)) for wanted in positions):
            index = torch.tensor(wanted, dtype=torch.int64).to(self.device, non_blocking=True)
            yield {IMAGE: pictures.to(self.device, non_blocking=True), LABEL: self._labels[index]}

    def _stays_bytes(self) -> bool:
        return not self._resized and self.rows.pack.array.dtype == np.uint8

    def _move(self) -> Tensor:
        size = self.rows.size
        dtype = torch.uint8 if self._stays_bytes() else torch.float32
        images = torch.empty(len(self.rows), self.rows.channels, size, size, dtype=dtype, device=self.device)
        for start in range(0, len(images), _BLOCK):
            stop = min(start + _BLOCK, len(images))
            images[start:stop] = self._read(range(start, stop)).to(self.device)
        return images

    def _read(self, positions: Sequence[int]) -> Tensor:
        """Pictures ``[N, C, R, R]`` in the memory of the host, pinned for a device that can fetch them itself."""
        rows = np.asarray(self.rows.rows)[np.asarray(positions, dtype=np.int64)]  # of none too
        if self._resized:
            pictures = np.stack([self.rows.pack.image(int(row), self.rows.size) for row in rows])
        else:
            stored = self.rows.pack.batch(rows)
            pictures = stored if stored.dtype == np.uint8 else to_unit(stored)
        tensor = torch.from_numpy(np.ascontiguousarray(channels_first(pictures)))
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not everywhere
        return 2**30


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The same items, made by a thread a few ahead; its error is raised here, and it ends with this iterator."""
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def offer(item: Any, error: BaseException | None = None) -> None:
        while not stop.is_set():
            try:
                return waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                offer(item)
                if stop.is_set():
                    return
            offer(None, StopIteration())
        except BaseException as error:  # whatever it is belongs to the thread that trains
            offer(None, error)

    threading.Thread(target=work, name="batches", daemon=True).start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()

"""The 256 levels of 8-bit images: rounding to them, counting them, looking them up.

Each has two ways that give the same bits: torch on any device, and compiled loops (``levels.c``) on the CPU.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from monai_cxraug.compiled import Compiled
from monai_cxraug.transforms.functional.threads import in_threads

LEVELS: Final = 256
TOP: Final = LEVELS - 1
_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p


def _declare(functions: Any) -> None:
    sizes = [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE]
    functions.cxraug_to_levels.argtypes = [_POINTER, _POINTER, _SIZE]
    functions.cxraug_count_levels.argtypes = [*sizes, _SIZE, _SIZE]
    functions.cxraug_look_up.argtypes = [_POINTER, _POINTER, _SIZE, _SIZE, _POINTER]
    functions.cxraug_blend_tables.argtypes = [*sizes, _POINTER, _SIZE, _SIZE, _SIZE, _SIZE]
    for name in ("to_levels", "count_levels", "look_up"):
        getattr(functions, f"cxraug_{name}").restype = None


#: the compiled loops.
LOOPS = Compiled(Path(__file__).with_suffix(".c"), _declare)


def _compiled(*tensors: Tensor) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors) and LOOPS.loaded


def to_levels(images: Tensor) -> Tensor:
    """Round to the nearest level, half-way values to the even one.

    Args:
        images: floating point, any shape, in [0, 1]; others are cut.

    Returns:
        uint8 of the same shape.
    """
    if images.dtype == torch.float32 and _compiled(images):
        images = images.detach().contiguous()
        levels = torch.empty(images.shape, dtype=torch.uint8)

        def run(first: int, last: int) -> int:
            places = images.data_ptr() + 4 * first, levels.data_ptr() + first
            LOOPS.functions.cxraug_to_levels(*places, last - first)
            return 0

        in_threads(run, images.numel(), images.numel())
        return levels
    return (images.detach().clamp(0, 1) * TOP).round_().to(torch.uint8)


def count_levels(levels: Tensor, tiles: int = 1) -> Tensor:
    """Count the levels of tiles.

    Args:
        levels: uint8 ``[N, H, W]``, sides multiples of ``tiles``.
        tiles: along each side.

    Returns:
        int32 ``[N, tiles, tiles, 256]``.
    """
    count, height, width = levels.shape
    side = height // tiles, width // tiles
    counts = torch.zeros(count, tiles, tiles, LEVELS, dtype=torch.int32, device=levels.device)
    if not _compiled(levels):
        pieces = levels.reshape(count, tiles, side[0], tiles, side[1]).transpose(2, 3).flatten(3).long()
        return counts.scatter_add_(3, pieces, torch.ones_like(pieces, dtype=torch.int32))
    levels = levels.contiguous()

    def run(first: int, last: int) -> int:
        places = levels.data_ptr() + first * height * width, counts.data_ptr() + 4 * first * tiles * tiles * LEVELS
        LOOPS.functions.cxraug_count_levels(*places, last - first, height, width, *side)
        return 0

    in_threads(run, count, levels.numel())
    return counts


def look_up(levels: Tensor, tables: Tensor) -> Tensor:
    """Replace levels by values.

    Args:
        levels: uint8 ``[N, H, W]``.
        tables: float32 ``[N, 256]``.

    Returns:
        float32 ``[N, H, W]``.
    """
    if not _compiled(levels, tables):
        return tables.gather(1, levels.flatten(1).long()).reshape(levels.shape)
    levels, tables, pixels = levels.contiguous(), tables.contiguous(), levels[0].numel() if len(levels) else 0
    found = torch.empty(levels.shape)

    def run(first: int, last: int) -> int:
        places = levels.data_ptr() + first * pixels, found.data_ptr() + 4 * first * pixels
        LOOPS.functions.cxraug_look_up(*places, last - first, pixels, tables.data_ptr() + 4 * first * LEVELS)
        return 0

    in_threads(run, len(levels), levels.numel())
    return found


def blend_tables(levels: Tensor, tables: Tensor, sides: tuple[int, int]) -> Tensor:
    """Look levels up in the tables of the four nearest tiles, and blend by the distances to the tiles' middles.

    Args:
        levels: uint8 ``[N, H, W]``.
        tables: float32 ``[N, tiles, tiles, 256]``, levels.
        sides: height and width of a tile in pixels.

    Returns:
        float32 ``[N, H, W]``, levels over 255.
    """
    if not _compiled(levels, tables):
        return _blend(levels, tables, sides)
    levels, tables = levels.contiguous(), tables.contiguous()
    (count, height, width), tiles = levels.shape, tables.shape[1]
    found = torch.empty(levels.shape)

    def run(first: int, last: int) -> int:
        start = first * height * width
        places = levels.data_ptr() + start, found.data_ptr() + 4 * start, last - first, height, width
        table = tables.data_ptr() + 4 * first * tiles * tiles * LEVELS
        done: int = LOOPS.functions.cxraug_blend_tables(*places, table, tiles, tiles, *sides)
        return done

    if any(in_threads(run, count, levels.numel())):
        raise MemoryError
    return found


def _blend(levels: Tensor, tables: Tensor, sides: tuple[int, int]) -> Tensor:
    tiles, flat = tables.shape[1], tables.flatten(1)  # [N, t * t * 256]
    (top, bottom, down), (left, right, across) = (
        _between(pixels, side, tiles, levels.device) for pixels, side in zip(levels.shape[1:], sides, strict=True)
    )

    def look(rows: Tensor, columns: Tensor) -> Tensor:
        place = (rows[:, None] * tiles + columns) * LEVELS + levels.long()  # [N, H, W]
        return flat.gather(1, place.flatten(1)).reshape(levels.shape)

    upper = look(top, left) * (1 - across) + look(top, right) * across
    lower = look(bottom, left) * (1 - across) + look(bottom, right) * across
    down = down[:, None]
    return (upper * (1 - down) + lower * down) / TOP


def _between(pixels: int, side: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two tiles between whose middles each pixel lies, and the share of the second."""
    inverse = torch.tensor(1.0, dtype=torch.float32) / side
    at = torch.arange(pixels, dtype=torch.float32) * inverse - 0.5
    first = at.floor()
    places = first.long().clamp(min=0), (first.long() + 1).clamp(max=tiles - 1)
    return places[0].to(device), places[1].to(device), (at - first).to(device)

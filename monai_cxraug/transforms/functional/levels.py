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
    functions.cxraug_clip_tables.argtypes = [_POINTER, _POINTER, _SIZE, ctypes.c_int32, ctypes.c_float]
    whole = [_POINTER, ctypes.c_int, _POINTER, _SIZE, _SIZE]
    functions.cxraug_equalise.argtypes = whole
    functions.cxraug_equalise_tiles.argtypes = [*whole, _SIZE, _SIZE, ctypes.c_int32, ctypes.c_float]
    for name in ("to_levels", "count_levels", "look_up", "clip_tables"):
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


def runs_whole(images: Tensor) -> bool:
    """Whether :func:`equalise_whole` and :func:`equalise_tiles` can be asked about these images."""
    return images.dtype in (torch.float32, torch.uint8) and _compiled(images)


def equalise_whole(images: Tensor) -> Tensor:
    """Equalise each image's histogram in one go: what counting, summing and looking up give, with data that stay near.

    Args:
        images: float32 in [0, 1] or uint8, ``[N, H, W]``.

    Returns:
        The same shape and type.
    """
    images, pixels = images.detach().contiguous(), images[0].numel() if len(images) else 0
    found, size, floating = torch.empty_like(images), images.element_size(), images.is_floating_point()

    def run(first: int, last: int) -> int:
        places = images.data_ptr() + size * first * pixels, floating, found.data_ptr() + size * first * pixels
        done: int = LOOPS.functions.cxraug_equalise(*places, last - first, pixels)
        return done

    _require_memory(in_threads(run, len(images), images.numel()))
    return found


def equalise_tiles(images: Tensor, tiles: int, limit: int) -> Tensor:
    """Take :func:`count_levels`, :func:`clip_tables` and :func:`blend_tables` in one go, with data that stay near.

    Args:
        images: float32 in [0, 1] or uint8, ``[N, H, W]``, sides multiples of ``tiles``.
        tiles: along each side.
        limit: height at which histograms are cut, at least 1.

    Returns:
        float32 of the same shape, levels over 255.
    """
    images = images.detach().contiguous()
    (count, height, width), floating = images.shape, images.is_floating_point()
    found, pixels, size = torch.empty(images.shape), height * width, images.element_size()
    scale = float(torch.tensor(TOP * tiles * tiles / pixels, dtype=torch.float32))

    def run(first: int, last: int) -> int:
        places = images.data_ptr() + size * first * pixels, floating, found.data_ptr() + 4 * first * pixels
        shape = last - first, height, width, tiles
        done: int = LOOPS.functions.cxraug_equalise_tiles(*places, *shape, limit, scale)
        return done

    _require_memory(in_threads(run, count, images.numel()))
    return found


def _require_memory(answers: list[int]) -> None:
    if any(answers):
        raise MemoryError


def clip_tables(counts: Tensor, limit: int, pixels: int) -> Tensor:
    """Make each tile's table from its counts, cut at a height (Zuiderveld 1994), as OpenCV spreads what is cut off.

    Args:
        counts: int32 ``[N, tiles, tiles, 256]``.
        limit: the height, at least 1.
        pixels: of a tile.

    Returns:
        float32 of the same shape: the level in [0, 255], a whole number, that each level becomes.
    """
    scale = torch.tensor(TOP / pixels, dtype=torch.float32)
    if not _compiled(counts):
        return _clip(counts, limit, scale.to(counts.device))
    counts, tables = counts.contiguous(), torch.empty(counts.shape)

    def run(first: int, last: int) -> int:
        places = counts.data_ptr() + 4 * first * LEVELS, tables.data_ptr() + 4 * first * LEVELS
        LOOPS.functions.cxraug_clip_tables(*places, last - first, limit, float(scale))
        return 0

    in_threads(run, counts.numel() // LEVELS, 4 * counts.numel())
    return tables


def _clip(counts: Tensor, limit: int, scale: Tensor) -> Tensor:
    over = (counts - limit).clamp(min=0).sum(dim=-1, keepdim=True)
    counts = counts.clamp(max=limit) + over // LEVELS
    rest = over % LEVELS
    # one more for every step-th level, as long as there is something left
    step = (LEVELS // rest.clamp(min=1)).clamp(min=1)
    place = torch.arange(LEVELS, device=counts.device)
    counts = counts + ((place % step == 0) & (place // step < rest)).to(counts.dtype)
    return (counts.cumsum(dim=-1).float() * scale).round_().clamp_(0, TOP)


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

    _require_memory(in_threads(run, count, levels.numel()))
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

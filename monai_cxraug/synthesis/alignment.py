"""The small affine warp that brings one picture onto another: Gauss and Newton's steps, many pairs at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Images = NDArray[np.float32]

#: steps; a warp of a few degrees, per cent and pixels is found in fewer.
_STEPS: Final = 10
#: of the side: how far an entry of the affine map may leave the identity. Beyond, it is no small warp.
_REACH: Final = 0.25
#: added to the normal equations, as a share of the pixels, so that pictures without edges have a solution.
_DAMPING: Final = 0.02
#: of the side: the rim that is not compared, for a warp brings in what no picture shows.
_RIM: Final = 1 / 8
#: pairs that are aligned at once: what they need stays in the processor's cache.
_PAIRS: Final = 256


def aligned_distances(queries: Images, references: Images) -> NDArray[np.float64]:
    """Warp each query onto its reference, and say how far apart they stay.

    The warp is affine: shift, rotation, scale and shear. It is sought at half the side by the inverse compositional
    algorithm of Baker and Matthews (Lucas-Kanade 20 Years On, IJCV 2004, section 3.2), which takes gradients and normal
    equations from the reference alone. Both pictures are standardised within the rim at every step, so that brightness
    and contrast play no part. The best step counts: a diverging search gives what it started from.

    Args:
        queries: float32 ``[P, S, S]``, S at least 2.
        references: likewise.

    Returns:
        ``[P]``, in [0, 2]: root mean squared difference of the standardised pictures, which is sqrt(2 (1 - r)) with r
        their correlation.
    """
    found = np.empty(len(queries))
    for start in range(0, len(queries), _PAIRS):
        part = slice(start, start + _PAIRS)
        pair = (torch.from_numpy(np.ascontiguousarray(images[part])) for images in (queries, references))
        with torch.inference_mode():
            found[part] = _distances(*pair).numpy()
    return found


def _distances(queries: Tensor, references: Tensor) -> Tensor:
    warp = _solve(_halve(queries), _halve(references)) if queries.shape[-1] >= 8 else _identity(queries)
    inner = _inner(queries.shape[-1])
    return _distance(_standardise(_warped(queries, warp), inner), _standardise(references, inner), inner)


def _solve(queries: Tensor, references: Tensor) -> Tensor:
    """Affine maps ``[P, 2, 3]``, in coordinates from -1 to 1, by which queries look most like references."""
    side = queries.shape[-1]
    inner = _inner(side)
    wanted = _standardise(references, inner)
    scaled = _standardise(references, torch.ones(side, side))  # as what is left, so that steps have the right length
    steepest = _steepest(scaled) * inner  # [P, 6, S, S]
    flat = steepest.flatten(2)
    solver = torch.linalg.solve_ex(
        flat @ flat.transpose(1, 2) + _DAMPING * side**2 * torch.eye(6), flat, check_errors=False
    ).result  # [P, 6, S * S]
    warp, best = _identity(queries), _identity(queries)
    least = torch.full((len(queries),), torch.inf)
    for _ in range(_STEPS):
        left = _standardise(_warped(queries, warp), inner) - wanted
        distance = left.square().mean(dim=(1, 2))
        better = distance < least
        least, best = torch.where(better, distance, least), torch.where(better[:, None, None], warp, best)
        step = (solver @ left.flatten(1)[:, :, None]).reshape(-1, 2, 3)
        warp = _compose(warp, step)
    return best


def _compose(warp: Tensor, step: Tensor) -> Tensor:
    """Undo a step before the warp, and hold the result near the identity."""
    last = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(len(warp), 1, 3)
    moved = _identity(warp) + step
    whole = torch.linalg.solve_ex(
        torch.cat([moved, last], 1), torch.cat([warp, last], 1), left=False, check_errors=False
    ).result[:, :2]
    identity = _identity(warp)
    return identity + torch.nan_to_num(whole - identity).clamp(-_REACH, _REACH)


def _steepest(images: Tensor) -> Tensor:
    """How each pixel changes with the six entries of an affine map, ``[P, 6, S, S]``."""
    side = images.shape[-1]
    across = functional.pad(images[:, :, 2:] - images[:, :, :-2], (1, 1)) * side / 4
    down = functional.pad(images[:, 2:] - images[:, :-2], (0, 0, 1, 1)) * side / 4
    places = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([across * x, across * y, across, down * x, down * y, down], dim=1)


def _warped(images: Tensor, warp: Tensor) -> Tensor:
    grid = functional.affine_grid(warp, [len(images), 1, *images.shape[1:]], align_corners=False)
    return functional.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3)[:2].expand(len(like), 2, 3)


def _inner(side: int) -> Tensor:
    """1 within the rim, 0 on it, ``[S, S]``."""
    rim = int(side * _RIM)
    inner = torch.zeros(side, side)
    inner[rim : side - rim, rim : side - rim] = 1
    return inner


def _standardise(images: Tensor, inner: Tensor) -> Tensor:
    """Mean 0 and mean square 1 within the rim, 0 on it; a picture without contrast stays 0."""
    count = inner.sum()
    centred = (images - (images * inner).sum(dim=(1, 2), keepdim=True) / count) * inner
    spread = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return centred / spread.clamp(min=1e-3)


def _distance(a: Tensor, b: Tensor, inner: Tensor) -> Tensor:
    return ((a - b).square().sum(dim=(1, 2)) / inner.sum()).sqrt()


def _halve(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images[:, None], 2)[:, 0]

"""How near do enlarged images come to the originals? Beside what interpolation makes of the same small images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.metrics import SSIMMetric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.artifacts import atomic_path, write_csv, write_json
from monai_cxraug.data.datasets import PackRows, refuse_trained_on
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.pack import channels_first, quantise, to_unit
from monai_cxraug.engines.super_resolution import shrink
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.resampling import patient_weights, percentile_interval
from monai_cxraug.synthesis.resolvers import Resolver

SCHEMA: Final = "cxraug.super_resolution_figures/1"
#: what the network is compared with: Pillow's filters, whose bicubic one is Keys' with a = -0.5 and Lanczos' has a = 3;
#: and torch's bicubic, Keys' with a = -0.75, which is sharper and undoes more of what averaging over areas does.
INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic", "lanczos", "sharp_bicubic")
MEASURES: Final = ("psnr", "ssim", "sharpness")
OURS: Final = "model"
#: least mean square, so that equal images have a PSNR too: 100 dB.
_LEAST: Final = 1e-10
#: side of SSIM's window (Wang et al. 2004), in pixels.
_WINDOW: Final = 11
_BLOCK: Final = 16
#: pixels of a pixel in the comparison, and of its letters.
_ZOOM, _LETTERS, _GREY = 3, 12, 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EvaluateResolver:
    """Shrinks real images, enlarges them again in several ways, and compares with what they were.

    Small images are averages over areas, rounded as they would be stored; so is whatever is made of them. Intervals
    come from a bootstrap over patients, who contribute several images.

    Args:
        resolver: model file, or a folder that holds one; or public weights.
        manifest: of the originals.
        split: of the originals.
        where: keep rows whose columns have these values.
        output_dir: folder for ``metrics.json``, ``table.csv`` and ``comparison.png``.
        others: more networks to compare with, name to model file or folder; of the same scale.
        size: side of the originals in pixels; default the pack's.
        most: evaluate this many images at most, the first of a shuffled order; None for all.
        replicates: of the bootstrap.
        rows: images in the comparison.
        crop: side of the squares in the comparison, in pixels of the originals.
        seed: of the bootstrap and the order.
        device: where the networks work.
        progress: called with (done, n).
    """

    resolver: str | Path
    manifest: str | Path
    split: str | None
    where: Where
    output_dir: str | Path
    others: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    most: int | None = None
    replicates: int = 2000
    rows: int = 4
    crop: int = 64
    seed: int = 0
    device: str = "cpu"
    progress: Callable[[int, int], None] | None = None

    def run(self) -> dict[str, Any]:
        """Compute and write the figures.

        Returns:
            ``methods``: for each way ``psnr`` (dB), ``ssim`` (Wang et al. 2004; MONAI's, windows of 11 px) and
            ``sharpness`` (mean absolute difference of neighbouring pixels, over that of the original: 1 is as sharp, or
            as noisy), each ``{"mean", "low", "high"}``; ``gains``: for each network its mean less that of each other
            way, on the same images. Means are over images.

        Raises:
            LeakageError: a network saw a patient of these images.
            ConfigError: the images do not fit a network, or a number is out of range.
        """
        resolvers, rows = self._resolvers(), self._rows()
        for resolver in resolvers.values():
            refuse_trained_on(rows, resolver.patients_seen)
            resolver.require_channels(rows.channels, rows.manifest.path)
        scale = resolvers[OURS].scale
        chosen = self._chosen(len(rows))
        values = self._measured(rows, chosen, resolvers, scale)
        patients = rows.manifest["patient_id"][rows.rows[chosen]].astype(str).tolist()
        weights = patient_weights(patients, self.replicates, np.random.default_rng(self.seed)).astype(np.float64)
        methods = {name: _summaries(found, weights) for name, found in values.items()}
        gains = {
            network: {
                name: _summaries({measure: values[network][measure] - found[measure] for measure in MEASURES}, weights)
                for name, found in values.items()
                if name != network
            }
            for network in resolvers
        }
        about = {
            "networks": {name: resolver.provenance()["sha256"] for name, resolver in resolvers.items()},
            "scale": scale,
            "size": [rows.size // scale, rows.size // scale * scale],
            "split": self.split,
            "where": dict(self.where),
            "manifest": rows.manifest.hash(),
            "n": len(chosen),
            "patients": len(set(patients)),
            "replicates": self.replicates,
            "seed": self.seed,
        }
        out = Path(self.output_dir)
        write_json(out / "metrics.json", SCHEMA, {**about, "methods": methods, "gains": gains})
        _write_table(out / "table.csv", methods)
        self._draw(out / "comparison.png", rows, chosen, resolvers, scale)
        return {"methods": methods, "gains": gains}

    def _resolvers(self) -> dict[str, Resolver]:
        named = {OURS: self.resolver, **self.others}
        if taken := sorted(set(self.others) & {*INTERPOLATIONS, OURS}):
            raise ConfigError("others", "names must be new ones", repr(taken[0]), "choose another name")
        loaded = {name: Resolver.load(path, self.device) for name, path in named.items()}
        scales = {name: resolver.scale for name, resolver in loaded.items()}
        if len(set(scales.values())) > 1:
            raise ConfigError("others", "networks must have one scale", scales, "evaluate them apart")
        return loaded

    def _rows(self) -> PackRows:
        for name, value in (("replicates", self.replicates), ("rows", self.rows), ("crop", self.crop)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(name, "must be a whole number of at least 1", repr(value), f"mend {name}")
        rows = PackRows(self.manifest, self.split, self.where, size=self.size)
        if rows.size < 2 * _WINDOW:
            found = f"{rows.size} px"
            raise InputError(
                rows.manifest.path, f"images must have at least {2 * _WINDOW} px", found, "take larger ones"
            )
        return rows

    def _chosen(self, n: int) -> NDArray[np.int64]:
        if self.most is None or self.most >= n:
            return np.arange(n)
        return np.sort(np.random.default_rng([self.seed, n]).permutation(n)[: self.most])

    def _measured(
        self, rows: PackRows, chosen: NDArray[np.int64], resolvers: Mapping[str, Resolver], scale: int
    ) -> dict[str, dict[str, Floats]]:
        """Way to measure to a value for each image."""
        found: dict[str, dict[str, list[Floats]]] = {}
        for start in range(0, len(chosen), _BLOCK):
            part = chosen[start : start + _BLOCK]
            originals = _originals(rows, part, scale)
            for name, made in _ways(originals, resolvers, scale, _depth(rows)):
                for measure, value in _measure(made, originals).items():
                    found.setdefault(name, {}).setdefault(measure, []).append(value)
            if self.progress:
                self.progress(start + len(part), len(chosen))
        return {
            name: {measure: np.concatenate(values) for measure, values in measures.items()}
            for name, measures in found.items()
        }

    def _draw(
        self,
        path: Path,
        rows: PackRows,
        chosen: NDArray[np.int64],
        resolvers: Mapping[str, Resolver],
        scale: int,
    ) -> None:
        """Squares with the most detail of a few images: small, bicubic, each network, the original."""
        spread = chosen[np.linspace(0, len(chosen) - 1, min(self.rows, len(chosen))).astype(int)]
        originals = _originals(rows, spread, scale)
        ways = dict(_ways(originals, resolvers, scale, _depth(rows)))
        shown = {f"{rows.size // scale} px": ways["nearest"], "bicubic": ways["bicubic"]}
        shown |= {name: ways[name] for name in resolvers if name != OURS}
        shown |= {OURS: ways[OURS], f"original, {rows.size} px": originals}
        side = min(self.crop, *originals.shape[2:])
        corners = [_most_detailed(image, side, scale) for image in originals]
        cuts = {
            name: torch.stack([_cut(image, corner, side) for image, corner in zip(images, corners, strict=True)])
            for name, images in shown.items()
        }
        _write_comparison(path, cuts)


# --- ways to enlarge ---


def interpolate(images: Tensor, scale: int, method: str) -> Tensor:
    """Enlarge images by one of :data:`INTERPOLATIONS`.

    Args:
        images: float32 ``[N, C, H, W]`` in [0, 1].
        scale: factor of the sides.
        method: which.

    Returns:
        ``[N, C, scale * H, scale * W]``, cut off at 0 and 1.
    """
    from PIL import Image

    if method == "sharp_bicubic":
        sharp = images if scale == 1 else F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
        return sharp.clamp(0.0, 1.0)
    resample = Image.Resampling[method.upper()]
    n, channels, height, width = images.shape
    planes = images.reshape(n * channels, height, width).numpy()
    size = (width * scale, height * scale)
    made = [np.asarray(Image.fromarray(plane, mode="F").resize(size, resample)) for plane in planes]
    found = torch.from_numpy(np.stack(made)).reshape(n, channels, height * scale, width * scale)
    return found.clamp(0.0, 1.0)


def _ways(originals: Tensor, resolvers: Mapping[str, Resolver], scale: int, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Names and enlarged images of every way, from the same small images; both rounded as they are stored."""
    given = _rounded(shrink(originals, scale), depth)
    for method in INTERPOLATIONS:
        yield method, _rounded(interpolate(given, scale, method), depth)
    for name, resolver in resolvers.items():
        yield name, _rounded(torch.cat([resolver(part) for part in given.split(1)]), depth)


def _originals(rows: PackRows, positions: NDArray[np.int64], scale: int) -> Tensor:
    """Images ``[N, C, H, W]``, cut to multiples of the scale."""
    pictures = np.stack([rows.picture(int(position)) for position in positions])
    images = torch.from_numpy(np.ascontiguousarray(channels_first(pictures)))
    height, width = (side // scale * scale for side in images.shape[2:])
    return images[:, :, :height, :width]


def _rounded(images: Tensor, depth: int) -> Tensor:
    return torch.from_numpy(to_unit(quantise(images.numpy(), depth)))


def _depth(rows: PackRows) -> int:
    return int(rows.pack.array.dtype.itemsize) * 8


# --- measures ---


def _measure(made: Tensor, originals: Tensor) -> dict[str, Floats]:
    """Each measure for each image, ``[N]``."""
    squared = (made.double() - originals.double()).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST)
    ssim = torch.as_tensor(SSIMMetric(spatial_dims=2, data_range=1.0, win_size=_WINDOW)(made, originals))
    detail = _roughness(originals).clamp(min=_LEAST)
    return {
        "psnr": (-10 * squared.log10()).numpy(),
        "ssim": ssim.reshape(len(made)).double().numpy(),
        "sharpness": (_roughness(made) / detail).numpy(),
    }


def _roughness(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, ``[N]``."""
    exact = images.double()
    return exact.diff(dim=2).abs().mean(dim=(1, 2, 3)) + exact.diff(dim=3).abs().mean(dim=(1, 2, 3))


def _summaries(values: Mapping[str, Floats], weights: Floats) -> dict[str, dict[str, float | None]]:
    """Mean over images and 95 % interval over patients, by measure."""
    return {measure: _summary(found, weights) for measure, found in values.items()}


def _summary(values: Floats, weights: Floats) -> dict[str, float | None]:
    low, high = percentile_interval(weights @ values / weights.sum(axis=1)) or (None, None)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _write_table(path: Path, methods: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> None:
    columns = [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]
    rows = [
        [name, *(found[measure][part] for measure in MEASURES for part in ("mean", "low", "high"))]
        for name, found in methods.items()
    ]
    write_csv(path, ["method", *columns], [["" if value is None else value for value in row] for row in rows])


# --- the comparison ---


def _most_detailed(image: Tensor, side: int, scale: int) -> tuple[int, int]:
    """Top left corner, on the grid of the small image, of the square with the most difference between neighbours."""
    detail = image.diff(dim=1).abs()[:, :, 1:] + image.diff(dim=2).abs()[:, 1:]  # [C, H - 1, W - 1]
    means = F.avg_pool2d(detail.mean(dim=0, keepdim=True), side - 1, scale)[0]
    if not means.numel():
        return 0, 0
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * scale, column * scale


def _cut(image: Tensor, corner: tuple[int, int], side: int) -> Tensor:
    top, left = corner
    return image[:, top : top + side, left : left + side]


def _write_comparison(path: Path, cuts: Mapping[str, Tensor]) -> None:
    """A column for each way with its name above, a row for each image, every pixel repeated."""
    from PIL import Image, ImageDraw

    columns = [torch.cat(list(images), dim=1) for images in cuts.values()]  # [C, rows * side, side]
    gap = torch.ones_like(columns[0][:, :, :1])
    laid = torch.cat([part for column in columns for part in (column, gap)][:-1], dim=2)
    stored = quantise(laid.repeat_interleave(_ZOOM, 1).repeat_interleave(_ZOOM, 2).numpy(), 8)
    picture = Image.fromarray(stored[0] if len(stored) == 1 else np.ascontiguousarray(np.moveaxis(stored, 0, -1)))
    sheet = Image.new(picture.mode, (picture.width, picture.height + _LETTERS + 6))
    sheet.paste(picture, (0, _LETTERS + 6))
    pen, width = ImageDraw.Draw(sheet), (columns[0].shape[2] + 1) * _ZOOM
    for place, name in enumerate(cuts):
        text = name.encode("ascii", "replace").decode()
        pen.text((place * width + 3, 2), text, fill=_GREY if sheet.mode == "L" else (_GREY,) * 3, font_size=_LETTERS)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)

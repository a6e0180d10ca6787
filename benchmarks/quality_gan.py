"""Image quality at equal wall-clock: our progressive GAN and the peer `pro-gan-pth`, side by side.

    cxraug prepare nih --images nih_64.zip --size 64 --out data/nih64
    python benchmarks/quality_gan.py train data/nih64/manifest.csv --where resample=area --minutes 60 --out runs/quality
    python benchmarks/quality_gan.py measure runs/quality --classifier models/nih64.pt

``train`` gives each side the same time, threads, widths, images and share of the time at each resolution, in a process
of its own on cores of its own (one after the other on a GPU). Killed, the same command goes on. Snapshots of the
averaged generators are ``OUT/{ours,peer}/snapshot_*.npy``; the time they take is not counted. ``OUT/real.npy`` and
``OUT/floor.npy`` are training images of two disjoint halves of the patients.

``measure`` compares every snapshot with ``real.npy``, and ``floor.npy`` too: the floor. Sliced Wasserstein distance and
MS-SSIM come from the images; Fréchet and kernel distance from the features of a classifier that was trained on real
images. It writes ``OUT/results.json``, ``OUT/curves.svg``, ``OUT/samples.png`` (real images and both sides' last) and
``OUT/nearest.png`` (ours beside their nearest training images).
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, load_json, locked, read_json, write_json, write_text
from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.markup import Markup, element

Images = NDArray[np.uint8]
Features = Callable[[Images], NDArray[np.float32]]

SIDES = {"ours": "#0b62a4", "peer": "#c2410c"}
_PLAN, _RESULTS = "cxraug.quality_plan/1", "cxraug.quality/1"
#: the peer's own batch sizes for 4, 8, ... px.
_BATCHES = (32, 32, 32, 32, 16, 16, 8, 4, 2)
_KERNEL_SUBSET, _DESCRIPTORS = 500, 32
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 280, 60, 240, 30


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train both sides, or go on")
    train.add_argument("manifest", type=Path)
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--minutes", type=float, default=60.0, help="of each side (%(default)s)")
    train.add_argument("--where", nargs="*", default=[], metavar="COLUMN=VALUE", help="choose images")
    train.add_argument("--resolution", type=int, default=64)
    train.add_argument("--snapshots", type=int, default=12, help="evenly spaced, the last at the end (%(default)s)")
    train.add_argument("--samples", type=int, default=2000, help="images in a snapshot (%(default)s)")
    train.add_argument("--threads", type=int, default=1, help="of each side (%(default)s)")
    train.add_argument("--device", default="cpu")
    train.add_argument("--rate", type=float, default=1e-3, help="our learning rate (%(default)s, the paper's)")
    train.add_argument("--peer-rate", type=float, default=3e-3, help="the peer's (%(default)s, its own default)")
    train.add_argument("--ema-half-life", type=float, default=10_000, help="of our average, in images (%(default)s)")
    train.add_argument("--loss", choices=("wasserstein", "nonsaturating"), default="wasserstein", help="ours")
    train.add_argument("--sides", nargs="+", choices=tuple(SIDES), default=list(SIDES), help="train these (both)")
    train.add_argument("--fp32", action="store_true", help="ours without bfloat16")
    train.add_argument("--seed", type=int, default=0)
    side = commands.add_parser("side", help="train one side of a plan that exists (what train starts)")
    side.add_argument("side", choices=tuple(SIDES))
    side.add_argument("out", type=Path)
    measure = commands.add_parser("measure", help="compare all snapshots and draw the curves")
    measure.add_argument("out", type=Path)
    measure.add_argument("--classifier", type=Path, help="model file for the features; none: from the images alone")
    args = parser.parse_args()
    {"train": run_train, "side": run_side, "measure": run_measure}[args.command](args)


# --- training ---


def run_train(args: argparse.Namespace) -> None:
    """Make the plan if there is none, then train the sides."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    places = [cores[k * args.threads : (k + 1) * args.threads] for k in range(len(SIDES))]
    together = args.device == "cpu" and all(len(place) == args.threads for place in places)
    if not together:  # in turn, on the same cores
        places = [cores[: args.threads]] * len(SIDES)
    if not (args.out / "plan.json").exists():
        _pin(places[0], args.threads)
        _make_plan(args)
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "CORES": ""}
    processes = []
    for name, place in zip(args.sides, places, strict=False):
        environment["CORES"] = ",".join(map(str, place))
        command = [sys.executable, __file__, "side", name, str(args.out)]
        processes.append(subprocess.Popen(command, env=environment))
        if not together:
            processes[-1].wait()
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise SystemExit("quality_gan: a side failed; its message is above, the same command goes on")


def run_side(args: argparse.Namespace) -> None:
    """Train one side on the cores and threads that the environment names."""
    cores = [int(core) for core in os.environ.get("CORES", "").split(",") if core]
    _pin(cores, int(os.environ.get("OMP_NUM_THREADS", "1")))
    from quality_sides import train_ours, train_peer

    folder = args.out / args.side
    folder.mkdir(exist_ok=True)
    with locked(folder / ".lock"):
        {"ours": train_ours, "peer": train_peer}[args.side](_read_plan(args.out), folder)


def _pin(cores: Sequence[int], threads: int) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    import torch

    torch.set_num_threads(threads)


def _make_plan(args: argparse.Namespace) -> None:
    """Time our iteration, fit the published schedule's shape into the budget, and write the plan and real images."""
    from quality_sides import Plan, seconds_per_image

    resolutions = [4 * 2**k for k in range(args.resolution.bit_length() - 2)]
    plan = Plan(
        str(args.manifest.resolve()),
        dict(pair.split("=", 1) for pair in args.where),
        args.resolution,
        60 * args.minutes,
        args.snapshots,
        args.samples,
        phase_images=1,
        shares=dict.fromkeys(resolutions, 0.0),
        batch_size=dict(zip(resolutions, _BATCHES, strict=False)),
        rate=args.rate,
        peer_rate=args.peer_rate,
        ema_half_life=args.ema_half_life,
        amp=not args.fp32,
        loss=args.loss,
        device=args.device,
        seed=args.seed,
    )
    write_real(plan, args.out)
    cost = {resolution: seconds_per_image(plan, resolution) for resolution in resolutions}
    # one phase at 4 px, two (fade, stable) at each other resolution, equally many images in each
    weights = {resolution: cost[resolution] * (1 if resolution == 4 else 2) for resolution in resolutions}
    total = sum(weights.values())
    fitted = {
        "phase_images": max(1, round(plan.seconds / total)),
        "shares": {resolution: weight / total for resolution, weight in weights.items()},
    }
    write_json(args.out / "plan.json", _PLAN, {"plan": {**vars(plan), **fitted}, "seconds_per_image": cost})


def _read_plan(out: Path) -> Any:
    from quality_sides import Plan

    plan = read_json(out / "plan.json", _PLAN)["plan"]
    by_resolution = {name: {int(key): value for key, value in plan[name].items()} for name in ("shares", "batch_size")}
    return Plan(**{**plan, **by_resolution})


def write_real(plan: Any, out: Path) -> None:
    """Images of two disjoint halves of the training patients, equally many of both."""
    dataset = plan.dataset()
    patients = sorted(dataset.real.patients())
    np.random.default_rng(0).shuffle(patients)
    first = set(patients[: len(patients) // 2])
    halves: dict[str, list[Any]] = {"real": [], "floor": []}
    for k in np.random.default_rng(1).permutation(len(dataset)):
        sample = dataset[int(k)]
        half = halves["real" if sample["patient_id"] in first else "floor"]
        if len(half) < plan.samples:
            half.append((sample["image"][0] * 255).round().byte().numpy())
    count = min(map(len, halves.values()))
    for name, images in halves.items():
        with atomic_path(out / f"{name}.npy") as temporary:
            np.save(temporary, np.stack(images[:count]))


# --- measuring ---


def run_measure(args: argparse.Namespace) -> None:
    """Measure what is there, write the results and draw them."""
    from monai_cxraug.synthesis.features import ClassifierFeatures

    features = None if args.classifier is None else ClassifierFeatures(args.classifier)
    rows = [dict(row) for row in _measure(args.out, features)]
    near = _show(args.out, features)
    name = "" if features is None else features.name
    write_json(args.out / "results.json", _RESULTS, {"features": name, "rows": rows, "nearest": near})
    write_text(args.out / "curves.svg", draw(rows))
    for row in [*rows, near]:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))


def _measure(out: Path, features: Features | None) -> Iterator[dict[str, Any]]:
    reference = see(out / "real.npy", features)
    yield {"side": "floor", **compare(reference, see(out / "floor.npy", features))}
    for side in SIDES:
        for path in sorted((out / side).glob("snapshot_*s.npy")):
            facts = load_json(path.with_suffix(".json"))
            known = {name: facts[name] for name in ("seconds", "images_seen", "resolution")}
            yield {"side": side, **known, **compare(reference, see(path, features))}


def see(path: Path, features: Features | None) -> tuple[Images, Any]:
    images = np.load(path)
    return images, None if features is None else features(images)


def compare(real: tuple[Images, Any], other: tuple[Images, Any]) -> dict[str, float]:
    from monai_cxraug.metrics.fidelity import (
        frechet_distance,
        kernel_distance,
        ms_ssim_diversity,
        sliced_wasserstein,
    )

    count = min(len(real[0]), len(other[0]))
    a, b = real[0][:count], other[0][:count]
    levels = sliced_wasserstein(a, b, seed=0, descriptors=_DESCRIPTORS)
    values = {"sliced Wasserstein": float(np.mean(list(levels.values())))}
    values["MS-SSIM"] = float(ms_ssim_diversity(b, seed=0).value)
    if real[1] is not None:
        x, y = real[1][:count], other[1][:count]
        values["Fréchet"] = float(frechet_distance(x, y))
        values["kernel"] = float(kernel_distance(x, y, min(_KERNEL_SUBSET, count // 2))[0])
    return values


def _show(out: Path, features: Features | None) -> dict[str, float]:
    """Pictures of the last snapshots; returns the distances to the nearest training images."""
    from monai_cxraug.data.datasets import PackDataset
    from monai_cxraug.synthesis.nearest import NearestTraining

    plan = _read_plan(out)
    last = {side: sorted((out / side).glob("snapshot_*s.npy"))[-1] for side in SIDES if (out / side).exists()}
    _write_grid(out / "samples.png", [np.load(path) for path in (out / "real.npy", *last.values())])
    held_out = PackDataset(plan.manifest, "val", plan.where, size=plan.resolution)
    unseen = np.stack([held_out[k]["image"][0].numpy() for k in range(min(len(held_out), 256))])
    samples = np.load(last["ours"]).astype(np.float32) / 255
    return NearestTraining(plan.dataset().real, features).measure(samples, unseen, out / "nearest.png")


def _write_grid(path: Path, sets: Sequence[Images], rows: int = 8, columns: int = 8, gap: int = 12) -> None:
    """The first images of each set as a block, the blocks side by side."""
    from PIL import Image

    side = sets[0].shape[-1]
    blocks = [images[: rows * columns].reshape(rows, columns, side, side) for images in sets]
    tiled = [block.transpose(0, 2, 1, 3).reshape(rows * side, columns * side) for block in blocks]
    space = np.full((rows * side, gap), 255, dtype=np.uint8)
    joined = np.concatenate([part for tile in tiled for part in (tile, space)][:-1], axis=1)
    with atomic_path(path) as temporary:
        Image.fromarray(joined).save(temporary, format="PNG")


# --- drawing ---


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """The curves as SVG: one panel a distance, logarithmic, over minutes of training; the floor dashed."""
    metrics = [name for name in ("Fréchet", "kernel", "sliced Wasserstein") if name in rows[0]]
    panels = [_panel(rows, metric, k * _WIDTH) for k, metric in enumerate(metrics)]
    style = "text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold }"
    size = {"width": _WIDTH * len(metrics), "height": _HEIGHT}
    background = element("rect", **size, fill="#fff")
    return str(element("svg", element("style", style), background, *panels, xmlns="http://www.w3.org/2000/svg", **size))


def _panel(rows: Sequence[dict[str, Any]], metric: str, left: float) -> Markup:
    known = [row for row in rows if row[metric] > 0]  # an unbiased distance may fall below 0
    logs = [math.log10(row[metric]) for row in known]
    minutes = max([row["seconds"] / 60 for row in known if "seconds" in row], default=1.0)
    across = Axis(0.0, minutes, left + _LEFT, left + _WIDTH - 40)
    up = Axis(min(logs) - 0.05, max(logs) + 0.05, _BOTTOM, _TOP)
    marks = [element("text", f"{metric} distance", x=left + _LEFT, y=18, class_="title")]
    marks += [_text(f"{tick:g}", across(tick), _BOTTOM + 16, "middle") for tick in across.ticks()]
    marks.append(_text("minutes of training", across(minutes / 2), _BOTTOM + 32, "middle"))
    for value in _log_ticks(up.low, up.high):
        marks.append(_line(across(0), up(math.log10(value)), across(minutes), "#ddd"))
        marks.append(_text(f"{value:g}", across(0) - 6, up(math.log10(value)) + 4, "end"))
    for row in known:
        if row["side"] == "floor":
            marks.append(_line(across(0), up(math.log10(row[metric])), across(minutes), "#333", "4 3"))
            marks.append(_text("real against real", across(minutes), up(math.log10(row[metric])) - 4, "end"))
    for side, colour in SIDES.items():
        points = [(across(row["seconds"] / 60), up(math.log10(row[metric]))) for row in known if row["side"] == side]
        marks += _curve(points, side, colour)
    return element("g", *marks)


def _curve(points: Sequence[tuple[float, float]], side: str, colour: str) -> list[Markup]:
    if not points:
        return []
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, fill=colour) for x, y in points]
    line = element("polyline", points=path, fill="none", stroke=colour, stroke_width=1.8)
    return [line, *dots, _text(side, points[-1][0] + 6, points[-1][1] + 4, "start")]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten whose logarithm lies in the range."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [value for value in values if low <= math.log10(value) <= high]


def _line(x: float, y: float, end: float, colour: str, dashes: str | None = None) -> Markup:
    place = {"x1": f"{x:.1f}", "x2": f"{end:.1f}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    return element("line", **place, stroke=colour, stroke_dasharray=dashes)


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


if __name__ == "__main__":
    main()

"""Large inputs: how long they take, and whether ten times as much takes at most eleven times as long.

    make bench-scale                                              # a million rows, a thousand cells: 3 GB, half an hour
    make bench-scale ARGS="--rows 100000 --cells 2x5 --rounds 1"  # smaller
    make bench-scale ARGS="--only cells"                          # a thousand cells: two minutes of processor time

Figures are seconds of processor time of this process and its children, on one thread: other work on the machine moves
them less than it moves a clock. In rows with a time that is allowed there is no peer; in rows on growth the peer is
ourselves with a tenth of the work, times ten, and the ratio is to be at least 10 / 11.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from harness import RESULTS, Row, finish
from scale_inputs import fabricate_run, grid, remove, study_of, write_images

_GROWTH = 10 / 11
_OURSELVES = "ours, a tenth of it, times ten"


def main() -> None:
    """Run every row and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each side (%(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large manifest (%(default)s)")
    parser.add_argument("--cells", default="10x10", help="fractions x seeds, ten cells each (%(default)s)")
    parser.add_argument("--judged", type=int, default=500, help="test images of each cell (%(default)s)")
    parser.add_argument("--readers", type=int, default=100, help="readers of a study (%(default)s)")
    parser.add_argument(
        "--only", choices=("images", "cells", "readers", "sampling"), help="these rows alone, the others kept"
    )
    parser.add_argument("--name", default="scale", help="of the results (%(default)s)")
    args = parser.parse_args()
    parts = {"images": _image_rows, "cells": _cell_rows, "readers": _reader_rows, "sampling": _sampling_rows}
    with tempfile.TemporaryDirectory() as folder:
        chosen = [args.only] if args.only else list(parts)
        rows = [row for name in chosen for row in parts[name](Path(folder), args)]
        finish(args.name, _among_others(rows, RESULTS / f"{args.name}.json") if args.only else rows)


def _among_others(rows: list[Row], path: Path) -> list[Row]:
    """New rows in the places of the old ones, which stay where they were not measured again."""
    new = {row.case: row for row in rows}
    old = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    kept = [new.pop(row.case, row) for row in old]
    return [*kept, *new.values()]


def _seconds(small: Callable[[], object], large: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median processor seconds of two calls, in turn."""
    found: dict[Callable[[], object], list[float]] = {small: [], large: []}
    for number in range(rounds):
        for call in (small, large) if number % 2 else (large, small):
            clock, start = time.perf_counter(), _processor()
            call()
            found[call].append(_processor() - start)
            print(f"  {found[call][-1]:.2f} s, {time.perf_counter() - clock:.2f} s by the clock", flush=True)
    return statistics.median(found[small]), statistics.median(found[large])


def _processor() -> float:
    """Processor seconds of this process and of those that it waited for."""
    return time.process_time() + sum(os.times()[2:4])


def _rows(case: str, seconds: tuple[float, float], allowed: float | None = None) -> Iterator[Row]:
    small, large = seconds
    if allowed is not None:
        yield Row(f"{case} (s)", large, None, "", allowed / large, 1.0)
    # of less than half a second, caches and not the work decide how it grows
    bound = _GROWTH if large > 0.5 else None
    yield Row(f"{case}: growth (s)", large, 10 * small, _OURSELVES, 10 * small / large, bound)


# --- images ---


def _image_rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    import pandas

    from monai_cxraug.data.duplicates import count_duplicates
    from monai_cxraug.data.manifest import refuse_shared_patients
    from monai_cxraug.data.pack import Pack
    from monai_cxraug.experiments.planning import make_plan

    sizes = (args.rows // 10, args.rows)
    paths = [write_images(folder / str(rows), rows) for rows in sizes]
    few, many = map(_fresh, paths)
    read = _seconds(few, many, args.rounds)
    name = f"{args.rows:,} rows"
    yield from _rows(f"{name}: manifest read and checked", read)
    parsed = _seconds(lambda: pandas.read_csv(paths[0]), lambda: pandas.read_csv(paths[1]), args.rounds)[1]
    yield Row(
        f"{name}: manifest (s)", read[1], parsed, f"pandas {pandas.__version__}, parsing only", parsed / read[1], None
    )

    def plan(path: Path) -> Callable[[], object]:
        fresh, experiment = _fresh(path), grid(path.parent, 4, 3)
        return lambda: (fresh(), make_plan(experiment, dict.fromkeys(("train", "validation", "test"), path)))

    yield from _rows(
        f"{name}: a grid of 120 cells planned", _seconds(plan(paths[0]), plan(paths[1]), args.rounds), 10.0
    )
    tables = [_fresh(path)() for path in paths]
    for case, check in (("leakage between splits", refuse_shared_patients), ("equal pictures", count_duplicates)):
        yield from _rows(f"{name}: {case}", _seconds(*(partial(check, table) for table in tables), args.rounds))
    packs = [Pack(path.parent, table) for path, table in zip(paths, tables, strict=True)]
    draws = [np.random.default_rng(0).integers(0, rows, rows // 10) for rows in sizes]
    batches = [
        lambda k=k: [packs[k].batch(part) for part in np.array_split(draws[k], len(draws[k]) // 64)] for k in (0, 1)
    ]
    yield from _rows(f"{name}: a tenth of the images in batches of 64", _seconds(*batches, args.rounds))
    yield from _epoch_rows(paths, name, args.rounds)
    for path in paths:
        remove(path.parent)


def _fresh(path: Path) -> Callable[[], object]:
    """Read a manifest that was never read before."""
    from monai_cxraug.data import manifest

    def read() -> object:
        manifest._read_once.cache_clear()
        return manifest.read_manifest(path)

    return read


def _epoch_rows(paths: list[Path], name: str, rounds: int) -> Iterator[Row]:
    """The first batch of an epoch: what it costs to know the order of all images."""
    from monai_cxraug.data.balancing import ClassBalanced, OverSampling, UnderSampling
    from monai_cxraug.data.mixing import MixedDataset
    from monai_cxraug.data.samplers import SeededBatches

    sets = [MixedDataset(path, duplicates={"Edema": 1000}) for path in paths]
    for case, order in (
        ("shuffled", len),
        ("oversampled", OverSampling),
        ("undersampled", UnderSampling),
        ("class-balanced", ClassBalanced),
    ):
        orders = [order(one) for one in sets]
        firsts = [lambda made=made: next(iter(SeededBatches(made, 64))) for made in orders]
        yield from _rows(f"{name}: order of an epoch, {case}", _seconds(*firsts, rounds), 1.0)


# --- cells ---


def _cell_rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    from monai_cxraug.experiments.collect import write_results
    from monai_cxraug.experiments.plan import read_plan
    from monai_cxraug.reporting.report import write_report

    images = write_images(folder / "cells", 20_000).parent
    fractions, seeds = map(int, args.cells.split("x"))
    shapes = ((max(1, fractions // 5), max(1, seeds // 2)), (fractions, seeds))
    runs = [folder / f"run{number}" for number in range(2)]
    counts = [
        len(fabricate_run(run, images, *shape, args.judged).cells) for run, shape in zip(runs, shapes, strict=True)
    ]
    print(f"  {counts[0]} and {counts[1]} cells, {args.judged} test images at most")
    name = f"{counts[1]:,} cells"
    results = _seconds(*(lambda run=run: write_results(run, read_plan(run)) for run in runs), 1)
    report = _seconds(*(lambda run=run: write_report(run) for run in runs), 1)
    yield from _rows(f"{name}: results", results)
    yield from _rows(f"{name}: report", report)
    yield from _rows(f"{name}: results and report", (results[0] + report[0], results[1] + report[1]), 60.0)


# --- readers ---


def _reader_rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    from monai_cxraug.study.analysis import Analysis, Draws

    sides = [study_of(count) for count in (args.readers // 10, args.readers)]
    analyses = [lambda side=side: Analysis(side[0], Draws(500)).document([side[1]]) for side in sides]
    yield from _rows(f"{args.readers} readers of 260 trials: analysis", _seconds(*analyses, args.rounds))


# --- sampling, filtering, preparing ---


def _sampling_rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Growth from 2,000 to 20,000 images of 32 px; what comes before the first image is taken off, by a run of 200."""
    import torch

    from monai_cxraug.data.filtered import FilterAugment
    from monai_cxraug.data.prepare import prepare
    from monai_cxraug.data.request import Request
    from monai_cxraug.networks.pggan import ProgressiveGenerator

    torch.set_num_threads(1)
    generator = ProgressiveGenerator(resolution=32, latent_size=64, fmap_base=256, fmap_max=64).eval()

    def sample(count: int) -> None:
        with torch.no_grad():
            for _ in range(count // 100):
                generator(torch.randn(100, 64))

    sources = {count: write_images(folder / f"filter{count}", count) for count in (200, 2_000, 20_000)}
    ways: dict[str, tuple[int, Callable[[int], object]]] = {
        "sampled": (1, sample),
        "filtered": (1, lambda n: FilterAugment(sources[n], _empty(folder / "out"), ["gaussian", "minimum"]).run()),
        "prepared from phantoms": (10, lambda n: prepare(Request("phantom", size=32, count=n), _empty(folder / "out"))),
    }
    for case, (less, way) in ways.items():
        tiny, small, large = (partial(way, count // less) for count in (200, 2_000, 20_000))
        first = _seconds(tiny, tiny, 1)[0]
        seconds = _seconds(small, large, 1)
        fixed = max(0.0, (10 * first - seconds[0]) / 9)  # a of a + b n, from 200 and 2,000
        yield from _rows(f"{20_000 // less:,} images {case}", (seconds[0] - fixed, seconds[1] - fixed))


def _empty(folder: Path) -> Path:
    remove(folder)
    return folder


if __name__ == "__main__":
    main()

"""Does bfloat16 cost the generator quality? The same schedule and seeds in float32 and in bfloat16.

    cxraug prepare nih --images nih_64.zip --size 64 --out data/nih64
    python benchmarks/precision_gan.py data/nih64/manifest.csv --where resample=area \\
        --classifier models/nih64.pt --out runs/precision

Each run sees the same real images in the same order and draws the same latents; only the precision differs. Fréchet and
kernel distance of as many samples as real images, in the features of a classifier trained on real images, and the
sliced Wasserstein distance. Runs that are done are kept: killed, the same command goes on with the next.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from quality_gan import compare, see, write_real
from quality_sides import Plan, make_trainer

from monai_cxraug.artifacts import atomic_path, write_json
from monai_cxraug.data.device_batches import DeviceBatches
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.networks.latents import normalise_latent
from monai_cxraug.synthesis.features import ClassifierFeatures

SCHEMA = "cxraug.precision/1"
_CHUNK = 50


def main() -> None:
    """Train what is not there yet, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--where", nargs="*", default=[], metavar="COLUMN=VALUE", help="choose images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--phase-images", type=int, default=1600, help="of each phase (%(default)s)")
    parser.add_argument("--images", type=int, default=24_000, help="in all (%(default)s)")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--fmap-base", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "real.npy").exists():
        write_real(_plan(args, 0, True), args.out)
    for seed in args.seeds:
        for amp in (False, True):
            _train(_plan(args, seed, amp), args, args.out / f"{'bf16' if amp else 'fp32'}_{seed}.npy")
    features = ClassifierFeatures(args.classifier)
    real = see(args.out / "real.npy", features)
    rows = [{"run": "floor", **compare(real, see(args.out / "floor.npy", features))}]
    for path in sorted(args.out.glob("*_*.npy")):
        rows.append({"run": path.stem, **compare(real, see(path, features))})
    write_json(args.out / "results.json", SCHEMA, {"features": features.name, "rows": rows})
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))


def _plan(args: argparse.Namespace, seed: int, amp: bool) -> Plan:
    resolutions = [4 * 2**k for k in range(args.resolution.bit_length() - 2)]
    return Plan(
        str(args.manifest.resolve()),
        dict(pair.split("=", 1) for pair in args.where),
        args.resolution,
        0.0,
        1,
        args.samples,
        phase_images=args.phase_images,
        shares={},
        batch_size=dict.fromkeys(resolutions, 16),
        fmap_base=args.fmap_base,
        ema_half_life=2000,
        amp=amp,
        loss="nonsaturating",
        device=args.device,
        seed=seed,
    )


def _train(plan: Plan, args: argparse.Namespace, path: Path) -> None:
    if path.exists():
        return
    began = time.monotonic()
    phase, dataset = plan.phase_images, plan.dataset()
    schedule = ProgressiveSchedule(plan.resolution, phase, phase, args.images, batch_size=plan.batch_size)
    sampler = SeededBatches(len(dataset), lambda seen: schedule.at(seen).batch_size, plan.seed)
    trainer = make_trainer(plan, schedule, DeviceBatches(dataset.real, sampler, plan.device), [])
    trainer.run()
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, _draw(trainer.ema.module, plan))
    print(path.stem, f"{time.monotonic() - began:.0f} s", flush=True)


@torch.no_grad()
def _draw(generator: torch.nn.Module, plan: Plan) -> np.ndarray:
    latents = torch.randn(plan.samples, plan.latent_size, generator=torch.Generator().manual_seed(1))
    parts = [
        generator(normalise_latent(part).to(plan.device), plan.resolution, 1.0)[:, 0].cpu()
        for part in latents.split(_CHUNK)
    ]
    return (torch.cat(parts).float().clamp(0, 1) * 255).round().byte().numpy()


if __name__ == "__main__":
    main()

"""Does the audit see copies, and only copies? python scripts/prove_audit.py DATA [--out FILE] [--half tuning|report]

DATA is a prepared folder or manifest of real images. Its patients are split by a hash of their names. One half served
to choose measures and quantiles, the other gives the figures of ``docs/synthetic_sets.md``; each is split again into
*members*, on whom a generator is said to have been trained, and *strangers*. Planted are memorisers, which give images
of members back changed; honest generators give images of strangers, as they are, blurred, averaged, changed. Printed
are the share of images that are near (recall, or false alarms), its exact 95 % interval, and the verdict on the set.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import to_unit
from monai_cxraug.synthesis.audit import MemorisationAudit

SCHEMA: Final = "cxraug.audit_proof/1"
Images = NDArray[np.float32]
Change = Callable[[Images, np.random.Generator], Images]

#: the slight warp: degrees, share of the size, and shares of the side by which it turns, scales, shifts and bends.
TURN, SCALE, SHIFT, BEND = 5.0, 0.05, 2 / 64, 1 / 64
#: standard deviations of the noise, and ranges of gamma's exponent (its logarithm), gain and offset.
NOISE, GAMMA, GAIN, OFFSET = (0.02, 0.06), 0.4, (0.75, 1.25), 0.1


# --- what is done to images, float32 [N, H, W] in [0, 1] ---


def warp(images: Images, rng: np.random.Generator) -> Images:
    """Turn, scale, shift and bend, each by what is drawn up to its limit."""
    side = images.shape[1]
    centre = (side - 1) / 2
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")) - centre
    warped = np.empty_like(images)
    for target, image in zip(warped, images, strict=True):
        angle = np.deg2rad(rng.uniform(-TURN, TURN))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        bend = ndimage.gaussian_filter(rng.normal(size=(2, side, side)), (0, side / 8, side / 8))
        bend *= BEND * side / np.abs(bend).max()
        moved = np.einsum("ij,jhw->ihw", turn * np.exp(rng.uniform(-SCALE, SCALE)), places)
        moved += rng.uniform(-SHIFT * side, SHIFT * side, (2, 1, 1)) + centre + bend
        target[:] = ndimage.map_coordinates(image, moved, order=1, mode="nearest")
    return warped


def flip(images: Images, rng: np.random.Generator) -> Images:
    """Mirror."""
    return images[:, :, ::-1].copy()


def noise(images: Images, rng: np.random.Generator) -> Images:
    """Add noise of a drawn deviation."""
    return (images + rng.normal(size=images.shape) * rng.uniform(*NOISE, (len(images), 1, 1))).astype(np.float32)


def contrast(images: Images, rng: np.random.Generator) -> Images:
    """Change gamma, gain and offset."""
    shape = (len(images), 1, 1)
    bent = np.clip(images, 0, 1) ** np.exp(rng.uniform(-GAMMA, GAMMA, shape))
    return (bent * rng.uniform(*GAIN, shape) + rng.uniform(-OFFSET, OFFSET, shape)).astype(np.float32)


def blur(images: Images, rng: np.random.Generator) -> Images:
    """Blur as a generator that is not sharp yet does: by 1/64 of the side."""
    deviation = images.shape[1] / 64
    return np.asarray(ndimage.gaussian_filter(images, (0, deviation, deviation)), dtype=np.float32)


def smear(images: Images, rng: np.random.Generator) -> Images:
    """Blur twice as much."""
    deviation = images.shape[1] / 32
    return np.asarray(ndimage.gaussian_filter(images, (0, deviation, deviation)), dtype=np.float32)


def average(count: int) -> Change:
    """Mean of an image and others."""

    def change(images: Images, rng: np.random.Generator) -> Images:
        more = [images[rng.permutation(len(images))] for _ in range(count - 1)]
        return np.asarray(np.mean([images, *more], axis=0), dtype=np.float32)

    return change


#: what a memoriser does to a member's image.
MEMORISERS: Final[dict[str, Sequence[Change]]] = {
    "as it is": (),
    "mirrored": (flip,),
    "warped": (warp,),
    "noised": (noise,),
    "re-contrasted": (contrast,),
    "blurred": (blur,),
    "warped, mirrored": (warp, flip),
    "noised, re-contrasted, mirrored": (flip, contrast, noise),
    "warped, noised": (warp, noise),
    "warped, re-contrasted": (warp, contrast),
    "warped, mirrored, re-contrasted, noised": (warp, flip, contrast, noise),
}
#: what is done to a stranger's image; an average is of several strangers.
HONEST: Final[dict[str, Sequence[Change]]] = {
    "as it is": (),
    "blurred": (blur,),
    "blurred twice as much": (smear,),
    "warped": (warp,),
    "noised": (noise,),
    "re-contrasted": (contrast,),
    "mean of 2": (average(2),),
    "mean of 8": (average(8),),
}


def apply(images: Images, changes: Sequence[Change], rng: np.random.Generator) -> Images:
    """Change images, and store them with 8 bits as a synthetic set would be."""
    for change in changes:
        images = change(images, rng)
    return (np.rint(np.clip(images, 0, 1) * 255) / 255).astype(np.float32)


def prove(
    members: Images,
    patients: Sequence[str],
    strangers: Images,
    count: int,
    honest: Sequence[str] = tuple(HONEST),
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Audit planted memorisers and honest generators.

    Args:
        members: training images, ``[M, side, side]``.
        patients: theirs.
        strangers: images of other patients; all of them are the first honest set.
        count: images of every other set.
        honest: which honest sets.
        say: told each line.

    Returns:
        A line a set: ``kind`` (memoriser or honest), ``change``, ``images``, ``near``, ``share``, ``interval``,
        ``verdict``, near by each measure, and for memorisers ``found``: the share whose very image is named.
    """
    audit = MemorisationAudit(members, [str(k) for k in range(len(members))], patients, np.ones(len(members), bool))
    rows = []
    for number, (kind, change) in enumerate([("memoriser", c) for c in MEMORISERS] + [("honest", c) for c in honest]):
        rng = np.random.default_rng(number)
        given, changes = (members, MEMORISERS[change]) if kind == "memoriser" else (strangers, HONEST[change])
        most = len(given) if (kind, change) == ("honest", "as it is") else min(count, len(given))
        chosen = np.sort(rng.choice(len(given), most, replace=False))
        found = audit.find(apply(given[chosen], changes, rng))
        report = audit.report([str(k) for k in chosen], found)
        row: dict[str, Any] = {"kind": kind, "change": change}
        row |= {
            key: report[key] for key in ("images", "near", "share", "interval", "expected_share", "copies", "verdict")
        }
        row["by"] = {name: one["near"] for name, one in report["measures"].items()}
        if kind == "memoriser":
            row["found"] = float(np.any([match.rows == chosen for match in found.by.values()], axis=0).mean())
        rows.append(row)
        say(line(row))
    return rows


def line(row: dict[str, Any]) -> str:
    """A line of the table, in Markdown."""
    low, high = (f"{100 * end:.1f}" for end in row["interval"])
    by = ", ".join(f"{name} {100 * near / row['images']:.1f}" for name, near in row["by"].items())
    named = [row["kind"], row["change"], row["images"], f"{100 * row['share']:.1f} % ({low} to {high})", by]
    return f"| {' | '.join(map(str, named))} | {row['verdict']} |"


def group(patients: Sequence[str]) -> NDArray[np.int64]:
    """Which quarter each patient belongs to: 0 and 1 tuning, 2 and 3 report; even ones are members."""
    return np.array([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 4 for name in patients])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("data", help="prepared folder or manifest of real images")
    parser.add_argument("--count", type=int, default=500, help="images of every set but the first honest one (500)")
    parser.add_argument("--half", choices=("tuning", "report"), default="report", help="patients to use (report)")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args(arguments)
    rows = PackRows(args.data)
    patients = rows.manifest["patient_id"].astype(str)
    parts = group(patients.tolist()) - (2 if args.half == "report" else 0)
    images = [to_unit(rows.pack.batch(np.flatnonzero(parts == part))) for part in (0, 1)]
    print(f"{len(images[0])} images of members, {len(images[1])} of strangers, {images[0].shape[1]} px")
    print("| set | change | images | near (95 % interval) | by measure, % | verdict |\n|---|---|---|---|---|---|")
    made = prove(images[0], patients[parts == 0].tolist(), images[1], args.count)
    if args.out:
        write_json(args.out, SCHEMA, {"half": args.half, "members": len(images[0]), "sets": made})
    return 0


if __name__ == "__main__":
    sys.exit(main())

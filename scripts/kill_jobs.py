"""Kill every long job again and again, start it again each time, and compare what comes of it in the end.

    python -m scripts.kill_jobs --kills 170 --out kills.json                 # all six jobs
    python -m scripts.kill_jobs --job gan --job sampling --kills 20 --seed 7
    python -m scripts.kill_jobs --job classifier --kills 0 --troubles 10     # full and read-only disks alone

Each job is the command that a user runs, on generated images, small enough to last a second or two. It is started in a
process of its own and ended by SIGKILL: half of the times after a share of its work (processor time, so that a busy
machine makes no difference), half of the times at one of its steps in the folder that it fills, such as a renaming. The
same command is started again in the same folder, until it comes to its end; what it made is then compared with what an
undisturbed run made, and it begins anew in a new folder. Processes are forked from one that has imported everything;
one start in so many is a fresh interpreter. After some kills the newest checkpoint is damaged, too. Then the job meets
disks that are full or read-only: small file systems of its own where this process may mount them, else failing writes.

The exit status is 1 when a start refused to go on, finished work was lost, a product differed, a process was left
behind, or a disk's trouble was not said in one line. The folder of the fault is kept then, below --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before anything of numbers is imported

from scripts.kill_campaign import Campaign  # noqa: E402
from scripts.kill_server import ServerCampaign  # noqa: E402
from scripts.kill_trouble import Volume  # noqa: E402
from scripts.kill_work import JOBS  # noqa: E402


def names() -> list[str]:
    """Every job by name."""
    return [*JOBS, "study"]


def make_campaign(name: str, folder: Path, seed: int, fresh: int = 0) -> Any:
    """The campaign against a job."""
    if name == "study":
        return ServerCampaign(folder, seed, fresh=fresh)
    return Campaign(JOBS[name], folder, seed, fresh)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, print a line a minute, write the counts."""
    args = _parse(arguments)
    import torch

    torch.set_num_threads(1)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="kill_jobs."))
    found = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for name in args.job or names():
        if name in found:
            print(f"{name}: done before, see {args.out}", file=sys.stderr)
            continue
        found[name] = _kill_one(name, folder / name, args)
        if args.out:
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(_table(found))
    faulty = any(one["faults"] for one in found.values())
    if not faulty:
        shutil.rmtree(folder, ignore_errors=True)
    return int(faulty)


def _kill_one(name: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    begun = time.monotonic()
    folder.mkdir(parents=True)
    mounted = Volume.is_possible(folder / "probe")
    campaign = make_campaign(name, folder, args.seed, args.fresh)
    campaign.run(args.kills, _Reporter())
    campaign.trouble(args.troubles, mounted)
    return {**campaign.tally.as_dict(), "wall_seconds": round(time.monotonic() - begun)}


class _Reporter:
    """Says at most one line in half a minute."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self.last > 30:
            print(line, file=sys.stderr, flush=True)
            self.last = time.monotonic()


def _table(found: dict[str, dict[str, Any]]) -> str:
    columns = ("job", "kills", "at steps", "before any", "fresh", "runs", "damaged", "troubles", "faults", "wall s")
    rows = [
        [name, *(one[key] for key in ("kills", "at_steps", "before_any", "fresh", "runs"))]
        + [sum(one[key].values()) for key in ("damaged", "trouble", "faults")]
        + [one["wall_seconds"]]
        for name, one in found.items()
    ]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (columns, ["---"] * len(columns), *rows))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", action="append", choices=names(), help="one job, may be repeated (all)")
    parser.add_argument("--kills", type=int, default=20, help="of each job (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--troubles", type=int, default=2, help="full and read-only disks (%(default)s of each)")
    parser.add_argument(
        "--fresh", type=int, default=50, help="one start in so many is a fresh interpreter, 0 none (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="to work in (a temporary one)")
    parser.add_argument("--out", type=Path, help="write the counts as JSON; jobs that it holds are not done again")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

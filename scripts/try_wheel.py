"""Build the wheel, install it into an empty environment, and run the demonstration from there.

python -m scripts.try_wheel [--smoke] FOLDER

The folder must not exist yet. Nothing of the repository is used once the wheel is built: the work is done in there,
by the environment's own ``cxraug``, on the bundles and experiments that the wheel carries.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Try the wheel; returns the exit status of what failed first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new folder")
    parser.add_argument("--smoke", action="store_true", help="a minute instead of the whole demonstration")
    asked = parser.parse_args()
    try:
        return try_wheel(asked.folder.resolve(), asked.smoke)
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))}: exit status {error.returncode}", file=sys.stderr)
        return int(error.returncode)


def try_wheel(folder: Path, smoke: bool) -> int:
    """Do all of it in a folder."""
    folder.mkdir(parents=True)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "dist", ROOT, where=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, cxraug = programs / "python", programs / "cxraug"
    pins = ("-c", ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "--quiet", *pins, "torch", where=folder)  # alone and first: CPU or CUDA stays
    run(python, "-m", "pip", "install", "--quiet", *pins, wheel, where=folder)
    run(python, "-m", "monai_cxraug", "--version", where=folder)
    run(cxraug, "doctor", where=folder)
    run(cxraug, "bundles", "copy", folder / "bundles", where=folder)
    carried = run(python, "-c", "from monai_cxraug.resources import *; print(resource_root())", where=folder, keep=True)
    demo = Path(carried.strip()) / "configs" / "experiments" / "demo.yaml"
    if not demo.is_relative_to(folder):
        print(f"error: {demo} is not of the wheel", file=sys.stderr)
        return 1
    run(cxraug, "run", demo, "--out", folder / "run", *(["--smoke"] if smoke else []), where=folder)
    report = folder / "run" / "report" / "index.html"
    print(f"{wheel.name}: {report}")
    return 0 if report.is_file() else 1


def run(*words: object, where: Path, keep: bool = False) -> str:
    """Run a command outside of the repository, without what points to it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=where, env=environment, check=True, text=True, stdout=subprocess.PIPE if keep else None
    )
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())

"""Ship the models of a finished run: python -m scripts.ship_models RUN [--seed S] [--names-are-public] [--credit LINE].

Writes, in half precision, the generators of the endpoint's cells (every seed) and one classifier of each of its two
arms into ``bundles/*/models/<experiment>/``, each with a model card, and the classifiers with their calibration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monai_cxraug.errors import CxrAugError
from monai_cxraug.experiments.shipping import Shipping


def main() -> int:
    """Ship; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="folder of the bundles (those of this checkout)")
    parser.add_argument("--seed", type=int, metavar="S", help="of the classifiers (the first of the experiment)")
    public = "patients' names in the training manifest are public; else they must be hashed (cxraug prepare --salt)"
    parser.add_argument("--names-are-public", action="store_true", help=public)
    parser.add_argument("--credit", action="append", default=[], metavar="LINE", help="for the cards; several allowed")
    asked = parser.parse_args()
    try:
        folders = Shipping(asked.run, asked.bundles, asked.seed, asked.names_are_public, asked.credit).ship()
    except CxrAugError as error:
        print(f"ship_models: error: {error}", file=sys.stderr)
        return error.exit_status
    for folder in folders:
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{folder}: {len(list(folder.rglob('model.pt')))} models, {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

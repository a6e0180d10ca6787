"""Mutated and truncated files: an image or a refusal comes out, nothing else (``scripts/fuzz_reader.py``)."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.errors import InputError

SCRIPT = Path(__file__).parents[3] / "scripts" / "fuzz_reader.py"
FILES = 4000


@pytest.mark.e2e
def test_thousands_of_mutated_files_give_images_or_refusals(tmp_path: Path) -> None:
    report = tmp_path / "fuzz.json"
    command = [sys.executable, str(SCRIPT), "--files", str(FILES), "--seed", "20", "--out", str(report)]
    result = subprocess.run([*command, "--keep", str(tmp_path / "faults")], capture_output=True, text=True, timeout=900)
    counts = json.loads(report.read_text())
    assert result.returncode == 0, counts["faults"]
    assert set(counts["outcomes"]) <= {"image", "refused", "dropped"}
    assert sum(counts["outcomes"].values()) == counts["files"] == FILES
    # both happen often, or the mutations are too strong or too weak to find anything
    assert min(counts["outcomes"]["image"], counts["outcomes"]["refused"]) > FILES / 20


@pytest.mark.e2e
def test_a_reader_that_crashes_is_noticed(tmp_path: Path) -> None:
    """The counting itself: with a reader that dies on large files, the same script must not end well."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "import monai_cxraug.data.readers as readers\n"
        "whole = readers.read_radiograph\n"
        "def broken(data, *rest):\n"
        "    return os._exit(3) if len(data) > 3000 else whole(data, *rest)\n"
        "readers.read_radiograph = broken\n"
    )
    report = tmp_path / "fuzz.json"
    command = [sys.executable, str(SCRIPT), "--files", "40", "--workers", "1", "--out", str(report)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 1, result.stderr
    assert json.loads(report.read_text())["outcomes"]["crash"] > 0


def test_what_is_cut_off_is_never_a_picture(tmp_path: Path) -> None:
    write_seeds = runpy.run_path(str(SCRIPT))["write_seeds"]
    for file in write_seeds(tmp_path):
        content = file.read_bytes()
        assert read_radiograph(content).pixels.size
        for share in np.linspace(0, 0.95, 20):
            with pytest.raises(InputError):
                read_radiograph(content[: int(share * len(content))], f"{file.name} {share:.2f}")

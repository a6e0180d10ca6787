"""Mutated and truncated files: an image or a refusal comes out, nothing else (``scripts/fuzz_reader.py``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug.data import readers
from monai_cxraug.data.readers import read_colour, read_radiograph
from monai_cxraug.errors import InputError
from scripts.fuzz_reader import Outcome, read_one
from scripts.fuzz_seeds import generated_seeds

ROOT = Path(__file__).parents[3]
SCRIPT = [sys.executable, "-m", "scripts.fuzz_reader"]
FILES = 4000


@pytest.mark.e2e
def test_thousands_of_mutated_files_give_images_or_refusals(tmp_path: Path) -> None:
    report = tmp_path / "fuzz.json"
    command = [*SCRIPT, "--files", str(FILES), "--seed", "20", "--out", str(report)]
    command += ["--keep", str(tmp_path / "faults")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT)
    counts = json.loads(report.read_text())
    assert result.returncode == 0, counts["faults"]
    assert set(counts["outcomes"]) <= {"image", "refused", "dropped"}
    assert sum(counts["outcomes"].values()) == counts["files"] == FILES
    # both happen often, or the mutations are too strong or too weak to find anything
    assert min(counts["outcomes"]["image"], counts["outcomes"]["refused"]) > FILES / 20
    assert min(counts["in_colour"]["image"], counts["in_colour"]["refused"]) > FILES / 60


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
    command = [*SCRIPT, "--files", "40", "--workers", "1", "--out", str(report)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)
    assert result.returncode == 1, result.stderr
    assert json.loads(report.read_text())["outcomes"]["crash"] > 0


@pytest.mark.parametrize("name", ["rgb.png", "turned.jpg", "deep_rgba.png", "palette.tif"])
@pytest.mark.parametrize("turned", ["channels", "rows"])
def test_a_wrong_colour_reading_is_noticed(name: str, turned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = generated_seeds()[name]
    assert read_one(content, patient=True, colour=True) == Outcome("image")

    def broken(*args: Any) -> readers.Radiograph:
        right = read_colour(*args)
        stored = right.stored[..., ::-1] if turned == "channels" else right.stored[::-1]
        return replace(right, stored=np.ascontiguousarray(stored))

    monkeypatch.setattr(readers, "read_colour", broken)
    assert read_one(content, patient=True, colour=True).kind == "disagreement"


def test_a_picture_refused_in_one_reading_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = generated_seeds()["rgb.png"]
    monkeypatch.setattr(readers, "read_colour", lambda *args: read_colour(content[:-20], *args[1:]))
    assert read_one(content, patient=True, colour=True).kind == "disagreement"


def test_what_is_cut_off_is_never_a_picture() -> None:
    for name, content in generated_seeds().items():
        assert read_radiograph(content).pixels.size
        for share in np.linspace(0, 0.95, 20):
            with pytest.raises(InputError):
                read_radiograph(content[: int(share * len(content))], f"{name} {share:.2f}")

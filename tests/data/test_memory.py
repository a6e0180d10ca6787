"""Preparing needs the same memory for a hundred thousand images as for a few."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack

IMAGES, SIDE, MOST = 100_000, 32, 2**30

PREPARE = """
import json, re, resource, sys
from pathlib import Path
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request

prepare(Request("images", sys.argv[1], size=32), Path(sys.argv[2]))
# not ru_maxrss for the process itself: it starts with that of the process that started it
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps([own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_a_hundred_thousand_images_fit_into_a_gibibyte(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number in range(IMAGES):
            stream = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(stream, "PNG", compress_level=1)
            archive.writestr(f"{number // 1000:03d}/{number:06d}.png", stream.getvalue())
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "images.zip"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    parent, worker = (kib * 1024 for kib in json.loads(run.stdout))
    print(f"peak of the process {parent / 2**20:.0f} MiB, of the largest decoding process {worker / 2**20:.0f} MiB")
    assert parent < MOST
    assert worker < MOST
    manifest = read_manifest(tmp_path / "out")
    assert len(manifest) == len(Pack(tmp_path / "out", manifest).array) == IMAGES

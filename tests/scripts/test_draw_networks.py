from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.artifacts import file_hash, write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.networks.corruption import Corruption
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.weights import save_model
from monai_cxraug.study.networks import draw_network
from scripts.draw_networks import main


def write_network(folder: Path, kind: str) -> None:
    about = {"corruption": Corruption(kind).settings, "patients_seen": [], "size": 64}
    save_model(folder / "model.pt", "distortion", EncoderDecoder(layers=2, width=2), about)


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / "networks"
    for name, kind in (("autoencoder", "white_noise"), ("conditional_gan", "null"), ("drawn/0", "downsampling")):
        write_network(folder / name, kind)
    entry = {"folder": "0", "sha256": file_hash(folder / "drawn/0/model.pt"), "drawn": draw_network(0, 0, 64)}
    write_json(folder / "drawn" / "networks.json", "cxraug.networks/1", {"networks": [entry]})
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k}", "split": "val", "source": "real", "view": "PA" if k else "AP"}
        for k in range(4)
    ]
    (tmp_path / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    write_pack(tmp_path / "data", images, [row["image"] for row in rows])
    labels = np.full((4, 1), np.nan, np.float32)
    return Manifest(make_columns(rows), ("Edema",), labels, {"name": "t"}).write(tmp_path / "data", {})


def test_pictures_and_figures(networks: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(networks), str(manifest), str(out), "view=PA"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "autoencoder.png",
        "conditional_gan.png",
        "drawn.png",
        "figures.md",
    }
    assert Image.open(out / "autoencoder.png").size == (6 * 2 * 65, 3 * (2 * 64 + 13))
    table = (out / "figures.md").read_text().splitlines()
    assert len(table) == 2 + 3
    assert "denoising autoencoder" in table[2]
    assert '"n": 3' in (networks / "autoencoder" / "metrics.json").read_text()


def test_what_is_missing_is_said_in_one_line(
    networks: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere"), str(manifest), str(tmp_path / "out")]) == 2
    written = capsys.readouterr().err
    assert written.startswith("error: ")
    assert written.count("\n") == 1
    assert main(["networks"]) == 2

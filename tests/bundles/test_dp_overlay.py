"""The generator bundle with a private discriminator: it trains, tells what it cost, and refuses what would break it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.generators import load_generator

pytest.importorskip("opacus")
pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_pggan" / "configs"


def train(manifest: Path, out: Path, *overlays: str, **settings: Any) -> Path:
    files = [CONFIGS / f"{name}.json" for name in ("train", "smoke", "dp", *overlays)]
    given = {"device": "cpu", "threads": 1, "resolution": 16, "total_images": 96, "finding": "Edema"}
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest)}
    run_stage(files, {**place, **given, **settings})
    return out


def test_it_trains_and_says_what_it_cost(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(train(manifest, tmp_path, **{"privacy#noise": 2.0}))
    spent = model.about["privacy"]
    assert (spent["unit"], spent["noise"], spent["patients"], spent["steps"]) == ("patient", 2.0, 8, 48)
    assert spent["patients"] == len(model.about["patients_seen"])
    assert spent["delta"] == pytest.approx(0.1 / 8)
    assert spent["holds"]
    assert f"epsilon {spent['epsilon']:.3g} at delta" in capsys.readouterr().err
    generator = load_generator(tmp_path, device="cpu")
    assert generator.provenance()["privacy"] == spent
    assert np.isfinite(generator.sample(2, "Edema", 0)).all()


def test_what_breaks_it_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a private discriminator has no penalty"):
        train(manifest, tmp_path, "few_images")
    with pytest.raises(ConfigError, match="is told no labels"):
        train(manifest, tmp_path, finding=None, condition=["Edema"], **{"discriminator_def#findings": 1})

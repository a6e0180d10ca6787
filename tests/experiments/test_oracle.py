"""A generator that cannot be better, the phantoms' simulator, is found to help; the same images as placebo are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.artifacts import load_json
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.experiments.arms import missing_controls
from scripts import prove_oracle as oracle
from scripts.prove_oracle import ARMS, CLASSES, FINDING, Size, declare, run_world, write_world

SMALL = Size(training=80, test=60, ratio=2, side=16)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_world(tmp_path_factory.mktemp("world"), 950, SMALL)


def test_the_oracle_saw_nobody_and_shows_the_finding(world: tuple[Path, Path]) -> None:
    real, external = read_manifest(world[0]), read_manifest(world[1])
    assert load_json(world[1] / "provenance.json")["patients_seen"] == []
    assert set(external["source"]) == {"external"}
    assert (external.label(FINDING) == 1).all()
    others = [name for name in CLASSES if name != FINDING]
    assert np.isnan(external.label_matrix(others)).all()
    train = np.concatenate([real.rows("train"), real.rows("val")])
    assert (len(train), len(real.rows("test"))) == (80, 60)
    assert len(external) == 2 * int((real.label(FINDING)[train] == 1).sum()) > 0


def test_its_images_are_new_and_look_like_the_real_ones(world: tuple[Path, Path]) -> None:
    real, external = read_manifest(world[0]), read_manifest(world[1])
    assert not set(external["content"]) & set(real["content"])
    means = [Pack(one.path.parent, one).batch(np.arange(len(one))).mean(axis=(1, 2)) for one in (real, external)]
    assert abs(means[0].mean() - means[1].mean()) < 3 * means[0].std() / np.sqrt(len(external))


def test_every_image_of_the_oracle_was_drawn_with_the_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(oracle, "render", lambda study, side, seed: drawn.append(study) or render(study, side, seed))
    _, external = write_world(tmp_path, 950, SMALL)
    made = drawn[-len(read_manifest(external)) :]
    assert all(FINDING in {cause.finding for cause in study.causes} for study in made)
    assert not all(FINDING in study.findings for study in drawn[: -len(made)])


def test_every_control_is_there_and_the_endpoint_is_declared(world: tuple[Path, Path]) -> None:
    experiment = declare(*world, 950, SMALL)
    assert missing_controls(ARMS) == []
    assert (experiment.endpoint.arm, experiment.endpoint.reference) == ("external", "duplicate_real")
    assert experiment.endpoint.finding == FINDING
    assert not experiment.allow_synthetic_majority


@pytest.mark.slow
def test_the_oracle_helps_and_its_placebo_does_not(tmp_path: Path) -> None:
    """On a world apart from those that are reported."""
    found = run_world(tmp_path, 901, Size(test=1000))
    assert found["oracle"]["verdict"] == "helps"
    assert found["placebo"]["verdict"] != "helps"
    assert found["arms"]["external"] > max(area for arm, area in found["arms"].items() if arm != "external")

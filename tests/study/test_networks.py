from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.weights import load_model
from monai_cxraug.study import networks
from monai_cxraug.study.networks import DrawNetworks, draw_network
from monai_cxraug.synthesis.distorters import load_distorters
from monai_cxraug.transforms.functional.drawn_distortion import DrawnDistortion

ROOT = Path(__file__).resolve().parents[2]
#: settings of a drawn network that the architecture takes.
SHAPE = ("layers", "width", "widest", "first_stride", "skips", "top_skip", "dropout_layers", "upsampling")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 images of 32 px of 8 patients, half of them for training."""
    folder = tmp_path_factory.mktemp("radiographs")
    rows = [
        {"image": f"{k}.png", "patient_id": f"p{k // 2}", "split": "train" if k < 8 else "val", "source": "real"}
        for k in range(16)
    ]
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32), dtype=np.uint8)
    write_pack(folder, images, [row["image"] for row in rows])
    labels = np.full((16, 1), np.nan, np.float32)
    return Manifest(make_columns(rows), ("Edema",), labels, {"name": "tiny"}).write(folder, {})


def job(manifest: Path, out: Path, **changes: Any) -> DrawNetworks:
    return DrawNetworks(manifest, out, **{"count": 3, "seed": 5, "steps": 2, "size": 32, "batch_size": 2, **changes})


# --- the draw ---


@hypothesis_settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(0, 1000), st.sampled_from([16, 32, 64, 96]), st.booleans(), st.booleans())
def test_every_draw_is_a_network_that_takes_the_images(
    seed: int, number: int, size: int, colour: bool, features: bool
) -> None:
    drawn = draw_network(seed, number, size, colour, features)
    assert drawn == draw_network(seed, number, size, colour, features)
    network = EncoderDecoder(**{name: drawn[name] for name in SHAPE}, normalisation=drawn["normalisation"])
    assert size % network.stride == 0
    assert size >= 2 * network.stride
    assert colour or drawn["corruption"] != "colour_removal"
    assert features or drawn["feature_weight"] == 0
    assert (drawn["task"] == "distort") == (drawn["imitated"] is not None)
    if drawn["task"] == "distort":
        assert drawn["adversarial_weight"] > 0
        assert "#" not in DrawnDistortion(drawn["imitated"]).text


def test_a_network_does_not_depend_on_how_many_there_are_nor_on_features() -> None:
    plain, compared = draw_network(1, 4, 64), draw_network(1, 4, 64, features=True)
    assert {**plain, "feature_weight": 0} == {**compared, "feature_weight": 0}
    assert draw_network(1, 5, 64) != plain != draw_network(2, 4, 64)


def test_the_whole_space_is_drawn() -> None:
    drawn = [draw_network(0, number, 64, features=True) for number in range(400)]
    for name, least in {
        "task": 2,
        "corruption": 4,
        "upsampling": 4,
        "normalisation": 3,
        "layers": 4,
        "skips": 5,
    }.items():
        assert len({one[name] for one in drawn}) >= least, name
    for name in ("feature_weight", "adversarial_weight"):
        assert 0.3 < np.mean([one[name] > 0 for one in drawn]) < 0.75


@pytest.mark.parametrize("size", [7, 12])
def test_images_too_small_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="size: must be a multiple of 8"):
        draw_network(0, 0, size)


# --- the work ---


def test_networks_are_trained_listed_and_loaded(manifest: Path, tmp_path: Path) -> None:
    listed = job(manifest, tmp_path / "out").run()
    document = json.loads(listed.read_text())
    assert document["patients_seen"] == ["p0", "p1", "p2", "p3"], "training patients alone"
    assert [entry["drawn"] for entry in document["networks"]] == [draw_network(5, k, 32) for k in range(3)]
    for number, distorter in enumerate(load_distorters(tmp_path / "out")):
        drawn, model = draw_network(5, number, 32), distorter.model
        assert all(model.settings[name] == drawn[name] for name in SHAPE)
        assert model.about["task"] == drawn["task"]
        assert model.about["corruption"]["kind"] == drawn["corruption"]
        assert model.about["images_seen"] == 4
    left = {path.name for path in (tmp_path / "out" / "0").iterdir()}
    assert left == {"drawn.json", "model.pt", "samples"}


def test_a_broken_run_goes_on_and_ends_the_same(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(manifest, tmp_path / "whole").run()
    real, calls = run_stage, []

    def stop_at_the_second(*given: Any) -> list[Any]:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(networks, "run_stage", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        job(manifest, tmp_path / "out").run()
    assert not (tmp_path / "out" / "networks.json").exists()
    job(manifest, tmp_path / "out").run()
    assert len(calls) == 4, "the first network stays as it is"
    for number in range(3):
        assert file_hash(tmp_path / "out" / str(number) / "model.pt") == file_hash(
            tmp_path / "whole" / str(number) / "model.pt"
        )


def test_more_networks_are_added(manifest: Path, tmp_path: Path) -> None:
    job(manifest, tmp_path, count=1).run()
    before = file_hash(tmp_path / "0" / "model.pt")
    job(manifest, tmp_path, count=2).run()
    assert file_hash(tmp_path / "0" / "model.pt") == before
    assert len(load_distorters(tmp_path)) == 2


@pytest.mark.parametrize("changes", [{"seed": 6}, {"steps": 4}, {"where": {"view": "PA"}}])
def test_a_folder_of_other_settings_is_refused(manifest: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    job(manifest, tmp_path, count=1).run()
    with pytest.raises(StateError, match="must be the network that these settings draw; found other settings"):
        job(manifest, tmp_path, count=1, **changes).run()


@pytest.mark.parametrize("changes", [{"count": 0}, {"seed": -1}, {"steps": 0}, {"steps": True}, {"size": 4}])
def test_numbers_out_of_range_are_refused(manifest: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(changes))}: must be a whole number of at least"):
        job(manifest, tmp_path / "out", **changes).run()
    assert not (tmp_path / "out").exists()


def test_the_configuration_runs_it(manifest: Path, tmp_path: Path) -> None:
    given = {"manifest": str(manifest), "out": str(tmp_path), "count": 1, "steps": 1, "size": 32, "batch_size": 2}
    assert run_stage(ROOT / "configs" / "study_networks.json", given) == [tmp_path / "networks.json"]
    assert load_model(tmp_path / "0").kind == "distortion"
    shutil.rmtree(tmp_path / "0")
    with pytest.raises(ConfigError, match="'counts'; did you mean 'count'"):
        run_stage(ROOT / "configs" / "study_networks.json", {**given, "counts": 2})

"""The index of shipped models is somebody else's file: whatever is wrong with it is told in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.artifacts import write_json, write_text
from monai_cxraug.errors import CxrAugError, InputError
from monai_cxraug.experiments.shipped import SCHEMA, find_shipped, read_shipped
from tests.experiments.conftest import document

ROOT = Path(__file__).resolve().parents[2]


def index() -> dict[str, Any]:
    """A valid index of one classifier."""
    stage = {"id": "gan-f1-s0", "arm": "gan", "fraction": 1.0, "ratio": 1.0, "seed": 0, "counts": {}, "synthetic": []}
    files = {"model.pt": "0" * 64}
    entry = {"kind": "cell", "stage": stage, "files": files, "settings": {}, "overlays": []}
    return {"experiment": document(), "classes": ["Effusion"], "salt": None, "models": [entry]}


def test_a_bundle_ships_one_experiment_or_is_asked_which(tmp_path: Path) -> None:
    write_json(tmp_path / "models" / "one" / "shipped.json", SCHEMA, index())
    assert find_shipped(tmp_path).folder == find_shipped(tmp_path / "models" / "one").folder
    write_json(tmp_path / "models" / "two" / "shipped.json", SCHEMA, index())
    with pytest.raises(InputError, match=r"models of several experiments; found one, two; give .*models/one"):
        find_shipped(tmp_path)


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("experiment", value=None),
        _set("experiment", value={"name": "x"}),
        _set("experiment", "budget", value={"classifier": 7, "relpicates": 1}),
        _set("classes", value="Effusion"),
        _set("classes", value=[1, 2]),
        _set("models", value=None),
        _set("models", value=[7]),
        _set("models", 0, "kind", value="judge"),
        _set("models", 0, "kind", value=[]),
        _set("models", 0, "stage", value={}),
        _set("models", 0, "stage", "id", value="../../../secrets"),
        _set("models", 0, "stage", "id", value="/etc"),
        _set("models", 0, "stage", "id", value=7),
        _set("models", 0, "stage", "more", value=1),
        _set("models", 0, "files", value={}),
        _set("models", 0, "files", value=["model.pt"]),
        _set("models", 0, "settings", value=3),
        _set("models", 0, "overlays", value="smoke"),
        _set("operating", value=[1]),
    ],
)
def test_what_the_index_may_hold_wrongly(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = index()
    write_json(tmp_path / "shipped.json", SCHEMA, content)
    read_shipped(tmp_path)
    change(content)
    write_json(tmp_path / "shipped.json", SCHEMA, content)
    with pytest.raises(CxrAugError) as caught:
        read_shipped(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "cxraug.plan/2"}'])
def test_what_is_no_index(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "shipped.json", text)
    with pytest.raises(CxrAugError, match=r"shipped\.json"):
        read_shipped(tmp_path)


def test_a_file_of_a_model_may_not_lie_elsewhere(tmp_path: Path) -> None:
    content = index()
    content["models"][0]["files"]["../../key"] = "0" * 64
    write_json(tmp_path / "shipped.json", SCHEMA, content)
    (one,) = read_shipped(tmp_path).models
    (one.folder).mkdir()
    (one.folder / "model.pt").touch()
    with pytest.raises(CxrAugError):
        one.require_whole()


@pytest.mark.parametrize("bundle", ["chest_xray_classification", "chest_xray_pggan", "image_infogan"])
def test_git_takes_what_is_shipped_and_leaves_what_you_train(bundle: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    names = ["model.pt", "x/model.pt", "x/y/model.pt", "x/y/checkpoint.pt", "x/y/calibration.json", "x/y/card.md"]
    paths = [f"bundles/{bundle}/models/{name}" for name in [*names, "x/shipped.json"]]
    ignored = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    assert [Path(line).relative_to(f"bundles/{bundle}/models").as_posix() for line in ignored.stdout.split()] == [
        "model.pt",
        "x/model.pt",
        "x/y/checkpoint.pt",
    ]

"""Where bundles and configurations are found, how they are copied out, and what the wheel carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from monai_cxraug import resources
from monai_cxraug.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def make_bundle(root: Path, name: str) -> Path:
    """Write a bundle of two files and a cache that must not travel."""
    for file in ("configs/train.json", "models/model.pt", "__pycache__/x.pyc"):
        path = root / "bundles" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}/{file}")
    return root / "bundles" / name


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two bundles and a folder that is none; the package is taken to lie in it."""
    root = tmp_path / "repository"
    for name in ("pggan", "classifier"):
        make_bundle(root, name)
    (root / "bundles" / "notes").mkdir()
    (root / "configs").mkdir()
    (root / "monai_cxraug").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", root / "monai_cxraug")
    return root


def files_under(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_root_of_this_checkout_holds_both_folders() -> None:
    assert resources.resource_root() == ROOT


def test_wheel_resources_come_before_the_repository(repository: Path) -> None:
    assert resources.resource_root() == repository
    for name in ("bundles", "configs"):
        (repository / "monai_cxraug" / "_resources" / name).mkdir(parents=True)
    assert resources.resource_root() == repository / "monai_cxraug" / "_resources"


def test_root_without_both_folders_is_refused(repository: Path) -> None:
    (repository / "configs").rmdir()
    with pytest.raises(InputError, match=r"bundles/ and configs/ .*; found neither; install the wheel"):
        resources.resource_root()


def test_copy_takes_bundles_only_and_whole(repository: Path, tmp_path: Path) -> None:
    copied = resources.copy_bundles(tmp_path / "new" / "out")
    assert copied == [tmp_path / "new" / "out" / name for name in ("classifier", "pggan")]
    expected = {
        f"{name}/{file}" for name in ("classifier", "pggan") for file in ("configs/train.json", "models/model.pt")
    }
    assert files_under(tmp_path / "new" / "out") == {file: file for file in expected}
    assert sorted(os.listdir(tmp_path / "new" / "out")) == ["classifier", "pggan"]


def test_copy_leaves_other_files_alone(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    resources.copy_bundles(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


@pytest.mark.usefixtures("repository")
def test_copy_refuses_to_overwrite_and_copies_nothing(tmp_path: Path) -> None:
    (tmp_path / "out" / "pggan").mkdir(parents=True)
    with pytest.raises(InputError, match=r"out/pggan: must not exist yet"):
        resources.copy_bundles(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["pggan"]


@pytest.mark.parametrize(
    ("inside", "rule"), [("pggan/docs", "must lie outside the bundle"), ("", "must not exist yet")]
)
def test_copy_into_the_bundles_themselves_is_refused(repository: Path, inside: str, rule: str) -> None:
    before = files_under(repository)
    with pytest.raises(InputError, match=rule):
        resources.copy_bundles(repository / "bundles" / inside)
    assert files_under(repository) == before


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("target", ["file", "file/below"])
def test_copy_onto_a_file_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="must be a folder that can be written"):
        resources.copy_bundles(tmp_path / target)
    assert (tmp_path / "file").read_text() == "kept"


def test_failure_half_way_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    (repository / "bundles" / "pggan" / "broken").symlink_to("nowhere")  # cannot be copied; classifier comes before it
    with pytest.raises(InputError, match="broken"):
        resources.copy_bundles(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked wheel, built by this checkout's own settings from its package and one planted bundle and config."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "monai_cxraug", source / "monai_cxraug")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    make_bundle(source, "pggan")
    for file in ("README.md", "configs/experiments/demo.yaml", "tests/test_it.py", "scripts/tool.py"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text(file)
    shutil.copy(ROOT / "scripts" / "build_kernels.py", source / "scripts")
    build = "from hatchling.build import build_wheel; build_wheel('.')"
    run = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (wheel,) = source.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(source / "site")
    return source / "site"


def test_wheel_carries_package_bundles_and_configs_alone(site: Path) -> None:
    carried = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {name for name in carried if "_resources" in name} == {
        "monai_cxraug/_resources/bundles/pggan/configs/train.json",
        "monai_cxraug/_resources/bundles/pggan/models/model.pt",
        "monai_cxraug/_resources/configs/experiments/demo.yaml",
    }
    assert "monai_cxraug/py.typed" in carried
    assert {name.partition("/")[0].partition("-")[0] for name in carried} == {"monai_cxraug"}


def test_installed_wheel_copies_its_own_bundles(site: Path, tmp_path: Path) -> None:
    code = "from monai_cxraug.resources import *; print(resource_root(), *copy_bundles('out'), sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == [str(site / "monai_cxraug" / "_resources"), str(tmp_path / "out" / "pggan")]
    assert (tmp_path / "out" / "pggan" / "configs" / "train.json").read_text() == "pggan/configs/train.json"

"""The build hook: compiles once, never keeps a stale library, and builds without a compiler."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "monai_cxraug" / "data" / "kernels.c"
FUNCTIONAL = Path("monai_cxraug", "transforms", "functional")
OTHERS = ("levels", "neighbourhood")


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("build_kernels", ROOT / "scripts" / "build_kernels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    data = tmp_path / "monai_cxraug" / "data"
    data.mkdir(parents=True)
    shutil.copy(SOURCE, data)
    (tmp_path / FUNCTIONAL).mkdir(parents=True)
    for name in OTHERS:
        shutil.copy(ROOT / FUNCTIONAL / f"{name}.c", tmp_path / FUNCTIONAL)
    return data


def initialize(hook: ModuleType, root: Path, target: str = "wheel") -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    builder = SimpleNamespace(root=str(root), target_name=target, app=SimpleNamespace(display_warning=said.append))
    build_data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook.KernelBuildHook.initialize(builder, "standard", build_data)
    return build_data, said


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_wheel_of_one_platform(hook: ModuleType, tree: Path, tmp_path: Path) -> None:
    build_data, said = initialize(hook, tmp_path)
    library = tree / f"_kernels{hook.SUFFIX}"
    assert library.is_file()
    assert said == []
    assert build_data["pure_python"] is False
    assert build_data["tag"].startswith("py3-none-")
    assert not set(build_data["tag"][len("py3-none-") :]) & set("-.")
    others = [FUNCTIONAL / f"_{name}{hook.SUFFIX}" for name in OTHERS]
    assert build_data["artifacts"] == [
        f"/monai_cxraug/data/{library.name}",
        *(f"/{path.as_posix()}" for path in others),
    ]
    assert all((tmp_path / path).is_file() for path in others)
    assert sorted(path.name for path in tree.iterdir()) == sorted([library.name, "kernels.c"])


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_compiled_once_for_a_source(hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tree / "_kernels.so"
    assert hook.build(tree / "kernels.c", library) == (library, "")
    before = library.stat().st_mtime_ns
    monkeypatch.setenv("CC", "")
    assert hook.build(tree / "kernels.c", library) == (library, "")
    assert library.stat().st_mtime_ns == before
    (tree / "kernels.c").write_bytes(SOURCE.read_bytes() + b"\n")
    assert hook.build(tree / "kernels.c", library) == (None, "no C compiler was found")
    assert not library.exists()


@pytest.mark.parametrize(
    ("compiler", "words"),
    [("", "no C compiler was found"), ("no-such-compiler -x", "No such file"), (f"{sys.executable} -c 1/0", "Error")],
)
def test_no_compiler_is_one_line(
    hook: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, words: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    build_data, said = initialize(hook, tmp_path)
    assert build_data == {"artifacts": [], "pure_python": True}
    assert len(said) == 1
    assert words.lower() in said[0].lower()
    assert "\n" not in said[0]
    assert [path.name for path in tree.iterdir()] == ["kernels.c"]


def test_a_source_distribution_is_left_alone(hook: ModuleType, tree: Path, tmp_path: Path) -> None:
    assert initialize(hook, tmp_path, "sdist") == ({"artifacts": [], "pure_python": True}, [])
    assert [path.name for path in tree.iterdir()] == ["kernels.c"]

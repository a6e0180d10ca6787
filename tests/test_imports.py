"""The import arrows of the house, read from the source by ``ast``: printed with ``pytest -s``, and checked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "monai_cxraug"

#: Boxes that every box may import.
LEAVES = frozenset(
    {"errors", "artifacts", "console", "keys", "labels", "predictions", "resources", "compiled", "tracking"}
    | {"config_audit", "plain_yaml"}
)

#: What each box may import besides the leaves and itself. A finer box (``networks.latents``) has a line of its own and
#: belongs to the larger one, which may import it, and so may those that may import the larger one.
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "keys": frozenset(),
    "artifacts": frozenset(),
    "labels": frozenset(),
    "predictions": frozenset(),
    "resources": frozenset(),
    "compiled": frozenset(),
    "config_audit": frozenset(),
    "console": frozenset(),
    "plain_yaml": frozenset(),
    "tracking": frozenset(),
    "bundle_config": frozenset(),
    "transforms.functional": frozenset(),
    "transforms": frozenset(),
    "data": frozenset({"transforms.functional"}),
    "networks.latents": frozenset(),
    "networks": frozenset(),
    "losses": frozenset(),
    "metrics.masked": frozenset({"metrics"}),
    "metrics": frozenset(),
    "engines.schedule": frozenset(),
    "engines": frozenset({"losses", "networks.latents"}),
    "calibration": frozenset({"metrics"}),
    "handlers": frozenset({"engines", "losses", "metrics", "networks.latents", "calibration"}),
    "reporting": frozenset({"metrics"}),
    "synthesis": frozenset({"data", "networks", "engines", "metrics"}),
    "experiments": frozenset(
        {"data", "synthesis", "metrics", "bundle_config", "calibration", "config_audit", "networks"}
    ),
}
#: Boxes that may import everything.
FREE = frozenset({"bundles", "study", "interop", "doctor", "cli", "__main__"})

#: Boxes of plain arrays and files: a report or a metric needs no deep-learning framework, nor a box of ours that does.
TORCH_FREE = LEAVES | {"metrics", "reporting", "engines.schedule"}

#: Third-party modules that always come with the package. Any other is optional, and imported where it is used.
CORE = frozenset(
    "PIL fire ignite monai nibabel numpy pydicom scipy sklearn tensorboard torch tqdm yaml".split()  # noqa: SIM905
)
IMPORTERS = frozenset({"import_module", "__import__", "optional_import"})


@dataclass(frozen=True)
class Import:
    """One import statement: the module wanted, where, and whether it runs when the file is imported."""

    file: Path
    line: int
    module: str
    at_top: bool


def read_imports(file: Path, root: Path) -> Iterator[Import]:
    """Every import of a file: statements and literal calls, in functions and under TYPE_CHECKING too."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    later = {child for node in ast.walk(tree) if _runs_later(node) for child in ast.walk(node) if child is not node}
    parts = file.relative_to(root).with_suffix("").parts
    package = parts[:-1]  # of a module and of an __init__ alike
    for node in ast.walk(tree):
        for module in _modules_of(node, package):
            yield Import(file.relative_to(root), getattr(node, "lineno", 0), module, node not in later)


def _runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _modules_of(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = ".".join(
            [*(package[: len(package) - node.level + 1] if node.level else ()), *filter(None, [node.module])]
        )
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS:
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def box_of(module: str, root: Path) -> str:
    """The box of one of our modules: the finest in the table, else the first name; "" for the package itself."""
    names = module.split(".")[1:]
    for length in (2, 1):
        if (box := ".".join(names[:length])) in ALLOWED or box in FREE:
            return box
    first = names[0] if names else ""
    exists = (root / PACKAGE / first).is_dir() or (root / PACKAGE / f"{first}.py").is_file()
    return first if exists else ""  # otherwise a name that the package's __init__ defines


def may_import(box: str, wanted: str) -> bool:
    """Whether the table allows the arrow ``box -> wanted``."""
    if box in FREE or wanted in LEAVES | {"", box}:
        return True
    if box in TORCH_FREE and wanted not in TORCH_FREE:
        return False
    allowed = ALLOWED.get(box, frozenset()) | {box}
    return wanted in allowed or wanted.partition(".")[0] in allowed


def check_house(root: Path) -> tuple[dict[str, set[str]], list[str]]:
    """Read all modules under ``root/monai_cxraug``.

    Returns:
        The arrows found, box to boxes, and one line for each import that breaks a rule.
    """
    arrows: dict[str, set[str]] = {}
    broken = []
    for file in sorted((root / PACKAGE).rglob("*.py")):
        if "_resources" in file.parts:
            continue
        box = _box_of_file(file, root)
        if box and box not in ALLOWED and box not in FREE:
            broken.append(f"{file.relative_to(root)}: box {box!r} is not in the table of {Path(__file__).name}")
        for found in read_imports(file, root):
            if found.module.split(".")[0] == PACKAGE:
                arrows.setdefault(box, set()).add(box_of(found.module, root))
            if reason := _find_fault(box, found, root):
                broken.append(f"{found.file}:{found.line}: {reason}")
    return {box: wanted - {box, ""} for box, wanted in arrows.items()}, list(dict.fromkeys(broken))


def _box_of_file(file: Path, root: Path) -> str:
    names = [name for name in file.relative_to(root).with_suffix("").parts if name != "__init__"]
    return box_of(".".join(names), root)


def _find_fault(box: str, found: Import, root: Path) -> str:
    top = found.module.split(".")[0]
    if top == PACKAGE:
        wanted = box_of(found.module, root)
        return "" if may_import(box, wanted) else f"{box or PACKAGE} may not import {wanted}"
    if top in {"tests", "scripts", "benchmarks"}:
        return f"{PACKAGE} may not import {top}"
    if box in TORCH_FREE and top in {"torch", "monai", "ignite"}:
        return f"{box} may not import {top}: it works on plain arrays and files"
    if found.at_top and top not in CORE and top not in sys.stdlib_module_names and top != "__future__":
        return f"{top} is optional: import it in the function that uses it"
    return ""


def test_our_imports_follow_the_arrows() -> None:
    arrows, broken = check_house(ROOT)
    lines = [f"{box or PACKAGE} -> {', '.join(sorted(wanted)) or 'nothing'}" for box, wanted in sorted(arrows.items())]
    print("\n" + "\n".join(lines))
    assert not broken, "\n".join(broken)
    assert "errors" in arrows["artifacts"]  # the walk saw something


VIOLATIONS = {
    "wrong box": ("metrics/auroc.py", "from monai_cxraug.data.pack import Pack", "metrics may not import data"),
    "in a function": (
        "losses/gan.py",
        "def f():\n    import monai_cxraug.engines.gan",
        "losses may not import engines",
    ),
    "for types only": (
        "data/pack.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from monai_cxraug.networks import PGGAN",
        "data may not import networks",
    ),
    "by name from the package": (
        "networks/pggan.py",
        "from monai_cxraug import losses",
        "networks may not import losses",
    ),
    "relative": ("networks/pggan.py", "from ..engines import gan", "networks may not import engines"),
    "relative from an init": ("engines/__init__.py", "from ..handlers import ema", "engines may not import handlers"),
    "larger than the finer box": (
        "engines/gan.py",
        "from monai_cxraug.networks import pggan",
        "engines may not import networks",
    ),
    "finer box upwards": ("networks/latents.py", "from . import pggan", "networks.latents may not import networks"),
    "by a call": (
        "data/pack.py",
        "import importlib\nimportlib.import_module('monai_cxraug.cli')",
        "data may not import cli",
    ),
    "by the package itself": ("__init__.py", "from monai_cxraug.data import pack", "monai_cxraug may not import data"),
    "leaf upwards": ("keys.py", "from monai_cxraug.data import pack", "keys may not import data"),
    "the command line": ("experiments/runner.py", "from monai_cxraug import cli", "experiments may not import cli"),
    "unknown box": ("helpers.py", "import os", "box 'helpers' is not in the table"),
    "optional at the top": (
        "data/dicom.py",
        "try:\n    import itk\nexcept ImportError:\n    itk = None",
        "itk is optional",
    ),
    "optional by a call": ("data/dicom.py", "cv2, _ = optional_import('cv2')", "cv2 is optional"),
    "optional in a class": ("study/page.py", "class A:\n    import fastapi", "fastapi is optional"),
    "torch in plain arrays": ("metrics/auroc.py", "def f():\n    import torch", "metrics may not import torch"),
    "torch by way of our own": ("metrics/__init__.py", "from . import masked", "metrics may not import metrics.masked"),
    "scripts": ("cli.py", "import scripts.tool", "may not import scripts"),
}


def plant(root: Path, file: str, text: str) -> Path:
    """Write one module into an otherwise empty house."""
    path = root / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / PACKAGE / "__init__.py").touch()
    path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(("file", "text", "message"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_planted_violation_is_found(tmp_path: Path, file: str, text: str, message: str) -> None:
    _, broken = check_house(plant(tmp_path, file, text))
    assert len(broken) == 1
    assert message in broken[0]
    assert file.rpartition("/")[2] in broken[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "data/pack.py",
            "from monai_cxraug import __version__\nfrom monai_cxraug.transforms import functional\nimport numpy",
        ),
        ("engines/gan.py", "from monai_cxraug.engines.schedule import Schedule\nfrom ..networks.latents import draw"),
        ("synthesis/sample.py", "from monai_cxraug.networks.latents import draw\nimport monai_cxraug.engines.schedule"),
        ("handlers/roc.py", "from monai_cxraug.metrics import auroc\nfrom monai_cxraug.errors import InputError"),
        ("transforms/noise.py", "from . import functional\nfrom monai_cxraug import keys"),
        ("metrics/masked.py", "import torch\nfrom monai_cxraug.metrics.auroc import auroc"),
        ("study/page.py", "def serve():\n    import fastapi"),
        ("data/dicom.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import itk"),
        ("cli.py", "from monai_cxraug import data, experiments, interop"),
    ],
)
def test_allowed_import_passes(tmp_path: Path, file: str, text: str) -> None:
    assert check_house(plant(tmp_path, file, text))[1] == []


def test_package_import_is_light() -> None:
    code = "import sys, monai_cxraug; print(*(set(sys.argv[1:]) & sys.modules.keys()))"
    heavy = [*CORE, "itk", "matplotlib", "pandas", "torchvision"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""

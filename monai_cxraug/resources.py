"""Bundles and configurations that travel with the package: found in a wheel and in a repository alike."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from monai_cxraug.errors import InputError

_PACKAGE: Final = Path(__file__).resolve().parent
_FOLDERS: Final = ("bundles", "configs")


def resource_root() -> Path:
    """Find the folder that holds ``bundles/`` and ``configs/``.

    Returns:
        ``monai_cxraug/_resources`` when installed from a wheel, else the repository that the package lies in.

    Raises:
        InputError: neither holds both folders.
    """
    candidates = (_PACKAGE / "_resources", _PACKAGE.parent)
    for root in candidates:
        if all((root / name).is_dir() for name in _FOLDERS):
            return root
    raise InputError(
        _PACKAGE,
        "bundles/ and configs/ must lie in the package's _resources/ or in the folder above the package",
        "neither",
        "install the wheel, or work in a full checkout",
    )


def copy_bundles(target: str | os.PathLike[str]) -> list[Path]:
    """Copy every bundle out of the package, to edit it or to hand it to another tool.

    Nothing is overwritten: either all bundles are copied or none is.

    Args:
        target: folder to copy into; made when missing.

    Returns:
        The new bundle folders, by name.

    Raises:
        InputError: a bundle of that name is there already, or the target is unfit for writing.
    """
    destination = Path(target).resolve()
    bundles = _list_bundles(resource_root() / "bundles")
    _check_destination(destination, bundles)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination, prefix=".bundles.") as staging:
            return _move_in(bundles, Path(staging), destination)
    except OSError as error:
        raise InputError(target, "must be a folder that can be written", str(error), "choose another folder") from None


def _list_bundles(folder: Path) -> list[Path]:
    return sorted(bundle for bundle in folder.resolve().iterdir() if (bundle / "configs").is_dir())


def _check_destination(destination: Path, bundles: list[Path]) -> None:
    for bundle in bundles:
        copy = destination / bundle.name
        if destination.is_relative_to(bundle):
            raise InputError(destination, "must lie outside the bundle it copies", bundle, "choose another folder")
        if copy.exists():
            raise InputError(copy, "must not exist yet", "a file or folder", "move it away or choose another folder")


def _move_in(bundles: list[Path], staging: Path, destination: Path) -> list[Path]:
    for bundle in bundles:
        shutil.copytree(bundle, staging / bundle.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return [(staging / bundle.name).rename(destination / bundle.name) for bundle in bundles]

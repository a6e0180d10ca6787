"""Where numbers come from: versions, machine, and what a model file says about itself."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from monai_cxraug import __version__

_PACKAGES = ("torch", "monai", "numpy", "pydicom", "pillow", "pytorch-ignite", "scikit-learn")


def environment() -> dict[str, Any]:
    """Return versions and the kind of machine; no names of hosts or people."""
    versions = {"monai_cxraug": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }


def describe_model(path: Path) -> dict[str, Any]:
    """Return the plain values that a model file keeps beside its weights."""
    about: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["about"]
    return about

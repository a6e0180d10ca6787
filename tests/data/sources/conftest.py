"""Phantom data sets in the layouts of real ones, written once for all tests; and pictures for hand-made sets."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.data.request import Request, list_source
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.sources.phantom.layouts import write_layout

ListAll = Callable[..., Listing]


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a layout's phantoms: 60 images of 32 px."""
    root = tmp_path_factory.mktemp("layouts")

    def find(layout: str) -> Path:
        return root / layout if (root / layout).exists() else write_layout(layout, root / layout, 60, 32)

    return find


@pytest.fixture
def copied(layouts: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of a layout's phantoms, to be changed."""
    return lambda layout: Path(shutil.copytree(layouts(layout), tmp_path / layout))


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[..., Path]:
    """Write small pictures by name into a folder and return it."""

    def write(*names: str, root: str = "pictures") -> Path:
        for number, name in enumerate(names):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            ramp = np.add.outer(np.arange(12), np.arange(12)) + number  # a flat picture is refused
            Image.fromarray(ramp.astype(np.uint8)).save(path)
        return tmp_path / root

    return write


@pytest.fixture
def list_all() -> ListAll:
    """List a source as ``prepare`` does; options that a request does not know go to the source."""

    def run(source: str, images: object = None, out: Path = Path("none"), **settings: object) -> Listing:
        own = {"labels", "lists", "size", "count", "seed", "folds", "validation", "salt"}
        common = {name: value for name, value in settings.items() if name in own}
        options = {name: value for name, value in settings.items() if name not in own}
        where = None if images is None else str(images)
        return list_source(Request(source, where, **common, options=options), out)  # type: ignore[arg-type]

    return run


def labels_of(listing: Listing) -> Mapping[str, dict[str, float]]:
    """Labels by image and finding."""
    named = [dict(zip(listing.findings, map(float, row), strict=True)) for row in listing.labels]
    return {row["image"]: labels for row, labels in zip(listing.rows, named, strict=True)}

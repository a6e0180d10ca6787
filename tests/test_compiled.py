"""Which compiled library is used, and why none is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.compiled import Compiled
from monai_cxraug.data.kernels import KERNELS
from monai_cxraug.errors import ConfigError
from monai_cxraug.transforms.functional.neighbourhood import LOOPS

LIBRARIES = [KERNELS, LOOPS]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_switch(library: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRAUG_KERNELS", "off")
    assert not library.loaded
    assert library.absence == "CXRAUG_KERNELS=off"
    monkeypatch.setenv("CXRAUG_KERNELS", "of")
    with pytest.raises(ConfigError, match="CXRAUG_KERNELS: must be on or off; found 'of'"):
        assert library.loaded


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("CXRAUG_KERNELS", raising=False)
    return Path(shutil.copy(KERNELS.source, tmp_path))


def ignore(functions: Any) -> None:
    """Declares nothing."""


def test_no_library(source: Path) -> None:
    assert Compiled(source, ignore).absence.startswith("not compiled")


def test_a_broken_library(source: Path) -> None:
    library = Compiled(source, ignore)
    stamp = hashlib.sha256(source.read_bytes()).hexdigest()
    library.library.write_bytes(f"cxraug-kernels-source:{stamp}".encode())
    assert "cannot be loaded" in library.absence


@pytest.mark.skipif(bool(KERNELS.absence), reason=f"no compiled kernels: {KERNELS.absence}")
def test_a_library_of_another_source_is_refused(source: Path) -> None:
    shutil.copy(KERNELS.library, source.parent)
    assert Compiled(source, ignore).loaded
    source.write_bytes(source.read_bytes() + b"\n")
    library = Compiled(source, ignore)
    assert "another source" in library.absence
    with pytest.raises(RuntimeError, match="another source"):
        _ = library.functions

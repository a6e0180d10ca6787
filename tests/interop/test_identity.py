"""Without the extra nothing begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_cxraug.errors import ConfigError
from monai_cxraug.interop import identity
from monai_cxraug.interop.commands import ClassifyStudies, ExportSynthetic, PullStudies


@pytest.mark.parametrize("name", ["dicomweb_client", "highdicom", "pynetdicom"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(identity, "find_spec", lambda module: None if module == name else object())
    out = tmp_path / "out"
    for job in (
        PullStudies("https://pacs/x", "Modality=DX", out),
        ClassifyStudies(tmp_path, "https://pacs/x", "Modality=DX", out),
        ExportSynthetic(tmp_path, out),
    ):
        with pytest.raises(ConfigError, match=f"needs {name}; found not installed; pip install 'monai-cxraug.pacs"):
            job.run()
    assert not out.exists()

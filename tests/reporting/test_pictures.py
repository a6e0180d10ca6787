"""Pictures stay as they are while they are small, and the page stays small when they are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.errors import InputError
from monai_cxraug.reporting import maps
from monai_cxraug.reporting.maps import CellMaps, Map, choose_maps
from monai_cxraug.reporting.pictures import picture


def noise(size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def test_a_small_picture_is_untouched() -> None:
    content = noise((40, 30))
    shown = picture(content, len(content), 10)
    assert (shown.content, shown.kind, shown.exact) == (content, "png", True)


def test_a_large_picture_is_reduced_to_its_room(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(noise((900, 600)))
    shown = picture(path, 200_000, 450)
    assert not shown.exact
    assert len(shown.content) <= 200_000
    assert Image.open(io.BytesIO(shown.content)).size == (450, 300)
    assert shown.address.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("content", [b"", b"no picture", noise((9, 9))[:60]])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png"):
        picture(path, 10**6, 100)
    with pytest.raises(InputError):
        picture(path, 0, 100)


def test_maps_of_studied_findings_and_of_the_endpoint_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.png").write_bytes(bytes(100))
    both = [Map("m.png", finding, "i", "k", 0.5) for finding in ("Edema", "Hernia")]
    cells = [CellMaps(name, tmp_path, 4, both) for name in ("other", "endpoint")]
    monkeypatch.setattr(maps, "_ROOM", 150)
    chosen = choose_maps(cells, ["Edema"], ["endpoint"])
    assert [(one.cell, len(one.maps)) for one in chosen] == [("endpoint", 1), ("other", 0)]

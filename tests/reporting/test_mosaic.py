import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.reporting import load_plan
from monai_cxraug.reporting.mosaic import Block, collect_blocks, enlarge, mosaic
from monai_cxraug.reporting.prepared import Prepared

Edit = Callable[[str, Callable[[dict[str, Any]], None]], None]


def blocks(run: Path) -> list[Block]:
    plan = load_plan(run)
    assert plan is not None
    return collect_blocks(run, plan)


def pictures(folder: Path, finding: str) -> set[bytes]:
    with (folder / "manifest.csv").open() as stream:
        rows = [k for k, row in enumerate(csv.DictReader(stream)) if row[finding] == "1"]
    return {picture.tobytes() for picture in np.load(folder / "pack.npy")[rows]}


def tiles(sheet: NDArray[np.uint8], left: int, top: int) -> list[bytes]:
    """Twelve tiles of 96 px, 3 px apart, brought back to 32 px."""
    found = []
    for k in range(12):
        x, y = left + k % 6 * 99, top + k // 6 * 99
        tile = sheet[y : y + 96, x : x + 96, 0]
        small = tile[::3, ::3]
        np.testing.assert_array_equal(tile, small.repeat(3, axis=0).repeat(3, axis=1))
        found.append(small.tobytes())
    return found


def test_every_tile_is_a_picture_of_its_pack_and_side(run: Path) -> None:
    sheet = np.asarray(mosaic(blocks(run)))
    for k, finding in enumerate(("Edema", "Emphysema", "Fibrosis")):
        top = 34 + k * (34 + 2 * 96 + 3 + 18)
        left, right = tiles(sheet, 18, top), tiles(sheet, 18 + 6 * 96 + 5 * 3 + 26, top)
        assert len(set(left) | set(right)) == 24
        assert set(left) <= pictures(run / "data" / "aaaa", finding)
        assert set(right) <= pictures(run / "synthetic" / f"{finding}-seed1", finding)


def test_counts_are_of_all_images(run: Path) -> None:
    first = blocks(run)[0]
    assert first.real_total == len(pictures(run / "data" / "aaaa", "Edema"))
    assert (first.made_total, first.synthetic_id) == (20, "Edema-seed1")


def test_fewer_pictures_than_places(run: Path) -> None:
    block = blocks(run)[0]
    few = Block("Edema", block.real[:1], block.made[:0], 1, 0, "x")
    sheet = np.asarray(mosaic([few]))
    np.testing.assert_array_equal(sheet[34 : 34 + 96 : 3, 18 : 18 + 96 : 3, 0], block.real[0])
    assert sheet[60, 18 + 120].tolist() == [14, 17, 20]


def test_findings_without_a_set_are_left_out(run: Path) -> None:
    (run / "synthetic" / "Emphysema-seed1" / "pack.npy").unlink()
    assert [block.finding for block in blocks(run)] == ["Edema", "Fibrosis"]


def test_validation_and_synthetic_rows_are_not_shown_as_real(run: Path, edit: Edit) -> None:
    folder = run / "data" / "aaaa"
    lines = (folder / "manifest.csv").read_text().split("\n")
    lines[1:101] = [line.replace(",train,real,", ",val,real,") for line in lines[1:101]]
    lines[101:151] = [line.replace(",train,real,", ",train,filtered,") for line in lines[101:151]]
    (folder / "manifest.csv").write_text("\n".join(lines))
    edit("plan", lambda d: d.update(data={"train": "data/aaaa", "validation": "data/aaaa"}))
    allowed = {picture.tobytes() for picture in np.load(folder / "pack.npy")[150:]}
    assert {picture.tobytes() for picture in blocks(run)[0].real} <= allowed


def test_sixteen_bit_packs_keep_their_high_byte(run: Path) -> None:
    path = run / "data" / "aaaa" / "pack.npy"
    eight = np.load(path)
    np.save(path, eight.astype(np.uint16) * 256 + 255)
    np.testing.assert_array_equal(Prepared(path.parent).pictures([5, 3]), eight[[5, 3]])


def test_colour_and_large_pictures_are_taken() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (224, 200, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(enlarge(colour)), colour)
    grey = rng.integers(0, 256, (1, 16, 12), dtype=np.uint8)
    sheet = mosaic([Block("x" * 400, grey, colour[np.newaxis], 1, 1, "y")])
    assert sheet.height > 2 * 224


def test_bad_packs_are_refused(run: Path) -> None:
    path = run / "data" / "aaaa" / "pack.npy"
    for wrong in (np.zeros((200, 8, 8), dtype=np.float32), np.zeros((199, 8, 8), dtype=np.uint8)):
        np.save(path, wrong)
        with pytest.raises(StateError, match="a picture for each row"):
            blocks(run)
    path.write_bytes(b"not numpy")
    with pytest.raises(InputError, match=r"pack\.npy"):
        blocks(run)
    with pytest.raises(CxrAugError, match="at least one finding"):
        mosaic([])

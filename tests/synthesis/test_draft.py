"""The draft of a set: what was made is read, what was cut or changed is made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.synthesis.draft import Draft

IMAGES = np.random.default_rng(0).integers(0, 2**16, (6, 3, 5), dtype=np.uint16)
RECORD = 3 * 5 * 2 + 4


def draft(folder: Path, what: str = "these") -> Draft:
    return Draft(folder, {"what": what}, (3, 5), "uint16")


def file_of(folder: Path) -> Path:
    return next(folder.glob(".draft.*"))


def test_what_was_written_is_read_by_another_process(tmp_path: Path) -> None:
    draft(tmp_path).write(0, IMAGES[:4])
    draft(tmp_path).write(4, IMAGES[4:])
    assert_array_equal(draft(tmp_path).read(0, 6), IMAGES)
    assert_array_equal(draft(tmp_path).read(3, 2), IMAGES[3:5])
    assert draft(tmp_path).read(4, 3) is None


@given(st.integers(0, 6 * RECORD - 1), st.integers(0, 7))
def test_a_flipped_bit_anywhere_ends_the_draft_there(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("draft")
    draft(folder).write(0, IMAGES)
    content = bytearray(file_of(folder).read_bytes())
    content[at] ^= 1 << bit
    file_of(folder).write_bytes(content)
    damaged = at // RECORD
    for place in range(6):
        found = draft(folder).read(place, 1)
        assert (found is None) == (place == damaged)


@pytest.mark.parametrize("length", [0, 1, RECORD - 1, RECORD, 4 * RECORD + 7])
def test_a_cut_draft_holds_whole_images_alone(tmp_path: Path, length: int) -> None:
    draft(tmp_path).write(0, IMAGES)
    with file_of(tmp_path).open("r+b") as stream:
        stream.truncate(length)
    again, whole = draft(tmp_path), length // RECORD
    assert again.read(whole, 1) is None
    again.write(whole, IMAGES[whole:])
    assert_array_equal(again.read(0, 6), IMAGES)


def test_a_draft_of_other_images_is_thrown_away(tmp_path: Path) -> None:
    draft(tmp_path).write(0, IMAGES)
    assert draft(tmp_path, "others").read(0, 1) is None
    assert len(list(tmp_path.iterdir())) == 1
    draft(tmp_path, "others").remove()
    assert not list(tmp_path.iterdir())

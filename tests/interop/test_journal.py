"""The journal: what a kill leaves of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monai_cxraug.interop.journal import Journal


def test_later_lines_win_and_survive(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add("1.2", state="written")
    journal.add("1.3", state="written")
    journal.add("1.2", state="stored")
    assert Journal(tmp_path / "j").entries == {"1.2": {"state": "stored"}, "1.3": {"state": "written"}}
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_line_cut_off_is_not_written(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.add("1.2", bytes=7)
    whole = path.read_bytes()
    journal.add("1.3", bytes=8)
    line = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + line[: min(cut, len(line) - 1)])
    again = Journal(path)
    assert again.entries == {"1.2": {"bytes": 7}}
    again.add("1.4", bytes=9)
    assert Journal(path).entries == {"1.2": {"bytes": 7}, "1.4": {"bytes": 9}}


def test_rubbish_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b'\xff\xfe\n[1]\n{"no": 1}\n{"name": "1.2"}\n')
    assert Journal(tmp_path / "j").entries == {"1.2": {}}

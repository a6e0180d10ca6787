"""Pseudonyms: the keyed hash of RFC 2104, a salt file for its owner alone, and no mixture of salts."""

from __future__ import annotations

import csv
import hashlib
import hmac
import stat
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.files import FileRef
from monai_cxraug.data.pseudonyms import Salt, hide_identities, read_salt, refuse_different_salts, write_key
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.errors import InputError, LeakageError

KEY = b"0123456789abcdef0123456789abcdef"


def test_the_hash_is_hmac_sha_256() -> None:
    expected = hmac.new(KEY, b"patient\0" + "홍길동 12".encode(), hashlib.sha256).hexdigest()[:16]
    assert Salt(KEY).patient("홍길동 12") == expected
    assert Salt(KEY).patient("") == Salt(KEY).study("") == ""


def test_kinds_salts_and_names_are_told_apart() -> None:
    one, other = Salt(KEY), Salt(KEY[::-1])
    texts = {one.patient("1"), one.study("1"), one.image("1"), one.patient("2"), other.patient("1")}
    assert len({*texts, one.fingerprint, other.fingerprint}) == 7
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in texts)


@pytest.mark.parametrize(
    ("name", "suffix"), [("a/b.DCM", ".dcm"), ("a.png", ".png"), ("IM001", ""), ("1.2.840.113", ""), ("Doe^J.12a", "")]
)
def test_images_keep_a_suffix_of_letters_only(name: str, suffix: str) -> None:
    hidden = Salt(KEY).image(name)
    assert hidden[16:] == suffix
    assert hidden != Salt(KEY).image("other" + suffix)


def test_a_salt_says_nothing_of_itself() -> None:
    assert "0123" not in repr(Salt(KEY))
    assert Salt(KEY).fingerprint not in hashlib.sha256(KEY).hexdigest()


def test_the_file_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "private" / "salt"
    made = read_salt(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert read_salt(path) == made
    assert read_salt(tmp_path / "other") != made
    path.write_bytes(path.read_bytes().strip() + b"\r\n")  # an editor touched it
    assert read_salt(path) == made


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b" " * 40, b"123456789012345\n"])
def test_short_salts_are_refused(tmp_path: Path, refuses, content: bytes) -> None:
    (tmp_path / "salt").write_bytes(content)
    with refuses(InputError, tmp_path / "salt", "16 characters"):
        read_salt(tmp_path / "salt")


def test_what_is_no_salt_file(tmp_path: Path, refuses) -> None:
    with refuses(InputError, tmp_path, "salt file"):
        read_salt(tmp_path)
    (tmp_path / "file").touch()
    with refuses(InputError, "salt file"):
        read_salt(tmp_path / "file" / "salt")


def test_a_listing_without_names() -> None:
    rows = [{"image": "DOE_JOHN/1.dcm", "patient_id": "4711", "study_id": "1.2", "split": "train", "sex": "M"}]
    files = [FileRef(Path("DOE_JOHN/1.dcm"))]
    reasons = {"DOE_JOHN/2.dcm": "a lateral view"}
    before = Listing(rows, files, ("A",), np.zeros((1, 1), np.float32), 8, {"name": "n"}, reasons, reasons, reasons)
    salt = Salt(KEY)
    after = hide_identities(before, salt)
    assert after.rows == [
        {
            "image": salt.image("DOE_JOHN/1.dcm"), "patient_id": salt.patient("4711"), "study_id": salt.study("1.2"),
            "split": "train", "sex": "M",
        }
    ]  # fmt: skip
    assert after.files == files
    assert after.info == {"name": "n", "salt": salt.fingerprint}
    assert after.missing == after.dropped == after.refused == {salt.image("DOE_JOHN/2.dcm"): "a lateral view"}
    assert before.rows == rows


def test_mixtures_of_salts_are_refused(refuses) -> None:
    same = {"a.csv": {"salt": "1" * 16}, "b.csv": {"salt": "1" * 16, "name": "x"}}
    refuse_different_salts(same)
    refuse_different_salts({"a.csv": {}, "b.csv": {"salt": None}})
    refuse_different_salts({})
    with refuses(LeakageError, "c.csv", "2222222222222222", "1111111111111111 of a.csv", "--salt"):
        refuse_different_salts({**same, "c.csv": {"salt": "2" * 16}})
    with refuses(LeakageError, "c.csv", "salt none"):
        refuse_different_salts({**same, "c.csv": {}})


def test_a_private_table_leads_back_to_the_files(tmp_path: Path, refuses) -> None:
    rows = [{"image": "DOE_JOHN/1.dcm"}, {"image": 'an "odd", name.png'}]
    listing = Listing(rows, [], (), np.zeros((2, 0), np.float32), 8, missing={"gone.dcm": "x"}, refused={"bad": "y"})
    salt = Salt(KEY)
    write_key(listing, salt, tmp_path / "private" / "salt.out.csv")
    with (tmp_path / "private" / "salt.out.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == ["image", "file"]
    names = ["DOE_JOHN/1.dcm", 'an "odd", name.png', "gone.dcm", "bad"]
    assert lines == [[salt.image(name), name] for name in names]
    assert (tmp_path / "private" / "salt.out.csv").stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    with refuses(InputError, "salt.csv", "writable"):
        write_key(listing, salt, tmp_path / "file" / "salt.csv")
